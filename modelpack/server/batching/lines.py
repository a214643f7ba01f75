"""The calls that wait: one line for each priority and each kind of call.

    add(call) ──► level of its priority ──► line of its key ──take(limit)──► Batch
                  0 high, 1 normal, 2 low   calls that may share a batch

Who is next:

* a higher level goes first, but of every 8 batches that are let go while a lower level waits one
  begins with a call of that level: nobody starves, however much of the higher ones comes;
* in one level the lines take turns, a batch each; in one line the first to come is the first to go;
* room that is left in a batch is filled with calls of the same key from the other levels.

A call stays whole when it fits into one batch.  A larger one is cut, and after each slice it goes to
the end of its line; of a batch with a slice, others that wait may have one half.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator

from modelpack.server.batching.call import Batch, Call

LEVELS = 3
TURN = 8
"""A level that waits is passed over so many batches less one, no more."""


class Line(deque[Call]):
    """Calls of one level that may share a batch, the first to come first."""

    __slots__ = ("key",)

    def __init__(self, key: Hashable) -> None:
        super().__init__()
        self.key = key


class Level:
    """The lines of one priority."""

    __slots__ = ("lines", "passed", "rows")

    def __init__(self) -> None:
        self.lines: dict[Hashable, Line] = {}
        self.rows = 0
        self.passed = 0
        """Batches that were let go while it waited, since it had its own."""


class Lines:
    """All that waits for one api."""

    def __init__(self) -> None:
        self.levels = tuple(Level() for _ in range(LEVELS))
        self.rows = 0
        """Rows that wait."""
        self.size_bytes = 0
        """Bytes of the bodies that wait."""
        self.gone = 0
        """Rows that waited and do no more; with ``rows`` all that ever came."""
        self.held: dict[Hashable, float] = {}
        """Until when calls of a key are held for company, as was decided after the last came."""
        self.late: list[Call] = []
        """Calls that ``take`` passed over because it is too late for them."""

    def add(self, call: Call) -> None:
        """Put a call at the end of its line."""
        rows = call.rows
        self.rows += rows
        self.size_bytes += call.size_bytes
        level = self.levels[call.priority]
        level.rows += rows
        line = level.lines.get(call.key)
        if line is None:
            line = level.lines[call.key] = Line(call.key)
        line.append(call)
        if self.held:
            self.held.pop(call.key, None)

    def drop(self, call: Call) -> None:
        """Forget the rows of a call that still wait; it leaves its line when its turn comes."""
        left = call.rows - call.taken
        if left:
            call.taken = call.rows
            self._let_go(call, left)

    def _let_go(self, call: Call, rows: int) -> None:
        """Count rows that wait no more; ``call.taken`` tells whether they are its last."""
        self.rows -= rows
        self.gone += rows
        self.levels[call.priority].rows -= rows
        if call.taken == call.rows:
            self.size_bytes -= call.size_bytes

    def order(self) -> Iterator[tuple[Level, Line]]:
        """Yield the lines in the order of their turns; not to be used any more after a ``take``."""
        waiting = [level for level in self.levels if level.rows]
        if len(waiting) > 1:
            for level in reversed(waiting[1:]):
                if level.passed >= TURN - 1:
                    waiting.remove(level)
                    waiting.insert(0, level)
                    break
        for level in waiting:
            for line in level.lines.values():
                if line:
                    yield level, line

    def calls_of(self, level: Level, line: Line) -> Iterator[Call]:
        """Yield the calls that may go with those of a line, in the order in which they would."""
        yield from line
        for other in self.levels:
            if other is not level and line.key in other.lines:
                yield from other.lines[line.key]

    def take(self, level: Level, line: Line, limit: int, latest: float, now: float) -> Batch | None:
        """Take at most ``limit`` rows, beginning with a line; None: nobody there is waiting.

        Calls whose deadline has passed ``now`` go to ``late`` instead; so do those whose deadline
        is before ``latest``, when the batch can be done, while somebody else waits.
        """
        batch = Batch([], 0, "")
        self._fill(batch, level, line, limit, (latest, now))
        if self.rows != level.rows:  # other levels wait as well
            for other in self.levels:
                if other is not level and (mates := other.lines.get(line.key)) is not None:
                    self._fill(batch, other, mates, limit, (latest, now))
            level.passed = 0
            for other in self.levels:
                if other.rows and other is not level:
                    other.passed += 1
        return batch if batch.rows else None

    def _fill(
        self, batch: Batch, level: Level, line: Line, limit: int, times: tuple[float, float]
    ) -> None:
        latest, now = times
        slices, size_bytes = batch.slices, 0
        room = before = limit - batch.rows
        cut: Call | None = None
        while line and room and line[0] is not cut:
            call = line[0]
            left = call.rows - call.taken
            if call.deadline <= latest and left and self._is_late(call, now, left):
                line.popleft()
                self.late.append(call)
                self.drop(call)
                continue
            if left <= room:
                line.popleft()
                if left:  # else it was dropped
                    if left < call.rows:
                        batch.is_cut = True
                    slices.append((call, call.taken, call.rows))
                    call.taken = call.rows
                    size_bytes += call.size_bytes
                    room -= left
            elif call.rows <= limit and slices:
                break  # it fits whole into the next batch
            else:
                # Others that wait may have half of the room, or what they leave goes to it as well.
                others = level.rows - (before - room) - left
                count = room - min(room // 2, others)
                cut, at = call, len(slices)
                line.rotate(-1)
                batch.is_cut = True
                slices.append((call, call.taken, call.taken + count))
                call.taken += count
                room -= count
        if cut is not None and room:
            more = min(room, cut.rows - cut.taken)
            slices[at] = (cut, slices[at][1], cut.taken + more)
            cut.taken += more
            room -= more
            if cut.taken == cut.rows:
                line.pop()  # where it was moved to
                size_bytes += cut.size_bytes
        taken = before - room
        batch.rows += taken
        self.rows -= taken
        self.gone += taken
        self.size_bytes -= size_bytes
        level.rows -= taken
        if len(level.lines) > 1:
            del level.lines[line.key]
            if line:
                level.lines[line.key] = line  # behind the lines that came meanwhile

    def _is_late(self, call: Call, now: float, left: int) -> bool:
        """Say whether it is too late for a call that may not be done in time."""
        return call.deadline <= now or self.rows > left

    def isolate(self, call: Call) -> None:
        """Give a call that waits a line of its own: it shares its batches with nobody."""
        level = self.levels[call.priority]
        line = level.lines.get(call.key)
        if line is None or call not in line:
            return
        line.remove(call)
        if not line:
            del level.lines[call.key]
        call.key = _Alone()
        alone = level.lines[call.key] = Line(call.key)
        alone.append(call)

    def sweep(self) -> None:
        """Take calls that nobody waits for out of their lines."""
        for level in self.levels:
            for key, line in list(level.lines.items()):
                wanted = [call for call in line if call.taken < call.rows]
                if not wanted:
                    del level.lines[key]
                elif len(wanted) < len(line):
                    line.clear()
                    line.extend(wanted)
        self.held.clear()  # whoever is still held is decided about anew

    def calls(self) -> Iterator[Call]:
        """Yield every call that waits, dropped ones perhaps too."""
        for level in self.levels:
            for line in level.lines.values():
                yield from line


class _Alone:
    """A key that equals no other."""
