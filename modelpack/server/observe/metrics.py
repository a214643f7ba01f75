"""Plain counters on the hot path, Prometheus text when it is asked for.

    ApiStats.add(status, seconds)          a dict and a list, some 0.3 µs
    Metrics(read).render() ──► bytes       text/plain; version=0.0.4

The counters are read by a collector as the page is asked for; the client library's own counters
cost several times as much for each request.

    modelpack_info{service,tag}                      what is served
    modelpack_requests_total{api,status}             answered; 499: the client left before
    modelpack_request_duration_seconds{api}          histogram, from the whole request to the answer
    modelpack_refused_requests_total{api,reason}     of these, refused without asking the model
    modelpack_batch_rows{api}                        histogram; sum / count is the mean batch
    modelpack_queue_rows{api}                        rows that wait now
    modelpack_in_flight_requests{api}                requests that wait or run now
    process_…                                        processor time, memory, open files
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from modelpack.server.observe.stats import BATCH_BOUNDS, LATENCY_BOUNDS_S, Reading

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_REASONS = {429: "overloaded", 503: "unavailable", 504: "timeout"}


class Metrics:
    """Makes the page; ``read`` gives the state of every api."""

    def __init__(self, read: Callable[[], Sequence[Reading]], *, service: str, tag: str) -> None:
        from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

        self._read = read
        self._labels = {"service": service, "tag": tag}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def render(self) -> bytes:
        """Return the page."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Tell the registry nothing in advance, so that it does not collect to find out."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; called by the registry."""
        from prometheus_client.core import InfoMetricFamily

        readings = self._read()
        info = InfoMetricFamily("modelpack", "What is served.")
        info.add_metric([], self._labels)
        yield info
        yield from _requests(readings)
        yield from _batches(readings)


def _requests(readings: Iterable[Reading]) -> Iterator[Metric]:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    total = CounterMetricFamily(
        "modelpack_requests", "Requests by api and status.", labels=["api", "status"]
    )
    refused = CounterMetricFamily(
        "modelpack_refused_requests",
        "Requests refused without asking the model.",
        labels=["api", "reason"],
    )
    duration = HistogramMetricFamily(
        "modelpack_request_duration_seconds", "Time from request to answer.", labels=["api"]
    )
    flying = GaugeMetricFamily(
        "modelpack_in_flight_requests", "Requests that wait or run.", labels=["api"]
    )
    for reading in readings:
        stats = reading.stats
        for status, count in sorted(stats.statuses.items()):
            total.add_metric([stats.name, str(status)], count)
            if status in _REASONS:
                refused.add_metric([stats.name, _REASONS[status]], count)
        buckets = _cumulative(LATENCY_BOUNDS_S, stats.buckets)
        duration.add_metric([stats.name], buckets, sum_value=stats.seconds)
        flying.add_metric([stats.name], stats.in_flight)
    yield from (total, refused, duration, flying)


def _batches(readings: Iterable[Reading]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily

    rows = HistogramMetricFamily("modelpack_batch_rows", "Rows that ran together.", labels=["api"])
    waiting = GaugeMetricFamily("modelpack_queue_rows", "Rows that wait.", labels=["api"])
    for reading in readings:
        name = reading.stats.name
        waiting.add_metric([name], reading.waiting_rows)
        if reading.batches is not None:
            buckets = _cumulative(BATCH_BOUNDS, reading.batches.buckets)
            rows.add_metric([name], buckets, sum_value=reading.batches.rows)
    yield from (rows, waiting)


def _cumulative(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    names = [*(f"{float(bound)}" for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(counts), strict=True))
