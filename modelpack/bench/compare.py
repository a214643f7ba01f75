"""Whether a difference between two runs is more than their own unrest.

    run A, run B ──seconds drawn anew, with replacement, 2,000 times──► interval of B against A
                                                                            │ holds 0?
                                                     no clear difference ◄──┴──► better, worse

A run is as many one-second pieces.  Drawing them anew shows how far a figure would have moved by
chance alone (bootstrap).  Seconds that follow each other are alike, and what changes between two
runs (another neighbour, another processor frequency) is in neither.  Runs taken in turns (A B A B)
have that in them as well: those are drawn by rounds, both sides of a round together, so that a slow
round, which is slow for both, does not hide a difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelpack.bench.histogram import merged as merged_latencies
from modelpack.bench.result import Result
from modelpack.bench.slices import Slice, merged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

DRAWS = 2000
LEAST_BLOCKS = 5
"""With fewer pieces nothing is called clear."""
_CONFIDENCE = 0.99
LEAST_CHANGE = 1.0
"""Percent below which no change is called clear: two runs of one build differ by as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One figure of two runs; the interval is of the change from A to B, in percent."""

    figure: str
    """``rate``, ``p50``, ``p90``, ``p99`` or ``failed``."""
    unit: str
    before: float
    after: float
    low: float
    high: float
    more_is_better: bool

    @property
    def change(self) -> float:
        """From A to B, in percent of A."""
        if self.before == 0:
            return 0.0 if self.after == 0 else math.inf
        return (self.after / self.before - 1) * 100

    @property
    def is_clear(self) -> bool:
        """True when chance alone does not explain it."""
        return (self.low > 0 or self.high < 0) and abs(self.change) >= LEAST_CHANGE

    @property
    def is_worse(self) -> bool:
        """True when B is clearly worse."""
        return self.is_clear and (self.change < 0) == self.more_is_better

    def is_worse_by(self, percent: float) -> bool:
        """True when even the kindest end of the interval is worse than this."""
        return -self.high > percent if self.more_is_better else self.low > percent

    @property
    def verdict(self) -> str:
        """Say it in a word or three."""
        if not self.is_clear:
            return "no clear difference"
        return "worse" if self.is_worse else "better"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; what has no end is null."""
        return {
            "figure": self.figure,
            "unit": self.unit,
            "before": round(self.before, 4),
            "after": round(self.after, 4),
            "change_percent": _finite(self.change),
            "low_percent": _finite(self.low),
            "high_percent": _finite(self.high),
            "verdict": self.verdict,
        }


def compare(before: Result, after: Result) -> list[Difference]:
    """Return the differences between two runs, second by second."""
    return compare_blocks([(one,) for one in before.slices], [(one,) for one in after.slices])


def compare_blocks(
    before: Sequence[Sequence[Slice]], after: Sequence[Sequence[Slice]], *, is_paired: bool = False
) -> list[Difference]:
    """Return the differences between two runs whose pieces are blocks of seconds.

    ``is_paired``: the blocks of one number were measured one right after the other.
    """
    pair = _Pair(_Pieces(before), _Pieces(after), is_paired)
    return [
        pair.difference("rate", "1/s", _rates, more_is_better=True),
        *(
            pair.difference(name, "ms", _percentiles(percent))
            for name, percent in (("p50", 50.0), ("p90", 90.0), ("p99", 99.0))
        ),
        pair.difference("failed", "%", _failed),
    ]


class _Pieces:
    """A run as arrays: one row a piece, and in ``counts`` one column a latency."""

    def __init__(self, blocks: Sequence[Sequence[Slice]]) -> None:
        import numpy as np

        pieces = [merged(block) for block in blocks] or [Slice()]
        self.count = len(pieces)
        values = sorted(merged_latencies(one.latencies for one in pieces).counts) or [0]
        column = {us: i for i, us in enumerate(values)}
        self.values_ms = np.array(values, dtype=float) / 1000
        self.counts = np.zeros((len(pieces), len(values)))
        for row, one in enumerate(pieces):
            for us, count in one.latencies.counts.items():
                self.counts[row, column[us]] = count
        self.seconds = np.array([one.seconds for one in pieces], dtype=float)
        self.good = np.array([one.good for one in pieces], dtype=float)
        self.failed = np.array([one.failed for one in pieces], dtype=float)


Figure = Callable[["_Pieces", "Array"], "Array"]
"""Works a figure out for each row of weights (how often each piece is in a draw)."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two runs, and how often each piece is in each draw."""

    a: _Pieces
    b: _Pieces
    is_paired: bool

    def difference(
        self, name: str, unit: str, figure: Figure, *, more_is_better: bool = False
    ) -> Difference:
        """Work one figure out for both runs as they are and for every draw."""
        import numpy as np

        before, after = (figure(run, np.ones((1, run.count)))[0] for run in (self.a, self.b))
        drawn = [
            figure(run, weights)
            for run, weights in zip((self.a, self.b), self._draws(), strict=True)
        ]
        low, high = _interval(drawn[0], drawn[1])
        if min(self.a.count, self.b.count) < LEAST_BLOCKS:
            low, high = -math.inf, math.inf
        return Difference(
            figure=name,
            unit=unit,
            before=float(before),
            after=float(after),
            low=low,
            high=high,
            more_is_better=more_is_better,
        )

    def _draws(self) -> tuple[Array, Array]:
        import numpy as np

        random = np.random.default_rng(17)
        a, b = (
            random.multinomial(run.count, [1 / run.count] * run.count, size=DRAWS).astype(float)
            for run in (self.a, self.b)
        )
        return (a, a) if self.is_paired and self.a.count == self.b.count else (a, b)


def _interval(a: Array, b: Array) -> tuple[float, float]:
    """Return the ends of the change in percent that holds for all but a few draws."""
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        changes = np.where(a == 0, np.where(b == 0, 0.0, np.inf), (b / a - 1) * 100)
    edge = (1 - _CONFIDENCE) / 2 * 100
    low, high = np.percentile(changes, [edge, 100 - edge], method="nearest")
    return float(low), float(high)


def _rates(run: _Pieces, weights: Array) -> Array:
    seconds: Array = weights @ run.seconds
    rates: Array = (weights @ run.good) / (seconds + (seconds == 0))
    return rates


def _failed(run: _Pieces, weights: Array) -> Array:
    failed: Array = weights @ run.failed
    total: Array = failed + weights @ run.good
    percent: Array = 100 * failed / (total + (total == 0))
    return percent


def _percentiles(percent: float) -> Figure:
    def figure(run: _Pieces, weights: Array) -> Array:
        reached: Array = (weights @ run.counts).cumsum(axis=1)
        below = (reached < reached[:, -1:] * percent / 100).sum(axis=1)
        found: Array = run.values_ms[below.clip(max=len(run.values_ms) - 1)]
        return found

    return figure


def _finite(value: float) -> float | None:
    return round(value, 2) if math.isfinite(value) else None
