"""Sends events to a collector, by HTTP POST on a connection that is kept.

    one event   ──► ce-* header lines, the body as it was          binary content mode
    some events ──► application/cloudevents-batch+json             batched content mode

No redirect is followed and no proxy asked: payloads go where the operator said, and nowhere else.
Any 2xx takes the events; 408, 425, 429 and 5xx want them again; anything else is refused for good.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from urllib.parse import urlsplit

import httptools

from modelpack.errors import UsageError
from modelpack.server.observe.payloads.events import BATCH, Event, Form
from modelpack.server.observe.payloads.sinks import STATUS, TAKEN, TIMEOUT, UNREACHABLE, Outcome
from modelpack.version import __version__

MOST_IN_A_BATCH = 100
"""Most events of one message in batched content mode."""

_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux has it
_MAX_ANSWER_BYTES = 64 * 1024
_LONGEST_WAIT_S = 60.0
_LATER = (408, 425, 429, 503)
_HEADER = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}): ?([\x20-\x7e]{1,4096})")
_OURS = ("host", "content-length", "content-type", "transfer-encoding", "connection")


def header_from(variable: str, text: str) -> bytes:
    """Return a header line of the operator's, or nothing; raises UsageError, which does not show it."""
    if not text:
        return b""
    found = _HEADER.fullmatch(text)
    if found is None or found[1].lower() in _OURS or found[1].lower().startswith("ce-"):
        raise UsageError(
            f"{variable} is not a header line that events can be sent with",
            hint=f"set it to one such as {variable}='Authorization: Bearer TOKEN'",
        )
    return f"{found[1]}: {found[2].strip()}\r\n".encode()


class Collector:
    """A collector at a URL."""

    def __init__(
        self, url: str, form: Form, *, header: bytes = b"", is_batched: bool = False
    ) -> None:
        """``header`` is one more header line, with its end."""
        parts = urlsplit(url)
        self.name = self.name_of(url)
        self.most_events = MOST_IN_A_BATCH if is_batched else 1
        self._is_batched = is_batched
        self._is_tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._is_tls else 80)
        self._form = form
        first = f"POST {parts.path or '/'} HTTP/1.1\r\nhost: {parts.netloc}\r\n"
        self._head = first.encode() + f"user-agent: modelpack/{__version__}\r\n".encode() + header
        self._context: ssl.SSLContext | None = None
        self._socket: socket.socket | None = None

    @staticmethod
    def name_of(url: str) -> str:
        """Return what may be shown of a URL: not its path, which may be known to a few alone."""
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}"

    def deliver(self, events: Sequence[Event], timeout_s: float) -> Outcome:
        """Send events; never raises."""
        end = monotonic() + timeout_s
        try:
            return _outcome(self._answer(self._message(events), end))
        except TimeoutError:
            return self._failed(TIMEOUT, f"no answer within {timeout_s:.1f} s")
        except (OSError, EOFError, httptools.HttpParserError) as error:
            return self._failed(UNREACHABLE, _words(error))

    def _failed(self, failure: str, why: str) -> Outcome:
        was_heard = self._socket is not None
        self.close()
        return Outcome(failure, why, was_heard=was_heard)

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
            self._socket = None

    def _message(self, events: Sequence[Event]) -> bytes:
        """Return a whole request."""
        if self._is_batched:
            body = b"[" + b",".join(map(self._form.as_json, events)) + b"]"
            lines = f"content-type: {BATCH}\r\n".encode()
        else:
            lines, body = self._form.binary(events[0])
        return b"%b%bcontent-length: %d\r\n\r\n%b" % (self._head, lines, len(body), body)

    def _answer(self, message: bytes, end: float) -> _Answer:
        """Return the answer to a request; raises OSError, EOFError and HttpParserError."""
        if self._socket is not None:
            try:
                return self._ask(self._socket, message, end)
            except (ConnectionError, EOFError):
                self.close()  # by the other side, while nothing was sent
        self._socket = self._connect(end)
        return self._ask(self._socket, message, end)

    def _connect(self, end: float) -> socket.socket:
        left_s = max(0.01, end - monotonic())
        plain = socket.create_connection((self._host, self._port), left_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._is_tls:
            return plain
        try:
            self._context = self._context or ssl.create_default_context()
            return self._context.wrap_socket(plain, server_hostname=self._host)
        except BaseException:
            plain.close()
            raise

    def _ask(self, connection: socket.socket, message: bytes, end: float) -> _Answer:
        """Send a request and return its answer; raises OSError and EOFError."""
        connection.settimeout(max(0.01, end - monotonic()))
        connection.sendall(message)
        answer = _Answer()
        while not answer.is_whole:
            left_s = end - monotonic()
            if left_s <= 0:
                raise TimeoutError
            connection.settimeout(left_s)
            answer.feed(connection.recv(65536))
            if not answer.is_whole and _QUICK_ACK is not None:
                # Else who writes head and body apart holds the body back for 40 ms.
                connection.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
        if not answer.is_kept:
            self.close()
        return answer


class _Answer:
    """An answer as it comes; interim ones (1xx) are passed over."""

    def __init__(self) -> None:
        self.status = 0
        self.retry_after = b""
        self.is_whole = False
        self.is_kept = False
        """True when the connection can be used again."""
        self._size = 0
        self._has_head = False
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take what came; raises EOFError when nothing more does, HttpParserError."""
        self._size += len(data)
        if data and self._size <= _MAX_ANSWER_BYTES:
            self._parser.feed_data(data)
        elif self._has_head:  # it lasts to the end of the connection, or longer than it may
            self.is_whole = True
        else:
            raise EOFError("the connection was closed without an answer")

    def on_message_begin(self) -> None:
        """Forget an interim answer."""
        self.status, self._has_head = 0, False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take note of when events are wanted again."""
        if name.lower() == b"retry-after":
            self.retry_after = value

    def on_headers_complete(self) -> None:
        """Take note of the status."""
        self.status = self._parser.get_status_code()
        self._has_head = self.status >= 200

    def on_message_complete(self) -> None:
        """See whether it was the last."""
        if self._has_head:
            self.is_whole = True
            self.is_kept = self._parser.should_keep_alive()


def _outcome(answer: _Answer) -> Outcome:
    """Return what an answer means for the events."""
    status = answer.status
    if 200 <= status < 300:
        return TAKEN
    why = f"status {status}"
    if status in _LATER or status >= 500:
        wait = answer.retry_after
        wait_s = min(float(wait), _LONGEST_WAIT_S) if wait.isdigit() else 0.0
        return Outcome(STATUS, why, was_heard=status not in _LATER, retry_after_s=wait_s)
    return Outcome(STATUS, why, is_final=True)


def _words(error: Exception) -> str:
    """Return what went wrong, without what was sent."""
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    return f"{type(error).__name__}: {error}"[:200]
