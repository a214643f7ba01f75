"""HTTP/1.1 as far as a collector is spoken to: one POST at a time on a connection that is kept.

Place(url) ──► Connection ──begin(message)──► … ──finish──► Answer(status, retry_after)

A connection that was kept may have been closed meanwhile without anybody having said so: then the
message is sent once more on a new one.  Answers are parsed by httptools, as requests are.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from time import monotonic
from urllib.parse import urlsplit

import httptools

BadAnswer = httptools.HttpParserError

_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux has it
_MAX_ANSWER_BYTES = 64 * 1024
_LEAST_S = 0.01


class Place:
    """Where a URL leads."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._is_tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._is_tls else 80)
        self._context: ssl.SSLContext | None = None

    def connect(self, end: float) -> socket.socket:
        """Return a new connection; raises OSError, after ``end`` (``monotonic``) at the latest."""
        left_s = max(_LEAST_S, end - monotonic())
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


class Connection:
    """A connection that is opened when it is needed and kept as long as the other side does."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._socket: socket.socket | None = None
        self._message = b""
        self._is_fresh = True

    @property
    def is_open(self) -> bool:
        """True when somebody was there."""
        return self._socket is not None

    def begin(self, message: bytes, end: float) -> None:
        """Send a request; raises OSError."""
        self._message = message
        self._is_fresh = self._socket is None
        if self._socket is not None:
            try:
                self._send(self._socket, end)
            except ConnectionError:
                self.close()
            else:
                return
        self._is_fresh = True
        self._socket = self._place.connect(end)
        self._send(self._socket, end)

    def finish(self, end: float) -> Answer:
        """Return the answer to the request; raises OSError, EOFError and BadAnswer."""
        try:
            return self._read(end)
        except (ConnectionError, EOFError):
            if self._is_fresh:
                raise
            self.close()
        self.begin(self._message, end)
        return self._read(end)

    def close(self) -> None:
        """Close it."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
            self._socket = None

    def _send(self, connection: socket.socket, end: float) -> None:
        connection.settimeout(max(_LEAST_S, end - monotonic()))
        connection.sendall(self._message)

    def _read(self, end: float) -> Answer:
        connection = self._socket
        if connection is None:
            raise EOFError("the connection is closed")
        answer = Answer()
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


class Answer:
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
        """Take what came; raises EOFError when nothing more does, BadAnswer."""
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
