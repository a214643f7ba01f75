"""Whether a difference between two runs is more than their own unrest.

    run A, run B ──seconds drawn anew, with replacement, 2,000 times──► interval of B against A
                                                                            │ holds 0?
                                                     no clear difference ◄──┴──► better, worse

A run is as many one-second pieces.  Drawing them anew shows how far a figure would have moved by
chance alone (bootstrap).  Seconds that follow each other are alike, and what changes between two
runs (another neighbour, another processor frequency) is in neither; runs taken in turns (A B A B)
have that in them as well, so those are drawn by turns: ``blocks``.
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
    before: Sequence[Sequence[Slice]], after: Sequence[Sequence[Slice]]
) -> list[Difference]:
    """Return the differences between two runs whose pieces are blocks of seconds, such as turns."""
    a, b = _Pieces(before), _Pieces(after)
    found = [_difference("rate", "1/s", a, b, _rates, more_is_better=True)]
    for name, percent in (("p50", 50.0), ("p90", 90.0), ("p99", 99.0)):
        found.append(_difference(name, "ms", a, b, _percentiles(percent), more_is_better=False))
    found.append(_difference("failed", "%", a, b, _failed, more_is_better=False))
    return found


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


def _difference(
    name: str, unit: str, a: _Pieces, b: _Pieces, figure: Figure, *, more_is_better: bool
) -> Difference:
    import numpy as np

    random = np.random.default_rng(17)
    plain = [figure(run, np.ones((1, run.count)))[0] for run in (a, b)]
    drawn = [
        figure(run, random.multinomial(run.count, [1 / run.count] * run.count, size=DRAWS))
        for run in (a, b)
    ]
    low, high = _interval(drawn[0], drawn[1])
    if min(a.count, b.count) < LEAST_BLOCKS:
        low, high = min(low, -math.inf), max(high, math.inf)
    return Difference(
        figure=name,
        unit=unit,
        before=float(plain[0]),
        after=float(plain[1]),
        low=low,
        high=high,
        more_is_better=more_is_better,
    )


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
