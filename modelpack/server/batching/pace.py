"""Knows how fast a queue empties: who can still be served in time, and when to come back.

    learn(batch) ──► costs of sizes and shapes, pauses between batches ──► row_s
    row_s times the rows that wait ──► too late for a deadline?  Retry-After

What always holds: without evidence nobody is refused.  ``row_s`` is 0 until enough batches have run,
it goes by the fastest size, and a queue that is empty takes anybody, so that there is always a next
batch to learn from.
"""

from __future__ import annotations

import math

from modelpack.server.batching.call import Call
from modelpack.server.batching.cost import CostBook, CostModel
from modelpack.server.batching.lines import TURN, Lines
from modelpack.server.batching.seats import Seats

EASY_S = 0.002
"""A queue that empties within this time needs no look at the deadline of a call."""

_RESERVE = 0.9
"""Share of the time that is left that a call may be promised; the rest is for what nobody foresees."""
_HOPELESS = 0.75
_REVIEW = 8
_SHORT_S = 0.001
_ONE_IN = 4
_ENOUGH = 256
_SMOOTHING = 1 / 8
_LONGEST_RETRY_S = 60
_MOST_GROWTH = 4.0


class Pace:
    """The speed of the runners of one api together."""

    __slots__ = (
        "_batches", "_between_s", "_most", "_most_waiting", "_run_s", "_runners", "costs",
        "easy_rows", "row_s",
    )  # fmt: skip

    def __init__(self, most: int, most_waiting: int) -> None:
        """``most`` rows fit into a batch, and ``most_waiting`` into the queue."""
        self.costs = CostBook()
        self.row_s = 0.0
        """Seconds for each row that waits until the last of them is done, in a share of which a
        call may be promised its answer; 0: not known."""
        self.easy_rows = most_waiting
        """Rows that may wait without anybody's deadline being in danger."""
        self._most = most
        self._most_waiting = most_waiting
        self._between_s = 0.0
        self._runners = 1
        self._batches = 0
        self._run_s: dict[int, float] = {}  # as asked since the last review

    def learn(self, model: CostModel, rows: int, seconds: float) -> None:
        """Take in what a batch took."""
        self._batches += 1
        if seconds < _SHORT_S and self._batches % _ONE_IN and self._batches > _ENOUGH:
            return  # these come by the thousand: some of them teach as much
        model.learn(rows, seconds)
        if model is not self.costs.all:
            self.costs.all.learn(rows, seconds)
        if not self._batches % _REVIEW:
            self._review()

    def pause(self, seconds: float) -> None:
        """Take in how long a runner was free although others waited."""
        # A long one is somebody else's doing: it counts twice at the most.
        seconds = min(seconds, 2 * self._between_s + 1e-3)
        self._between_s += (seconds - self._between_s) * _SMOOTHING

    def share(self, runners: int) -> None:
        """Take in how many runners there are."""
        self._runners = max(1, runners)
        self._review()

    def _review(self) -> None:
        self._run_s.clear()
        row_s = self.costs.all.row_s(self._most, self._between_s)
        self.row_s = row_s / self._runners / _RESERVE
        self.easy_rows = self._most_waiting
        if self.row_s > 0:
            self.easy_rows = min(self._most_waiting, int(EASY_S / self.row_s))

    def run_s(self, rows: int) -> float:
        """Return what a call of so many rows takes by itself, about; 0: not known."""
        rows = min(rows, self._most)
        seconds = self._run_s.get(rows)
        if seconds is None:
            seconds = self._run_s[rows] = self.costs.all.seconds(rows) or 0.0
        return seconds

    def together(self, rows: int) -> int:
        """Return how many of ``rows`` that wait will run in one batch, about."""
        return max(1, self.costs.all.pays(min(rows, self._most)))

    def latest(self, model: CostModel, limit: int, waiting: int, now: float) -> float:
        """Return the moment before which a batch that begins ``now`` will hardly be done.

        While no more wait than go together, that of a single row: company is nobody's fault.
        """
        return now + _HOPELESS * model.known_s[waiting > limit]

    def retry_after_s(self, rows: int) -> int:
        """Return the whole seconds, 1 to 60, in which so many rows should be done."""
        return min(_LONGEST_RETRY_S, max(1, math.ceil(rows * self.row_s)))


class Gate:
    """Says whom the queue of one api takes in."""

    __slots__ = ("_lines", "_max_bytes", "_max_rows", "_pace", "_seats")

    def __init__(
        self, lines: Lines, pace: Pace, seats: Seats, max_rows: int, max_bytes: int
    ) -> None:
        self._lines = lines
        self._pace = pace
        self._seats = seats
        self._max_rows = max_rows
        self._max_bytes = max_bytes

    def objection(self, call: Call) -> str:
        """Return why there is no room for a call, or no time; empty: it may come in.

        An empty queue takes anybody, so that a request that is larger than the queue is possible.
        """
        lines = self._lines
        if not lines.rows:
            return ""
        if (
            lines.rows + call.rows > self._max_rows
            or lines.size_bytes + call.size_bytes > self._max_bytes
        ):
            return "the queue is full"
        return "the queue is too long for the request's time" if self._is_too_late(call) else ""

    def _is_too_late(self, call: Call) -> bool:
        """Say whether those before it leave a call no time.

        Before it are what still runs, the rows of the batches ahead, and its own batch: that has to
        end as a whole, with those who come after it.
        """
        lines, pace = self._lines, self._pace
        left_s = call.deadline - call.started
        if (2 * lines.rows + call.rows) * pace.row_s < left_s / 2:
            return False
        before = others = 0
        for priority, level in enumerate(lines.levels):
            if priority <= call.priority:
                before += level.rows
            else:
                others += level.rows
        before += min(others, before // (TURN - 1))  # lower levels have their turns meanwhile
        if not before:
            return False
        rest_s, growth = self._running(call.started)
        batch = pace.together(round((lines.rows + call.rows) * growth))
        own_s = rest_s + pace.run_s(max(batch, call.rows))
        return before // batch * batch * pace.row_s + own_s / _RESERVE > left_s

    def _running(self, now: float) -> tuple[float, float]:
        """Return in how many seconds a runner should be free, and how many times as many wait then.

        As many come in what is left of its batch as have come since it began.
        """
        ends = [
            (seat.began + self._pace.run_s(seat.batch.rows), seat.began)
            for seat in self._seats.busy()
            if seat.batch is not None
        ]
        if not ends:
            return 0.0, 1.0
        end, began = min(ends)
        rest_s = max(0.0, end - now)
        return rest_s, min(_MOST_GROWTH, 1 + rest_s / max(now - began, 1e-6))
