"""Counts what a transfer really moves over the wire, and what it did not have to move.

    bodies of requests ──► sent      bodies of answers ──► received
    blobs that are there ──► saved   blobs that are mounted ──► saved, mounted

A chunk that is sent twice counts twice: these are bytes of the wire, not sizes of files.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_TELL_EVERY_S = 0.1


class StoppedError(Exception):
    """The transfer was given up; whoever still works on it ends."""


class Counts:
    """What a transfer did so far; any thread may add to it."""

    def __init__(self, tell: Callable[[Counts], None] | None = None) -> None:
        self.sent_bytes = 0
        """Bodies of requests."""
        self.received_bytes = 0
        """Bodies of answers."""
        self.saved_bytes = 0
        """Sizes of blobs that were there already or were mounted."""
        self.mounted_bytes = 0
        """Those of them that were mounted out of another repository."""
        self.total_bytes = 0
        """Sizes of all blobs of the transfer."""
        self._tell = tell
        self._told_at = 0.0
        self._lock = threading.Lock()
        self._is_stopped = False

    def sent(self, size: int) -> None:
        """Add bytes of a request; raises StoppedError when the transfer was given up."""
        with self._lock:
            self.sent_bytes += size
        self._after()

    def received(self, size: int) -> None:
        """Add bytes of an answer; raises StoppedError when the transfer was given up."""
        with self._lock:
            self.received_bytes += size
        self._after()

    def saved(self, size: int, *, is_mounted: bool = False) -> None:
        """Add a blob that did not have to be moved."""
        with self._lock:
            self.saved_bytes += size
            self.mounted_bytes += size if is_mounted else 0
        self._after()

    @property
    def done_bytes(self) -> int:
        """Roughly how much of ``total_bytes`` needs no more work; a chunk sent twice counts twice."""
        moved = max(self.sent_bytes, self.received_bytes)
        return min(self.saved_bytes + moved, self.total_bytes)

    def stop(self) -> None:
        """Make every other thread of the transfer end."""
        self._is_stopped = True

    def _after(self) -> None:
        if self._is_stopped:
            raise StoppedError
        if self._tell is None:
            return
        now = time.monotonic()
        with self._lock:
            if now - self._told_at < _TELL_EVERY_S:
                return
            self._told_at = now
        self._tell(self)
