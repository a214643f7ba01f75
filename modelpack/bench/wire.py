"""One connection that sends ready-made requests and reads answers: a client with nothing to spare.

    send(request, intended) ──► transport ──► server
    answer in one piece, of the usual form ──find──► owner.answered        about 1 µs
    anything else (chunked, in pieces) ──httptools──► owner.answered

An answer of the usual form has a ``content-length`` and came as one piece: where it ends is known
without parsing its head.  What always holds: one request at a time, and the owner hears of each
exactly once, by ``answered`` or by ``lost``.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools

MAX_KEPT_BYTES = 4096
_LENGTHS = (b"\r\ncontent-length: ", b"\r\nContent-Length: ")
_LENGTH_BYTES = len(_LENGTHS[0])


class Owner(Protocol):
    """Who uses a connection."""

    def answered(self, connection: Connection, status: int, size: int) -> None:
        """Take an answer of ``size`` bytes, head included.

        The connection can be used again unless it ``is_lost``; then ``lost`` follows.
        """

    def lost(self, connection: Connection, kind: str) -> None:
        """Take note that it has ended; ``kind`` says why when a request was on its way, else ''."""


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    __slots__ = ("_length", "_owner", "_size", "_slow", "_transport", "body", "intended",
                 "is_busy", "is_lost")  # fmt: skip

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._length = _LENGTHS[0]
        self._slow: _SlowAnswer | None = None
        self._size = 0
        self._transport: asyncio.Transport
        self.is_busy = False
        """True while a request is on its way."""
        self.is_lost = False
        """True when nothing can be sent on it any more."""
        self.intended = 0.0
        """When the request on its way was to leave, by ``perf_counter``."""
        self.body = b""
        """The start of the last answer that was not of the 2xx kind."""

    def send(self, request: bytes, intended: float) -> None:
        """Send one request; only when none is on its way."""
        self.is_busy = True
        self.intended = intended
        self._transport.write(request)

    def end(self, kind: str = "") -> None:
        """Close it at once; a request on its way is reported lost for this reason."""
        self._lose(kind)
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to write to."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Tell the owner, unless it knows; an answer without a length ends here too."""
        if self._slow is not None and self._slow.ends_with_connection and self.is_busy:
            self._finish(self._slow.status, stays=False)
        self._lose("closed")

    def data_received(self, data: bytes) -> None:
        """Take a piece of an answer."""
        if self._slow is None:
            end = data.find(b"\r\n\r\n") + 4
            at = data.find(self._length, 0, end)
            if at > 0 and self.is_busy and data.startswith(b"HTTP/1."):
                at += _LENGTH_BYTES
                try:
                    whole = end + int(data[at : data.find(b"\r", at)])
                    status = int(data[9:12])
                except ValueError:
                    whole = status = 0
                if whole == len(data) and status >= 200:
                    if status >= 300:
                        self.body = data[end : end + MAX_KEPT_BYTES]
                    self._size = whole
                    self._finish(status, stays=data.find(b"close", 0, end) < 0)
                    return
        self._take_slowly(data)

    def _take_slowly(self, data: bytes) -> None:
        if not self.is_busy:
            # Nothing was asked: whoever talks all the same cannot be understood later either.
            self.end()
            return
        if self._slow is None:
            self._slow = _SlowAnswer()
            self._size = 0
            self._length = next((name for name in _LENGTHS if name in data), self._length)
        self._size += len(data)
        if not self._slow.feed(data):
            self.end("not-http")
        elif self._slow.is_done:
            if self._slow.status >= 300:
                self.body = self._slow.kept
            self._finish(self._slow.status, stays=self._slow.stays)

    def _finish(self, status: int, *, stays: bool) -> None:
        self._slow = None
        self.is_busy = False
        if stays and not self._transport.is_closing():
            self._owner.answered(self, status, self._size)
            return
        self.is_lost = True
        self._owner.answered(self, status, self._size)
        self._owner.lost(self, "")
        self._transport.close()

    def _lose(self, kind: str) -> None:
        if not self.is_lost:
            self.is_lost = True
            was_busy, self.is_busy = self.is_busy, False
            self._owner.lost(self, kind if was_busy else "")


class _SlowAnswer:
    """An answer that comes in pieces or in chunks; calls of the parser end in the ``on_`` methods."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._has_length = False
        self._has_head = False
        self.kept = b""
        self.is_done = False
        self.stays = True
        self.status = 0

    @property
    def ends_with_connection(self) -> bool:
        """True when only the end of the connection says where the answer ends."""
        return self._has_head and not self._has_length and not self.is_done

    def feed(self, data: bytes) -> bool:
        """Take a piece; returns False when it is not HTTP."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return False
        except httptools.HttpParserError:
            # What follows a whole answer that closes the connection is of no interest.
            return self.is_done
        return True

    def on_header(self, name: bytes, _value: bytes) -> None:
        self._has_length |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._has_head = self.status >= 200
        self.stays = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        if len(self.kept) < MAX_KEPT_BYTES:
            self.kept += body[: MAX_KEPT_BYTES - len(self.kept)]

    def on_message_complete(self) -> None:
        self.is_done = self._has_head
