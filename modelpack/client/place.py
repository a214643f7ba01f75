"""Where a server is, and how it is reached: its URL, a proxy on the way, TLS.

    'https://host:8443/digits' ──place_of──► Place(host, port, base, is_tls)
    Place + environment        ──proxy_for──► Proxy, or None       never for this machine itself
    Tls(ca, cert, …)           ──context──► ssl.SSLContext

Proxies are read from ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, in either case, as
other programs read them; ``HTTP_PROXY`` in capitals is ignored in a CGI script, where it is a header.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from modelpack.errors import UsageError

if TYPE_CHECKING:
    import ssl

_PORTS = {"http": 80, "https": 443, "grpc": 50051, "grpcs": 443}
_SAFE = "/%:@!$&'()*+,;=~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One server."""

    scheme: str
    """``http``, ``https``, ``grpc`` or ``grpcs``."""
    host: str
    port: int
    base: str = ""
    """Path before every route, without a slash at its end."""

    @property
    def is_tls(self) -> bool:
        """True when it is spoken to over TLS."""
        return self.scheme in ("https", "grpcs")

    @property
    def is_grpc(self) -> bool:
        """True when it speaks gRPC."""
        return self.scheme in ("grpc", "grpcs")

    @property
    def address(self) -> str:
        """Host and port, always both."""
        return f"{_bracketed(self.host)}:{self.port}"

    @property
    def authority(self) -> str:
        """Host and port as in a ``Host`` header: without the port that goes without saying."""
        return _bracketed(self.host) if self.port == _PORTS[self.scheme] else self.address

    @property
    def url(self) -> str:
        """The URL again, without a password that it may have had."""
        return f"{self.scheme}://{self.authority}{self.base}"

    @property
    def is_here(self) -> bool:
        """True when it is this machine by its name or address; names are not looked up."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Proxy:
    """What stands between us and a server."""

    place: Place
    authorization: str = ""
    """Value of ``Proxy-Authorization``; "": none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How a server is believed, and how we are known to it."""

    verify: bool = True
    """Whether its certificate is checked; without it anybody can answer."""
    ca: str | os.PathLike[str] | None = None
    """File with the authorities to trust; None: those of the system, and those of certifi if it is
    installed and ``SSL_CERT_FILE`` names no others."""
    cert: str | os.PathLike[str] | None = None
    """File with our certificate, and the key unless that has a file of its own."""
    key: str | os.PathLike[str] | None = None

    def context(self) -> ssl.SSLContext:
        """Return what connections are made with; raises UsageError for files that are none."""
        import ssl

        try:
            context = ssl.create_default_context(cafile=_path(self.ca))
            if self.ca is None and not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys():
                with suppress(ImportError):  # a Python that brings its own OpenSSL knows none
                    context.load_verify_locations(import_module("certifi").where())
        except OSError as error:
            raise _unusable([self.ca], error, "certificate of an authority", "") from None
        try:
            if self.cert is not None:
                context.load_cert_chain(os.fspath(self.cert), _path(self.key))
        except OSError as error:
            hint = "name the file of the key: key, or --key" if self.key is None else ""
            files = [self.cert, self.key]
            raise _unusable(files, error, "certificate with its key", hint) from None
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _unusable(
    files: Sequence[str | os.PathLike[str] | None], error: OSError, what: str, hint: str
) -> UsageError:
    """Return the error for files that TLS cannot use; one that OpenSSL raised is about what they hold."""
    import ssl

    names = " and ".join(f"'{os.fspath(one)}'" for one in files if one) or "the system"
    if not isinstance(error, ssl.SSLError):
        return UsageError(f"TLS: {names}: {(error.strerror or str(error)).lower()}")
    if error.reason == "KEY_VALUES_MISMATCH":
        return UsageError(f"TLS: {names}: the key is not that of the certificate")
    return UsageError(f"TLS: {names}: no {what} in PEM", hint=hint or None)


def place_of(url: str) -> Place:
    """Return the place that a URL names; raises UsageError for what is no URL of a server."""
    try:
        parts = urlsplit(url.strip())
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise UsageError(f"'{url}' is no URL: {str(error).lower()}") from None
    if parts.scheme not in _PORTS or not host or any(c in host for c in " \t\r\n\0"):
        raise UsageError(
            f"'{url}' is no URL of a server", hint="give it as http://HOST:PORT or grpc://HOST:PORT"
        )
    if parts.username is not None:
        raise UsageError(
            f"the URL of '{host}' holds a password",
            hint="give it as a header: 'authorization: Basic …'",
        )
    if parts.query or parts.fragment:
        raise UsageError(f"'{url}': a query has no place in the URL of a server")
    base = quote(parts.path.rstrip("/"), safe=_SAFE)
    return Place(scheme=parts.scheme, host=host, port=port or _PORTS[parts.scheme], base=base)


def proxy_for(place: Place) -> Proxy | None:
    """Return the proxy that the environment names for a server; None: straight to it.

    Raises UsageError for a proxy that is none we can use.
    """
    if place.is_here or place.is_grpc:  # grpcio reads the environment itself
        return None
    named = _environment().get(place.scheme) or _environment().get("all")
    if not named or _is_excepted(place):
        return None
    text = named if "://" in named else f"http://{named}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if parts.scheme != "http" or not host:
        shown = text.rpartition("@")[2]
        raise UsageError(
            f"the proxy '{shown}' is none that can be used",
            hint=f"name an HTTP proxy in {place.scheme.upper()}_PROXY, or the host in NO_PROXY",
        )
    secret = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        secret = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(Place(scheme="http", host=host, port=port or 80), secret)


def _environment() -> dict[str, str]:
    """Return the proxies that are named, by scheme."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}
    from urllib.request import getproxies_environment  # loads much, and is rarely needed

    return getproxies_environment()


def _is_excepted(place: Place) -> bool:
    from urllib.request import proxy_bypass

    return bool(proxy_bypass(place.address))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _path(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else str(Path(path))
