"""Learns from the batches themselves what a batch of any size costs.

    learn(rows, seconds) ──► bins: 1, 2, 3-4, 5-8, 9-16 … rows, each a mean of rows and of seconds
    seconds(rows)        ──► between two bins a straight line, beyond them a + b·n fitted to them
    enough(rows)         ──► the size beyond which a row gets no cheaper

What always holds:

* one odd batch decides nothing: what is more than twice or less than half of what was expected
  counts as twice or half of it;
* a model that has become faster or slower is believed after five such batches in a row, and then
  what the other sizes cost is corrected by the same factor, until they have been tried again;
* nothing is claimed of sizes with fewer than ``EVIDENCE`` batches.

``CostBook`` keeps a model for each size of a row, where rows are not all of one shape.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import pairwise

EVIDENCE = 8
"""Batches of one bin from which on its cost is known."""

HANDLING_S = 50e-6
"""What a batch costs besides its run: a hand-off and a turn of the event loop."""

_GAIN = 0.97
"""A row that costs this share of another's is hardly cheaper."""
_SMOOTHING = 1 / 16
_ODD = 2.0
_STREAK = 5
_TRY_AGAIN = 64
_PLATEAU = 4
_LONG_S = 2e-3
_TRY_HALF = 4
_MOST_SHAPES = 64


class Bin:
    """What batches of about one size cost."""

    __slots__ = ("before_s", "count", "odd", "rows", "seconds")

    def __init__(self, rows: float, seconds: float) -> None:
        self.rows = rows
        self.seconds = seconds
        self.count = 1
        """Batches that it was learned from, since the last change."""
        self.odd: list[tuple[float, int, float]] = []
        """The last batches, all odd the same way: how many times as long as expected they took,
        their rows and their seconds."""
        self.before_s = 0.0
        """What was known before these."""

    def learn(self, rows: int, seconds: float) -> float:
        """Take a batch in; returns the factor by which the model's speed has changed, mostly 1."""
        expected = _scaled(self.seconds, rows / self.rows)
        ratio = seconds / expected if expected > 0 else 1.0
        self.count += 1
        if self.count == 2 and ratio < 1:  # the first one paid for what is made only once
            self.rows, self.seconds = rows, seconds
            return 1.0
        if not 1 / _ODD <= ratio <= _ODD:
            if self.odd and (self.odd[0][0] > 1) != (ratio > 1):
                self.odd.clear()
            if not self.odd:
                self.before_s = self.seconds
            self.odd.append((ratio, rows, seconds))
            if len(self.odd) == _STREAK:
                return self._believe()
            seconds = expected * (_ODD if ratio > 1 else 1 / _ODD)
        elif self.odd:
            self.odd.clear()
        share = _SMOOTHING if self.count > 1 / _SMOOTHING else 1 / self.count
        self.rows += (rows - self.rows) * share
        self.seconds += (seconds - self.seconds) * share
        return 1.0

    def _believe(self) -> float:
        """Take the middle of the odd batches for what is true."""
        _, rows, seconds = sorted(self.odd)[_STREAK // 2]
        expected = _scaled(self.before_s, rows / self.rows)
        self.odd.clear()
        self.rows, self.seconds, self.count = rows, seconds, _STREAK
        return seconds / expected if expected > 0 else 1.0


def _scaled(seconds: float, share: float) -> float:
    """Return what a batch takes that has so many times the rows: half of it goes by the row."""
    return seconds * (1 + share) / 2


class CostModel:
    """What batches cost, by their rows."""

    __slots__ = ("_bins", "_enough", "_half", "_halved", "_limited", "_proven", "known_s")

    def __init__(self) -> None:
        self._bins: dict[int, Bin] = {}
        self._proven = 0  # largest size whose bin is known
        self._enough = 0  # size beyond which nothing is gained, among the known
        self._half = 0  # half of that, when it was hardly tried and may do as well
        self._limited = self._halved = 0
        self.known_s = (0.0, 0.0)
        """What a batch of the smallest and of the largest known size takes; 0: none is known."""

    def learn(self, rows: int, seconds: float) -> None:
        """Take in that a batch of ``rows`` took ``seconds``."""
        index = (rows - 1).bit_length()
        one = self._bins.get(index)
        if one is None:
            self._bins[index] = Bin(rows, seconds)
            return
        change = one.learn(rows, seconds)
        if change != 1.0:
            for other in self._bins.values():
                if other is not one:
                    # No guess leaves the space between "all of it fixed" and "all by the row".
                    low, high = sorted((one.seconds, one.seconds * other.rows / one.rows))
                    other.seconds = min(max(other.seconds * change, low), high)
                    other.count = 1
                    other.odd.clear()
        if change != 1.0 or not one.count % EVIDENCE:
            self._judge()

    def _judge(self) -> None:
        known = [(i, b) for i, b in sorted(self._bins.items()) if b.count >= EVIDENCE]
        self._proven = self._enough = self._half = 0
        self.known_s = (0.0, 0.0)
        if known:
            self.known_s = (known[0][1].seconds, known[-1][1].seconds)
            best = min((b.seconds + HANDLING_S) / b.rows for _, b in known)
            fine = (i for i, b in known if (b.seconds + HANDLING_S) / b.rows * _GAIN <= best)
            index = next(fine)
            self._enough, self._proven = 1 << index, 1 << known[-1][0]
            below = self._bins.get(index - 1)
            is_known = below is not None and below.count >= EVIDENCE
            if index and not is_known and self._bins[index].seconds >= _LONG_S:
                self._half = self._enough // 2

    def enough(self, rows: int) -> int:
        """Return how many of ``rows`` to run together now: as ``pays``, and once in a while others.

        What did not pay once may pay later.  And where batches are long, half of one may be no
        dearer a row: with steady company smaller ones would never be seen.
        """
        fewer = self.pays(rows)
        if self._half and self._half < fewer:
            self._halved += 1
            if self._halved % _TRY_HALF == 0:
                return self._half
        if fewer == rows:
            return rows
        self._limited += 1
        again, rest = divmod(self._limited, _TRY_AGAIN)
        if rest:
            return fewer
        untried = 2 * self._proven if rows > self._proven else 0
        return min(rows, untried or fewer << 1 + again % 2)

    def pays(self, rows: int) -> int:
        """Return how many of ``rows`` it pays to run together: more would be no cheaper a row.

        All of them while nothing is known.  Then sizes that were never tried are tried a doubling
        at a time, so that no trial takes much longer than what is known, until two doublings have
        brought nothing.
        """
        if rows <= self._enough or not self._proven:
            return rows
        if rows <= self._proven or self._proven >= _PLATEAU * self._enough:
            return self._enough
        return min(rows, 2 * self._proven)

    def row_s(self, most: int, between_s: float = 0.0) -> float:
        """Return the least seconds a row in batches of at most ``most`` rows, 0.0: not known.

        ``between_s`` passes between one batch and the next.
        """
        return min(
            (
                (one.seconds + between_s) / one.rows
                for one in self._bins.values()
                if one.count >= EVIDENCE and one.rows <= most
            ),
            default=0.0,
        )

    def knows(self, rows: int) -> bool:
        """Say whether batches of so many rows, or more, have been run often enough."""
        return rows <= self._proven

    def seconds(self, rows: int) -> float | None:
        """Return what a batch of ``rows`` should take; None: there was none yet."""
        points = [(one.rows, one.seconds) for _, one in sorted(self._bins.items())]
        if not points:
            return None
        (first_rows, first_s), (last_rows, last_s) = points[0], points[-1]
        if rows <= first_rows:  # no more than more rows cost, no less than its share of them
            return max(first_s * rows / first_rows, min(first_s, _line(points, rows)))
        if rows >= last_rows:  # no less than fewer rows cost, no more than their share
            return min(last_s * rows / last_rows, max(last_s, _line(points, rows)))
        for (low, low_s), (high, high_s) in pairwise(points):
            if rows <= high:
                return low_s + (high_s - low_s) * (rows - low) / (high - low)
        raise AssertionError("rows are between the first and the last point")


def _line(points: list[tuple[float, float]], rows: int) -> float:
    """Return a + b·n, fitted with each point's relative error counting the same."""
    weights = [1 / (seconds * seconds) if seconds > 0 else 1.0 for _, seconds in points]
    total = sum(weights)
    mean_n = sum(w * n for w, (n, _) in zip(weights, points, strict=True)) / total
    mean_s = sum(w * s for w, (_, s) in zip(weights, points, strict=True)) / total
    spread = sum(w * (n - mean_n) ** 2 for w, (n, _) in zip(weights, points, strict=True))
    if spread <= 0:
        return mean_s * rows / mean_n
    slope = sum(w * (n - mean_n) * (s - mean_s) for w, (n, s) in zip(weights, points, strict=True))
    return mean_s + max(0.0, slope / spread) * (rows - mean_n)


class CostBook:
    """The cost models of one api: one for each size of a row, and one for all together."""

    __slots__ = ("_models", "all")

    def __init__(self) -> None:
        self.all = CostModel()
        """Of batches of whatever shape: what the queue as a whole goes by."""
        self._models: dict[Hashable, CostModel] = {}

    def of(self, shape: Hashable) -> CostModel:
        """Return the model of rows of one shape; None stands for the only one."""
        if shape is None:
            return self.all
        model = self._models.get(shape)
        if model is None:
            if len(self._models) >= _MOST_SHAPES:
                return self.all
            model = self._models[shape] = CostModel()
        return model
