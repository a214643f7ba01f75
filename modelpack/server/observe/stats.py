"""Plain counters of the hot path: a few list and dict operations a request, no library.

ApiStats.add(status, seconds)      one answered request, some 0.3 µs
BatchStats.add(rows)               one batch
Reading                            what one api shows at one moment, read by ``metrics``
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

LATENCY_BOUNDS_S = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip

BATCH_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Upper bounds, in rows, of the histogram of batch sizes."""


class BatchStats:
    """Counts for the metrics."""

    __slots__ = ("batches", "buckets", "rows")

    def __init__(self) -> None:
        self.batches = 0
        self.rows = 0
        self.buckets = [0] * (len(BATCH_BOUNDS) + 1)

    def add(self, rows: int) -> None:
        """Count one batch."""
        self.batches += 1
        self.rows += rows
        self.buckets[bisect_left(BATCH_BOUNDS, rows)] += 1


class ApiStats:
    """Counts of one api."""

    __slots__ = ("buckets", "in_flight", "name", "seconds", "statuses")

    def __init__(self, name: str) -> None:
        self.name = name
        self.statuses: dict[int, int] = {}
        self.buckets = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.seconds = 0.0
        self.in_flight = 0

    def add(self, status: int, seconds: float) -> None:
        """Count one answered request."""
        statuses = self.statuses
        statuses[status] = statuses.get(status, 0) + 1
        self.buckets[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1
        self.seconds += seconds


@dataclass(frozen=True, slots=True)
class Reading:
    """What one api shows at one moment; ``batches`` None: it has no batches."""

    stats: ApiStats
    batches: BatchStats | None
    waiting_rows: int
