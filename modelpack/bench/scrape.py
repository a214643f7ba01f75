"""What the server itself counted while the load ran, from its own metrics.

    GET /metrics before ─┐
    GET /metrics after  ─┴─between──► ServerShare: batches, where the time went, refusals, processors

A server that is not modelpack, or that shows no metrics here, has none of these: nothing is guessed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from modelpack.bench.place import Place, ask
from modelpack.errors import BenchError

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ([^ ]+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Key = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Scrape:
    """The samples of one page, and when it was read (``perf_counter``)."""

    at: float
    samples: Mapping[Key, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, at: float) -> Scrape:
        """Read the Prometheus text form; lines of another form are passed over."""
        samples: dict[Key, float] = {}
        for line in text.splitlines():
            if match := _SAMPLE.match(line):
                name, labels, value = match.groups()
                key = (name, tuple(sorted(_LABEL.findall(labels or ""))))
                try:
                    samples[key] = float(value)
                except ValueError:
                    continue
        return cls(at, samples)

    @property
    def is_modelpack(self) -> bool:
        """True when a modelpack server wrote the page."""
        return any(name == "modelpack_info" for name, _ in self.samples)

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of that name that have these labels."""
        wanted = set(labels.items())
        return sum(v for (n, has), v in self.samples.items() if n == name and wanted <= set(has))

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """Return these samples by the value of one more label."""
        wanted = set(labels.items())
        found: dict[str, float] = {}
        for (one, has), value in self.samples.items():
            if one == name and wanted <= set(has) and label in dict(has):
                key = dict(has)[label]
                found[key] = found.get(key, 0.0) + value
        return found


def scrape(place: Place, headers: Mapping[str, str]) -> Scrape | None:
    """Read the metrics of a server; None when they are not those of modelpack."""
    try:
        reply = ask(place, "/metrics", headers=headers, timeout_s=10.0)
    except BenchError:
        return None
    page = Scrape.parse(reply.body.decode("utf-8", "replace"), time.perf_counter())
    return page if reply.status == 200 and page.is_modelpack else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerShare:
    """What one api of a server did between two readings; times in ms are means for a request."""

    seconds: float
    requests: int
    rows: int
    batches: int
    mean_batch: float | None
    """Rows of a batch; None: the api has no batches."""
    total_ms: float
    """From the whole request to its answer, inside the server."""
    queue_ms: float | None
    """Of that, waiting for a batch to begin; None: not counted."""
    model_ms: float | None
    """Of that, the run of the batch."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Refused requests by reason."""
    failed: Mapping[str, int] = field(default_factory=dict)
    releases: Mapping[str, int] = field(default_factory=dict)
    """Batches by the reason why they were let go."""
    busy: float | None = None
    """Share of the time, 0 to 1, in which a runner ran a batch, all runners together."""
    runners: int | None = None
    processes: int | None = None
    cpu: float | None = None
    """Processors that the server used: 1.0 is one of them, all the time."""
    resident_bytes: int | None = None

    def share(self, ms: float | None) -> float | None:
        """Return what share of ``total_ms`` this is, 0 to 1."""
        return None if ms is None or self.total_ms <= 0 else min(ms / self.total_ms, 1.0)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        plain = asdict(self)
        for name in ("queue", "model"):
            share = self.share(plain[f"{name}_ms"])
            plain[f"{name}_share"] = None if share is None else round(share, 4)
        return {k: round(v, 6) if isinstance(v, float) else v for k, v in plain.items()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> ServerShare:
        """Read what ``to_json`` returned; keys that are not known are passed over."""
        return cls(**{name: plain.get(name) for name in cls.__slots__})  # type: ignore[arg-type]


def between(before: Scrape | None, after: Scrape | None, api: str) -> ServerShare | None:
    """Return what the api did meanwhile; None when there is nothing to be read."""
    if before is None or after is None or after.at <= before.at:
        return None
    change = _Change(before, after, api)
    requests = change.of("modelpack_requests_total")
    if requests <= 0:
        return None
    seconds = after.at - before.at
    batches = change.of("modelpack_batch_rows_count")
    rows = change.of("modelpack_batch_rows_sum")
    runners = after.total("modelpack_runners")
    run_s = change.of("modelpack_batch_duration_seconds_sum")
    queue_ms, model_ms = change.parts_ms(requests)
    cpu = change.of("process_cpu_seconds_total", is_of_api=False) / seconds
    return ServerShare(
        seconds=seconds,
        requests=round(requests),
        rows=round(change.of("modelpack_rows_total") or rows),
        batches=round(batches),
        mean_batch=rows / batches if batches else None,
        total_ms=change.of("modelpack_request_duration_seconds_sum") / requests * 1000,
        queue_ms=queue_ms,
        model_ms=model_ms,
        refused=change.by("reason", "modelpack_refused_requests_total"),
        failed=change.by("reason", "modelpack_failed_requests_total"),
        releases=change.by("reason", "modelpack_batch_releases_total"),
        busy=run_s / seconds / max(runners, 1) if run_s else None,
        runners=round(runners) or None,
        processes=round(after.total("modelpack_processes")) or None,
        cpu=cpu if cpu > 0 else None,
        resident_bytes=round(after.total("process_resident_memory_bytes")) or None,
    )


@dataclass(frozen=True, slots=True)
class _Change:
    before: Scrape
    after: Scrape
    api: str

    def of(self, name: str, *, is_of_api: bool = True) -> float:
        """Return by how much a counter grew; one that began anew counts from 0."""
        labels = {"api": self.api} if is_of_api and self.api else {}
        end = self.after.total(name, **labels)
        grown = end - self.before.total(name, **labels)
        return end if grown < 0 else grown

    def by(self, label: str, name: str) -> dict[str, int]:
        """Return the same by the value of a label, without what did not grow."""
        labels = {"api": self.api} if self.api else {}
        first = self.before.by(label, name, **labels)
        grown = {
            key: round(value - first.get(key, 0.0))
            for key, value in self.after.by(label, name, **labels).items()
        }
        return {key: count for key, count in sorted(grown.items()) if count > 0}

    def parts_ms(self, requests: float) -> tuple[float | None, float | None]:
        """Return the mean wait in the queue and the mean run of the model, of those that ran."""
        waited = self.of("modelpack_queue_duration_seconds_count")
        ran = self.of("modelpack_overhead_seconds_count")
        batches = self.of("modelpack_batch_duration_seconds_count")
        queue_ms = (
            self.of("modelpack_queue_duration_seconds_sum") / waited * 1000 if waited else None
        )
        if ran and ran >= 0.99 * requests:
            total_s = self.of("modelpack_request_duration_seconds_sum")
            model_s = total_s - self.of("modelpack_overhead_seconds_sum")
            return queue_ms, max(model_s / ran * 1000, 0.0)
        if batches:
            return queue_ms, self.of("modelpack_batch_duration_seconds_sum") / batches * 1000
        return queue_ms, None
