"""How many rows are asked for at a time, and how a run goes on.

rows a second ──► Sizes.next: rows that take a fifth of a second, whole batches of them
parts, shares ──► Progress: rate, time that is left
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

TARGET_S = 0.2
"""How long the rows of one chunk should take: long enough to cost little, short enough to see it move."""

MOST_ROWS = 8192
MOST_BYTES = 4 * 1024 * 1024
"""Most of one chunk."""

_GROWTH = 4
_SMOOTHING = 0.3


class Sizes:
    """Learns how many rows make a chunk."""

    def __init__(self, batch: int | None) -> None:
        """``batch`` is the most rows that run together; None: each runs by itself."""
        self._least = min(batch or 1, MOST_ROWS)
        self._rate = 0.0
        self._last = monotonic()
        self.next = self._least
        """Rows to ask for next."""

    def learn(self, rows: int) -> None:
        """Take in that an answer for so many rows has come."""
        now = monotonic()
        rate = rows / max(now - self._last, 1e-6)
        self._last = now
        self._rate += (rate - self._rate) * (_SMOOTHING if self._rate else 1.0)
        wanted = min(int(self._rate * TARGET_S), self.next * _GROWTH, MOST_ROWS)
        self.next = max(self._least, wanted - wanted % self._least)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    rows: int
    """Rows of the input that are behind it, those of earlier runs too."""
    bad: int
    total: int | None
    """All rows of the input; None: not known."""
    share: float
    """Part of the input that is behind it, 0 to 1."""
    rate: float
    """Rows a second of this run."""
    left_s: float | None
    """How long the rest should take; None: not known."""


class Clock:
    """Turns counts into rates."""

    def __init__(self, rows: int, share: float) -> None:
        """``rows`` and ``share`` are what earlier runs have done."""
        self._began = monotonic()
        self._rows = rows
        self._share = share

    @property
    def seconds(self) -> float:
        """How long this run takes so far."""
        return monotonic() - self._began

    def progress(self, rows: int, bad: int, total: int | None, share: float) -> Progress:
        """Return how far the run is."""
        seconds = max(self.seconds, 1e-6)
        done = share - self._share
        left_s = seconds * (1.0 - share) / done if done > 0 else None
        return Progress(rows, bad, total, share, (rows - self._rows) / seconds, left_s)
