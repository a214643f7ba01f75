"""TLS for the listening socket.

tls_cert, tls_key, tls_client_ca ──context_for──► ssl.SSLContext, or UsageError that names the file
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelpack.config.settings import ServerSettings
from modelpack.errors import UsageError

if TYPE_CHECKING:
    import ssl


def context_for(settings: ServerSettings) -> ssl.SSLContext | None:
    """Return what connections are secured with, TLS 1.2 or later; None without ``tls_cert``.

    Raises UsageError when a file is missing, unreadable or no PEM, when key and certificate do not
    belong together, or when the key is locked with a password.
    """
    if settings.tls_cert is None:
        return None
    import ssl

    _check("tls_cert", settings.tls_cert, _CERTIFICATE)
    _check("tls_key", settings.tls_key or settings.tls_cert, _KEY)
    if settings.tls_client_ca is not None:
        _check("tls_client_ca", settings.tls_client_ca, _CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The first that both speak counts: h2 is for those who want nothing else, clients of gRPC.
    also = [] if settings.grpc_port is None else ["h2"]
    context.set_alpn_protocols(["http/1.1", *also])
    _load_own(context, settings.tls_cert, settings.tls_key or settings.tls_cert)
    if settings.tls_client_ca is not None:
        try:
            context.load_verify_locations(settings.tls_client_ca)
        except OSError as cause:
            raise UsageError(
                f"tls_client_ca: '{settings.tls_client_ca}' cannot be used: {cause}",
                hint="name a PEM file with the authorities whose clients may connect",
            ) from cause
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load_own(context: ssl.SSLContext, cert: str, key: str) -> None:
    """Load the server's own certificate and key; raises UsageError."""
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except _Locked:
        raise UsageError(
            f"tls_key: '{key}' is locked with a password",
            hint="nobody is there to type it: use a key without one that only this user may read",
        ) from None
    except OSError as cause:  # ssl.SSLError is one
        if getattr(cause, "reason", None) == "KEY_VALUES_MISMATCH":
            what = f"tls_key: '{key}' is not the key of the certificate in '{cert}'"
        else:
            what = f"tls_cert: '{cert}' and '{key}' cannot be used: {cause}"
        raise UsageError(what, hint="use the PEM files that were made together") from cause


class _Locked(Exception):
    """The key asks for a password."""


def _no_password() -> str:
    raise _Locked


_CERTIFICATE = (b"CERTIFICATE-----", "certificate")
_KEY = (b"PRIVATE KEY-----", "private key")


def _check(name: str, file: str, wanted: tuple[bytes, str]) -> None:
    """Raise UsageError when the file of a setting cannot be read, or is another kind of file."""
    marker, what = wanted
    try:
        content = Path(file).read_bytes()
    except OSError as cause:
        raise UsageError(
            f"{name}: cannot read '{file}': {(cause.strerror or 'unknown').lower()}",
            hint="name a PEM file that this user may read",
        ) from cause
    if marker not in content:
        raise UsageError(f"{name}: '{file}' holds no {what}", hint="name a PEM file that does")
