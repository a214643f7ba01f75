"""A page of shared memory in which a runner says what it does.

    runner ──begin(front, api, call), end(...), beat()──► page ──► the fronts, the manager

It can still be read when the runner is gone: that is how it is known whose batch had begun and whose
had not, and therefore who may be the one that killed it.  And it can be read while the runner does
not answer: a beat that stands still is a hang.

    0 beat: monotonic ns    8 answers    16 apis    64 … a cell for each front and api:
    begun: last call id    running: calls that run now    since: monotonic ns when the last began
"""

from __future__ import annotations

import mmap
import struct
from time import monotonic_ns

from modelpack.server.runners.process.arena import ArenaError, make_memory, map_memory

MAX_FRONTS = 512
"""Most connections to one runner."""

_HEAD = 64
_CELL = struct.Struct("<QqQ")
_WORD = struct.Struct("<Q")
_BEAT, _ANSWERS, _APIS = 0, 8, 16


class Page:
    """The runner's side."""

    def __init__(self, apis: int) -> None:
        """Make the page; ``descriptor`` is to be given to whoever reads it.  Raises OSError."""
        self._apis = apis
        self._memory, self.descriptor = make_memory(_HEAD + MAX_FRONTS * max(1, apis) * _CELL.size)
        self._answers = 0
        self._running: dict[int, int] = {}
        _WORD.pack_into(self._memory, _APIS, apis)
        self.beat()

    def begin(self, front: int, api: int, call: int) -> None:
        """Say that a call begins; ids of one front and api rise."""
        at = _HEAD + (front * self._apis + api) * _CELL.size
        count = self._running[at] = self._running.get(at, 0) + 1
        _CELL.pack_into(self._memory, at, call, count, monotonic_ns())

    def end(self, front: int, api: int) -> None:
        """Say that a call has its answer."""
        at = _HEAD + (front * self._apis + api) * _CELL.size
        count = self._running[at] = self._running.get(at, 0) - 1
        _WORD.pack_into(self._memory, at + 8, count)
        self._answers += 1
        _WORD.pack_into(self._memory, _ANSWERS, self._answers)

    def clear(self, front: int) -> None:
        """Let the ids of a front begin again, for the next one with its number."""
        for api in range(self._apis):
            # What still runs for the former one ends as it began.
            _WORD.pack_into(self._memory, _HEAD + (front * self._apis + api) * _CELL.size, 0)

    def beat(self) -> None:
        """Say that the event loop turns."""
        _WORD.pack_into(self._memory, _BEAT, monotonic_ns())


class PageView:
    """The page as others read it."""

    def __init__(self, descriptor: int) -> None:
        """Map it; the descriptor stays the caller's.  Raises ArenaError and OSError."""
        self._memory: mmap.mmap = map_memory(descriptor, is_writable=False)
        self._apis = self._word(_APIS)
        if len(self._memory) < _HEAD + MAX_FRONTS * max(1, self._apis) * _CELL.size:
            raise ArenaError("too short a page")

    def close(self) -> None:
        """Let go of it, which frees a descriptor."""
        self._memory.close()

    def has_begun(self, front: int, api: int, call: int) -> bool:
        """Say whether that call, or a later one of the same front and api, had begun."""
        return self._word(self._cell(front, api)) >= call

    def running(self, front: int, api: int) -> tuple[int, float]:
        """Return how many calls run, and the seconds since the last one began."""
        _, count, since = _CELL.unpack_from(self._memory, self._cell(front, api))
        return count, (monotonic_ns() - since) / 1e9

    @property
    def is_busy(self) -> bool:
        """True while any call runs."""
        cells = range(_HEAD, _HEAD + MAX_FRONTS * self._apis * _CELL.size, _CELL.size)
        return any(_CELL.unpack_from(self._memory, at)[1] > 0 for at in cells)

    @property
    def beat_age_s(self) -> float:
        """Seconds since the runner's event loop last turned."""
        return (monotonic_ns() - self._word(_BEAT)) / 1e9

    @property
    def answers(self) -> int:
        """Calls that it has answered."""
        return self._word(_ANSWERS)

    def _cell(self, front: int, api: int) -> int:
        if not (0 <= front < MAX_FRONTS and 0 <= api < self._apis):
            raise ArenaError(f"no cell for front {front} and api {api}")
        return _HEAD + (front * self._apis + api) * _CELL.size

    def _word(self, at: int) -> int:
        word: int = _WORD.unpack_from(self._memory, at)[0]
        return word
