"""Gives the bytes of one blob, any part of it as often as it is needed, and checks them.

    chunks(offset) of a source ──► read(start, end) ──► an upload, a file
                                        └──► sha256 over each byte once

An upload that was cut off asks for bytes again; the digest still covers all of them in order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator

from modelpack.errors import DigestMismatchError
from modelpack.store.durable import Blob


class BlobReader:
    """One blob of a source; not for several threads at once."""

    def __init__(
        self, blob: Blob, chunks: Callable[[int], Iterator[bytes]], *, source: str
    ) -> None:
        self.blob = blob
        self._chunks = chunks
        self._source = source
        self._open: Iterator[bytes] | None = None
        self._at = 0
        self._rest = b""
        self._hash = hashlib.sha256()
        self._hashed = 0

    def read(self, start: int = 0, end: int | None = None) -> Generator[bytes]:
        """Give the bytes from ``start`` up to ``end`` (default: all).

        Raises DigestMismatchError at the end of the blob when they are not those of its digest,
        as soon as there are too many of them, and when they end too early.
        """
        end = self.blob.size if end is None else end
        if self._open is None or self._at != start:
            self.close()
            self._open, self._at, self._rest = self._chunks(start), start, b""
        while self._at < end:
            data = self._rest or next(self._open, b"")
            if not data:
                raise self._mismatch("it ends too early")
            data, self._rest = data[: end - self._at], data[end - self._at :]
            self._take(data)
            yield data
        if self._at == self.blob.size:
            self._end()

    def close(self) -> None:
        """Let go of the source."""
        if isinstance(self._open, Generator):
            self._open.close()
        self._open = None

    def _take(self, data: bytes) -> None:
        fresh = self._at + len(data) - self._hashed
        if 0 < fresh <= len(data):
            self._hash.update(data[-fresh:])
            self._hashed += fresh
        self._at += len(data)

    def _end(self) -> None:
        if self._rest or (self._open is not None and next(self._open, b"")):
            raise self._mismatch("it has more bytes than it should")
        self.close()
        if self._hashed == self.blob.size and (
            f"sha256:{self._hash.hexdigest()}" != self.blob.digest
        ):
            raise self._mismatch("it has other bytes")

    def _mismatch(self, how: str) -> DigestMismatchError:
        return DigestMismatchError(
            f"digest mismatch: the blob '{self.blob.digest}' of {self._source} is damaged: {how}",
            hint="nothing of it was used; see 'modelpack verify', or get it again from who made it",
        )
