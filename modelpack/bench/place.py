"""Where a server stands, and single questions to it.

    'https://host:8443/v1/predict' ──place_of──► Place ──ask──► Reply

Questions go straight to the server, whatever proxy the environment names: a proxy would be measured
along with it.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, urlsplit

from modelpack.errors import BenchError, UsageError

_MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One server."""

    host: str
    port: int
    address: str
    """IP address that the host's name stands for."""
    path: str = ""
    """Path of the URL; '' when it names only the server."""
    tls: bool = False
    verifies: bool = True
    """Whether its certificate is checked."""

    @property
    def url(self) -> str:
        """The server without a path."""
        return f"{'https' if self.tls else 'http'}://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port, as in a ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def is_here(self) -> bool:
        """True when it is on this machine: it shares the processors with the load."""
        return ipaddress.ip_address(self.address.partition("%")[0]).is_loopback


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int
    body: bytes
    content_type: str


def is_url(text: str) -> bool:
    """Return whether this names a server rather than something to serve."""
    return "://" in text


def place_of(url: str, *, verifies: bool = True) -> Place:
    """Return the place; raises UsageError for what is no URL, BenchError for an unknown host."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"'{url}' is no URL: {str(error).lower()}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"'{url}' is no URL of a server", hint="give it as http://HOST:PORT")
    if parts.username is not None:
        raise UsageError("a URL with a password", hint="use --header 'authorization: …' instead")
    tls = parts.scheme == "https"
    path = parts.path.rstrip("/") if parts.path == "/" else parts.path
    if parts.query:
        path = f"{path or '/'}?{parts.query}"
    path = quote(path, safe="/%?:@!$&'()*+,;=~")
    place = Place(
        host=parts.hostname,
        port=port or (443 if tls else 80),
        address="",
        path=path,
        tls=tls,
        verifies=verifies,
    )
    return replace(place, address=_address(place))


def _address(place: Place) -> str:
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except OSError:
        raise BenchError(
            f"the name '{place.host}' is not known", hint="check how the URL is spelled"
        ) from None
    # A name of two families: the one that is listened on.
    for *_, address in found[:-1]:
        try:
            socket.create_connection((str(address[0]), place.port), 1).close()
        except OSError:
            continue
        return str(address[0])
    return str(found[-1][4][0])


def ask(
    place: Place,
    path: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 10.0,
) -> Reply:
    """Send one request on a connection of its own; raises BenchError when there is no answer."""
    connection = _connection(place, timeout_s)
    try:
        connection.request(
            method, path, body=body, headers={"host": place.authority, **(headers or {})}
        )
        with connection.getresponse() as answer:
            return Reply(answer.status, answer.read(_MOST_BYTES), answer.headers.get_content_type())
    except (OSError, http.client.HTTPException) as error:
        raise unreachable(place, error) from error
    finally:
        connection.close()


def unreachable(place: Place, error: BaseException) -> BenchError:
    """Return the error for a server that does not answer."""
    why = (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
    return BenchError(
        f"no answer from '{place.url}': {why}",
        hint="start it first, or give a project, a model or a TAG: it is served meanwhile",
    )


def _connection(place: Place, timeout_s: float) -> http.client.HTTPConnection:
    if not place.tls:
        return http.client.HTTPConnection(place.address, place.port, timeout=timeout_s)
    import ssl

    context = ssl.create_default_context()
    if not place.verifies:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(place.host, place.port, timeout=timeout_s, context=context)
