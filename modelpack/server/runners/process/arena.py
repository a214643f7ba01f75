"""Shared memory for what is too large to go through a socket.

    Lender.lend(size) ──► Segment ──written, its descriptor sent once──► Borrower.borrow(id, size)
                             ▲                                                │ an array over it
                             └──── take_back(id) ◄── "free" ◄── the array and all its views are gone

A segment is a memfd that cannot shrink: what the other side does to it never costs this side its
life.  It goes back to the lender when nobody holds a view of it any more, so a method that keeps
its argument keeps it unchanged, and the lender takes another one.  A request that is larger than
every free segment gets a new one, which takes the place of the smaller ones.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_BYTES = 1 << 20
"""Smallest segment."""

MOST_FREE = 4
"""Segments that a lender keeps while nobody uses them."""

MOST_LENT = 32
"""Segments that may be in use; the oldest one beyond that is left to its user for good."""

MOST_BORROWED = MOST_LENT + MOST_FREE + 1
"""Most segments that a borrower maps of one lender."""

MAX_BYTES = 1 << 36
"""Largest segment: 64 GiB."""


class ArenaError(ValueError):
    """The other side names a segment that is not there, or not what it says."""


@dataclass(slots=True, eq=False)
class Segment:
    """A piece of shared memory on the lender's side."""

    id: int
    size: int
    memory: mmap.mmap
    descriptor: int
    """To be sent with the first message that uses it and closed then; -1: that is done."""

    def close(self) -> None:
        """Give the memory up; the other side keeps it as long as it uses it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        self.memory.close()


class Lender:
    """Makes segments and uses them again."""

    def __init__(self) -> None:
        self._free: list[Segment] = []
        self._lent: dict[int, Segment] = {}
        self._last_id = 0

    def lend(self, size: int) -> tuple[Segment, list[int]]:
        """Return a segment of ``size`` bytes or more, and the ids of those that are no more.

        Raises OSError when there is no memory.
        """
        fitting = [one for one in self._free if one.size >= size]
        dropped: list[int] = []
        if fitting:
            segment = min(fitting, key=lambda one: one.size)
            self._free.remove(segment)
        else:
            dropped = [one.id for one in self._free]
            for one in self._free:
                one.close()
            self._free.clear()
            if len(self._lent) >= MOST_LENT:
                oldest = self._lent.pop(min(self._lent))
                oldest.close()
                dropped.append(oldest.id)
            self._last_id += 1
            size = max(LEAST_BYTES, 1 << (size - 1).bit_length())
            segment = Segment(self._last_id, size, *make_memory(size))
        self._lent[segment.id] = segment
        return segment, dropped

    def take_back(self, segment_id: int) -> list[int]:
        """Use a segment again from now on; returns the ids of those that are no more."""
        segment = self._lent.pop(segment_id, None)
        if segment is None:
            return []  # it was left to its user
        self._free.append(segment)
        if len(self._free) <= MOST_FREE:
            return []
        smallest = min(self._free, key=lambda one: one.size)
        self._free.remove(smallest)
        smallest.close()
        return [smallest.id]

    def close(self) -> None:
        """Give every segment up."""
        for segment in (*self._free, *self._lent.values()):
            segment.close()
        self._free.clear()
        self._lent.clear()


class Borrower:
    """Maps the segments of a lender."""

    def __init__(self, on_free: Callable[[int], None], *, is_writable: bool) -> None:
        """``on_free`` gets the id of a segment that nobody uses any more; from any thread.

        ``is_writable``: arrays over the segments can be changed, which the lender then sees.
        """
        self._on_free = on_free
        self._is_writable = is_writable
        self._mapped: dict[int, mmap.mmap] = {}
        self._users: dict[int, weakref.ref[Any]] = {}

    def accept(self, segment_id: int, descriptor: int) -> None:
        """Map a new segment; the descriptor stays the caller's.  Raises ArenaError."""
        try:
            if segment_id in self._mapped or len(self._mapped) >= MOST_BORROWED:
                raise ArenaError(f"segment {segment_id} is one too many")
            self._mapped[segment_id] = map_memory(descriptor, is_writable=self._is_writable)
        except (OSError, ValueError) as cause:
            raise ArenaError(f"segment {segment_id} cannot be mapped: {cause}") from cause

    def borrow(self, segment_id: int, size: int) -> NDArray[np.uint8]:
        """Return the first bytes of a segment, in use while the array or a view of it lives."""
        memory = self._mapped.get(segment_id)
        if memory is None or not 0 < size <= len(memory):
            raise ArenaError(f"segment {segment_id} does not have {size} bytes")
        if segment_id in self._users:
            raise ArenaError(f"segment {segment_id} is in use")
        root = np.frombuffer(memory, np.uint8, size)
        self._users[segment_id] = weakref.ref(root, self._freer(segment_id))
        return root

    def drop(self, segment_id: int) -> None:
        """Forget a segment that the lender gave up; views of it stay what they are."""
        memory = self._mapped.pop(segment_id, None)
        if memory is not None:
            with suppress(BufferError):  # somebody has a view: it ends with the last one
                memory.close()

    def close(self) -> None:
        """Forget all of them."""
        self._users.clear()
        for segment_id in list(self._mapped):
            self.drop(segment_id)

    def _freer(self, segment_id: int) -> Callable[[object], None]:
        def free(_: object) -> None:
            if self._users.pop(segment_id, None) is not None:
                self._on_free(segment_id)

        return free


def make_memory(size: int) -> tuple[mmap.mmap, int]:
    """Return new shared memory of that size and its descriptor; raises OSError."""
    descriptor = os.memfd_create("modelpack", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        # All of its pages are there from the start: when memory is short it is said here.
        os.posix_fallocate(descriptor, 0, size)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        return mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE), descriptor
    except BaseException:
        os.close(descriptor)
        raise


def map_memory(descriptor: int, *, is_writable: bool) -> mmap.mmap:
    """Map what another process made; raises ArenaError when it could shrink, and OSError."""
    if not fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
        raise ArenaError("it may shrink")
    size = os.fstat(descriptor).st_size
    if not 0 < size <= MAX_BYTES:
        raise ArenaError(f"it has {size} bytes")
    access = mmap.PROT_READ | (mmap.PROT_WRITE if is_writable else 0)
    return mmap.mmap(descriptor, size, mmap.MAP_SHARED | mmap.MAP_POPULATE, access)
