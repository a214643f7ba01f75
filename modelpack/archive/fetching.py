"""Opens the address of a wheel as uv would: with the logins and certificates that are set here.

    https://host/…/x.whl ──► login of the index on that host, else of netrc ──► the bytes

A login is sent to the host that it was given for, and to no other that this one points to.
"""

from __future__ import annotations

import base64
import netrc
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from modelpack.archive.indexes import index_settings
from modelpack.errors import BuildError

_TIMEOUT_S = 60.0
_OWN_INDEXES = ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")


@contextmanager
def open_url(url: str) -> Iterator[IO[bytes]]:
    """Give the body behind an ``http`` or ``https`` address; raises OSError or BuildError."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise BuildError(f"a wheel is at an address that is no web address: '{parts.scheme}:'")
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = urllib.request.Request(bare)  # noqa: S310 - the scheme was checked
    login = _login_in(url) or _login_of(host)
    if login is not None:
        token = base64.b64encode(":".join(login).encode()).decode()
        # Not among the headers that go along when the server points to another place.
        request.add_unredirected_header("Authorization", f"Basic {token}")
    settings = index_settings()
    certificates = dict(settings.environment).get("SSL_CERT_FILE") or os.environ.get(
        "SSL_CERT_FILE"
    )
    context = ssl.create_default_context(cafile=certificates)
    if f"--allow-insecure-host={host}" in settings.arguments:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # pip was told so, by name; the digest is checked
    try:
        answer: Any = urllib.request.urlopen(  # noqa: S310
            request, timeout=_TIMEOUT_S, context=context
        )
    except urllib.error.HTTPError as refusal:
        with refusal:  # it holds the connection
            raise OSError(f"the server answers {refusal.code} {refusal.reason}") from refusal
    with answer:
        yield answer


def _login_of(host: str) -> tuple[str, str] | None:
    """Return the login that is set for a host."""
    arguments = index_settings().arguments
    urls = [argument.partition("=")[2] for argument in arguments]
    urls += [word for name in _OWN_INDEXES for word in os.environ.get(name, "").split()]
    for url in urls:
        if "://" in url and urlsplit(url).hostname == host and (login := _login_in(url)):
            return login
    try:
        found = netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return None
    return (found[0], found[2] or "") if found else None


def _login_in(url: str) -> tuple[str, str] | None:
    parts = urlsplit(url)
    if parts.username is None:
        return None
    return unquote(parts.username), unquote(parts.password or "")
