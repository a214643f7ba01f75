"""What happened in one second of a load: the piece that everything later is made of.

    loop ──counts──► Slice (a second) ──┬─ merged ──► the whole run, all processes
                                        ├─ to_json ──► saved run, other processes
                                        └─ compare ──► how far a figure can be trusted

A slice holds what was *seen* in its second: an answer belongs to the second in which it came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelpack.bench.histogram import Latencies

REFUSALS = frozenset({429, 503})
"""Statuses by which a server says that it has too much to do."""


@dataclass(slots=True)
class Slice:
    """Counts of one second of one lane."""

    seconds: float = 1.0
    """How long it was; the tail after the last second is 0 long, so that it adds to no rate."""

    offered: int = 0
    """Requests that were to be sent."""

    latencies: Latencies = field(default_factory=Latencies)
    """From the intended sending to the answer, for answers of the 2xx kind, and for requests that
    were given up with the time that they had waited: a server that stalls cannot look fast."""

    refused: Latencies = field(default_factory=Latencies)
    """The same for answers that refuse (429, 503)."""

    late: Latencies = field(default_factory=Latencies)
    """How long after their time requests were sent, for want of a connection or of a processor."""

    clock_late: Latencies = field(default_factory=Latencies)
    """How long after its time the generator itself came to a request."""

    statuses: dict[int, int] = field(default_factory=dict)
    """Answers by status."""

    errors: dict[str, int] = field(default_factory=dict)
    """Requests without an answer: ``timeout``, ``closed``, ``connect``, ``unsent``, ``not-http``."""

    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def good(self) -> int:
        """Answers of the 2xx kind."""
        return sum(n for status, n in self.statuses.items() if 200 <= status < 300)

    @property
    def answered(self) -> int:
        """Answers of any status."""
        return sum(self.statuses.values())

    @property
    def refusals(self) -> int:
        """Answers that refuse."""
        return sum(self.statuses.get(status, 0) for status in REFUSALS)

    @property
    def failed(self) -> int:
        """Requests with another answer than 2xx or with none, refusals included."""
        return self.answered - self.good + sum(self.errors.values())

    def add_error(self, kind: str) -> None:
        """Count a request that got no answer."""
        self.errors[kind] = self.errors.get(kind, 0) + 1

    def merge(self, other: Slice) -> None:
        """Add what another one saw in the same second."""
        self.offered += other.offered
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        for name in ("latencies", "refused", "late", "clock_late"):
            getattr(self, name).merge(getattr(other, name))
        for status, count in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + count
        for kind, count in other.errors.items():
            self.errors[kind] = self.errors.get(kind, 0) + count

    def to_json(self, *, is_encoded: bool = True) -> dict[str, Any]:
        """Return plain JSON values; empty parts are left out.

        Histograms are encoded, or for a reader close by, which costs less time, maps of counts.
        """
        plain: dict[str, Any] = {
            "seconds": round(self.seconds, 6),
            "offered": self.offered,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "errors": dict(sorted(self.errors.items())),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
        }
        for name in _HISTOGRAMS:
            latencies: Latencies = getattr(self, name)
            if latencies.counts:
                plain[name] = latencies.encode() if is_encoded else latencies.counts
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Slice:
        """Read what ``to_json`` returned; raises ValueError, KeyError or TypeError for other things."""
        return cls(
            seconds=float(plain["seconds"]),
            offered=int(plain["offered"]),
            statuses={int(status): int(n) for status, n in plain["statuses"].items()},
            errors={str(kind): int(n) for kind, n in plain["errors"].items()},
            bytes_in=int(plain["bytes_in"]),
            bytes_out=int(plain["bytes_out"]),
            **{name: _histogram(plain[name]) for name in _HISTOGRAMS if name in plain},
        )


_HISTOGRAMS = ("latencies", "refused", "late", "clock_late")


def _histogram(plain: str | Mapping[str, int]) -> Latencies:
    if isinstance(plain, str):
        return Latencies.decode(plain)
    return Latencies({int(us): int(count) for us, count in plain.items()})


def merged(slices: Iterable[Slice]) -> Slice:
    """Return one slice for the time of all of them, one after the other."""
    whole = Slice(seconds=0.0)
    for one in slices:
        whole.merge(one)
        whole.seconds += one.seconds
    return whole


def side_by_side(slices: Sequence[Slice]) -> Slice:
    """Return one slice for several lanes in the same time."""
    whole = merged(slices)
    whole.seconds = slices[0].seconds
    return whole
