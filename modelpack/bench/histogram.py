"""Latencies, counted to three digits from a microsecond to an hour.

    add(seconds) ──► {bucket in µs: count} ──at(99)──► percentiles
                               └──encode──► HdrHistogram, the form that its other tools read

The buckets are those of HdrHistogram with three significant digits.  While a load runs they are
counted in a dict, 0.3 µs a request, so that nothing has to be folded or thrown away on the way; the
library makes and reads the encoded form, which is what a saved run holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

LONGEST_US = 3_600_000_000
DIGITS = 3
_SUB_BITS = 11
"""2048 sub-buckets keep three digits apart."""


@dataclass(slots=True)
class Latencies:
    """How often each latency was seen; ``counts`` maps the bucket's lowest value in µs to its count."""

    counts: dict[int, int] = field(default_factory=dict)

    def add(self, seconds: float) -> None:
        """Count one latency; a negative one counts as 0, one above an hour as an hour."""
        us = int(seconds * 1e6)
        if us >= 2048:
            us = min(us, LONGEST_US)
            shift = us.bit_length() - _SUB_BITS
            us = us >> shift << shift
        elif us < 0:
            us = 0
        counts = self.counts
        counts[us] = counts.get(us, 0) + 1

    def merge(self, other: Latencies) -> None:
        """Count all of another one's latencies too."""
        counts = self.counts
        for us, count in other.counts.items():
            counts[us] = counts.get(us, 0) + count

    @property
    def count(self) -> int:
        """How many were counted."""
        return sum(self.counts.values())

    @property
    def mean_ms(self) -> float:
        """Their mean in milliseconds; 0 when there are none."""
        count = self.count
        total = sum((us + _width_us(us) / 2) * n for us, n in self.counts.items())
        return total / count / 1000 if count else 0.0

    @property
    def max_ms(self) -> float:
        """The longest in milliseconds; 0 when there are none."""
        return _top_us(max(self.counts)) / 1000 if self.counts else 0.0

    def at_ms(self, percentile: float) -> float:
        """Return what this percentage of the latencies took at most, in ms; 0 when there are none."""
        wanted = max(int(percentile * self.count / 100 + 0.5), 1)
        seen = 0
        for us in sorted(self.counts):
            seen += self.counts[us]
            if seen >= wanted:
                return _top_us(us) / 1000
        return 0.0

    def share_above(self, ms: float) -> float:
        """Return the share, 0 to 1, that took longer."""
        count = self.count
        above = sum(n for us, n in self.counts.items() if us > ms * 1000)
        return above / count if count else 0.0

    def encode(self) -> str:
        """Return the histogram in the compressed form of HdrHistogram (V2, base64)."""
        from hdrh.histogram import HdrHistogram

        histogram = HdrHistogram(1, LONGEST_US, DIGITS)
        for us, count in self.counts.items():
            histogram.record_value(us, count)
        return str(histogram.encode().decode("ascii"))

    @classmethod
    def decode(cls, text: str) -> Latencies:
        """Read what ``encode`` wrote; raises ValueError for anything else."""
        from hdrh.histogram import HdrHistogram

        try:
            histogram = HdrHistogram.decode(text)
            seen = [
                (item.value_iterated_to, item.count_added_in_this_iter_step)
                for item in histogram.get_recorded_iterator()
            ]
        except Exception as cause:  # the library raises whatever its bytes led it into
            raise ValueError("not an encoded histogram") from cause
        latencies = cls()
        for value, count in seen:
            lowest = histogram.get_lowest_equivalent_value(value)
            latencies.counts[lowest] = latencies.counts.get(lowest, 0) + count
        return latencies


def merged(parts: Iterable[Latencies]) -> Latencies:
    """Return all of them together."""
    whole = Latencies()
    for part in parts:
        whole.merge(part)
    return whole


def _width_us(us: int) -> int:
    """Return how many microseconds share the bucket that begins at ``us``."""
    return 1 << max(us.bit_length() - _SUB_BITS, 0)


def _top_us(us: int) -> int:
    return us + _width_us(us) - 1
