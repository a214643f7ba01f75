"""SHA-256 of long streams, computed beside what else is done with them.

    update(chunk) ──► a thread of its own, at most AHEAD chunks behind ──► hexdigest()

Hashing takes about as long as reading and writing together, and a layer has two digests: of the
file and of the tar.  ``hashlib`` lets go of the interpreter while it works, so they run on as many
cores as there are.
"""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

LONG = 1024 * 1024
"""From so many bytes on a piece is worth a thread."""

AHEAD = 4
"""Chunks that may wait; they are what is held in memory."""


class StreamHash:
    """The digest of what it is given; long pieces are hashed in a thread."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()

    def update(self, data: bytes) -> None:
        """Take more; ``data`` must not change afterwards."""
        if len(data) < LONG and not self._waiting:
            self._hash.update(data)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="modelpack-sha256")
        while len(self._waiting) >= AHEAD:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._hash.update, data))

    def hexdigest(self) -> str:
        """Wait for the rest and return the digest."""
        while self._waiting:
            self._waiting.popleft().result()
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        return self._hash.hexdigest()

    def close(self) -> None:
        """End the thread, if nobody asks for the digest any more."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
