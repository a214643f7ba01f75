"""One request and its answer as bytes, without a socket: what both kinds of connection share.

    Request ──Speaker.head──► bytes of the head
    bytes ──Incoming.feed──► status, headers, pieces of the body, is_done

HTTP/1.1 (RFC 9112) as llhttp reads it.  What always holds: a header that would end its line is
refused before anything is sent; an answer counts as whole only when its length or its last chunk
says so, or when the server says that the end of the connection is its end.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Mapping

import httptools

from modelpack.client.errors import CallLostError, CallTimeoutError
from modelpack.client.place import Place, Proxy
from modelpack.client.reply import Reply, Request
from modelpack.errors import UsageError
from modelpack.version import __version__

CONNECT_TIMEOUT_S = 10.0
"""Longest that making a connection may take, where the call has more time than that."""

IDLE_S = 30.0
"""How long a connection is kept unused: what stands in between may forget it without a word."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS = ("host", "content-length", "transfer-encoding", "connection", "expect")
"""Header fields that say how a message is sent, and are ours to say."""


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return header fields with names in lower case; raises UsageError for what is none."""
    checked = {}
    for name, value in headers.items():
        lower = name.lower()
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise UsageError(f"'{name[:60]}' is no header field that can be sent")
        if lower in _OURS:
            raise UsageError(f"the header '{lower}' is not yours to set")
        checked[lower] = value.strip()
    return checked


class Speaker:
    """Writes the heads of requests to one server."""

    def __init__(self, place: Place, proxy: Proxy | None) -> None:
        # A proxy is told the whole URL, unless there is TLS to the server through it.
        is_forwarded = proxy is not None and not place.is_tls
        self._target = place.url if is_forwarded else place.base
        self._host = place.authority
        lines = [f"user-agent: modelpack/{__version__}"]
        if is_forwarded and proxy is not None and proxy.authorization:
            lines.append(f"proxy-authorization: {proxy.authorization}")
        self._lines = "\r\n".join(lines)

    def head(self, request: Request) -> bytes:
        """Return everything before the body."""
        host = request.host or self._host
        text = f"{request.method} {self._target}{request.path} HTTP/1.1\r\nhost: {host}\r\n"
        text += f"{self._lines}\r\n"
        for name, value in request.headers.items():
            text += f"{name}: {value}\r\n"
        if request.method != "GET" or request.body:
            text += f"content-length: {len(request.body)}\r\n"
        return f"{text}\r\n".encode("latin-1")


def connect_head(place: Place, proxy: Proxy) -> bytes:
    """Return what asks a proxy for a way through to a server (RFC 9110, section 9.3.6)."""
    text = f"CONNECT {place.address} HTTP/1.1\r\nhost: {place.address}\r\n"
    if proxy.authorization:
        text += f"proxy-authorization: {proxy.authorization}\r\n"
    return f"{text}\r\n".encode("latin-1")


class Incoming:
    """One answer as it comes; the parser calls the ``on_`` methods."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._has_length = False
        self._pieces: list[bytes] = []
        self.status = 0
        """0 until the head is there."""
        self.headers: dict[str, str] = {}
        self.is_done = False
        self.stays = False
        """True when the connection may be used again, once this is done."""
        self.is_broken = False
        """True when it can never be done: the connection ended, or spoke something else."""

    def feed(self, data: bytes) -> None:
        """Take what came."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # What follows a whole answer is of no interest, but nothing more can be understood.
            self.stays = False
            self.is_broken = not self.is_done

    def end(self) -> None:
        """Take the end of the connection."""
        self.stays = False
        if not self.is_done:
            self.is_done = self.status > 0 and not self._has_length
            self.is_broken = not self.is_done

    def take(self) -> bytes:
        """Return the part of the body that came since the last time."""
        taken = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        return taken

    def reply(self) -> Reply:
        """Return the whole answer."""
        body = bytearray()
        for piece in self._pieces:
            body += piece
        return Reply(self.status, self.headers, body)

    def on_message_begin(self) -> None:
        """Refuse an answer that nobody asked for."""
        if self.is_done:
            self.stays = False
            raise httptools.HttpParserError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field; the values of equal ones are joined."""
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        known = self.headers.get(key)
        self.headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        """Take the head; that of '100 Continue' and the like is forgotten."""
        status = self._parser.get_status_code()
        if status < 200:
            self.headers = {}
            return
        self.status = status
        self.stays = self._parser.should_keep_alive()
        self._has_length = "content-length" in self.headers or "transfer-encoding" in self.headers

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """Note that this was all."""
        self.is_done = self.status > 0


def not_reached(place: Place, error: BaseException) -> CallLostError:
    """Return the error for a connection that was not made: nothing was sent."""
    lost = CallLostError(f"no answer from '{place.url}': {_why(error)}", hint=_hint(place, error))
    is_unknown = isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN
    lost.may_help = not is_unknown and not isinstance(error, ssl.SSLError)
    return lost


def broken(place: Place, why: str) -> CallLostError:
    """Return the error for an answer that did not come, or not to its end."""
    lost = CallLostError(
        f"no answer from '{place.url}': {why}",
        hint="whether the api ran is not known; its log says so",
    )
    lost.may_have_run = True
    return lost


def not_in_time(place: Place) -> CallTimeoutError:
    """Return the error for an answer that took longer than the call may."""
    return CallTimeoutError(
        f"no answer from '{place.url}' in the time that there was", hint="give it a longer timeout"
    )


def refused_by_proxy(place: Place, proxy: Proxy, status: int) -> CallLostError:
    """Return the error for a proxy that lets nothing through."""
    lost = CallLostError(
        f"the proxy '{proxy.place.url}' does not let us to '{place.address}': status {status}",
        hint=f"name '{place.host}' in NO_PROXY to go straight to it",
        status=status,
    )
    lost.may_help = status >= 500
    return lost


_OTHER_NAME = (62, 64)
"""Codes of OpenSSL for a certificate of another name, and of another address."""

NOT_HTTP = "what answers there does not speak HTTP"
CLOSED = "the connection was closed before the answer was whole"


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no connection in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message.rstrip(".")
        return f"its certificate is not trusted: {said[:1].lower()}{said[1:]}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {(error.reason or 'it failed').replace('_', ' ').lower()}"
    return str(getattr(error, "strerror", None) or error or type(error).__name__).lower()


def _hint(place: Place, error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OTHER_NAME:
            return "call it by a name that is in its certificate"
        return "name the file of its authority: ca, or --ca"
    if isinstance(error, ssl.SSLError):
        return f"does it speak plain HTTP? then 'http://{place.authority}'"
    if isinstance(error, socket.gaierror):
        return "check how the URL is spelled"
    return "is the server running, and is that its port?"
