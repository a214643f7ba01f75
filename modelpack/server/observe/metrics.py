"""Prometheus text, made of plain counters when it is asked for.

    list[Reading] ─┐
                   ├─Metrics.render──► text/plain 0.0.4, or OpenMetrics for who asks for it
    pids ──────────┘

The counters are written by the hot path itself (``stats``): the client library's own cost several
times as much for each request.  ``FAMILIES`` lists every metric that there is, with its labels and
meaning; the page and the reference are both made from it.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from modelpack.server.observe.processes import Processes, Usage
from modelpack.server.observe.snapshot import merge
from modelpack.server.observe.stats import (
    BATCH_BOUNDS,
    LATENCY_BOUNDS_S,
    BatchStats,
    ConnectionStats,
    Exemplar,
    PayloadStats,
    Reading,
    RunnerStats,
    TaskStats,
)
from modelpack.version import __version__

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric, as the page and the reference show it."""

    name: str
    kind: str
    """``counter``, ``gauge`` or ``histogram``."""
    labels: tuple[str, ...]
    doc: str


FAMILIES = (
    Family("modelpack_info", "gauge", ("service", "tag"), "What is served."),
    Family(
        "modelpack_build_info", "gauge", ("version", "python"),
        "Versions of modelpack and of Python.",
    ),
    Family(
        "modelpack_requests_total", "counter", ("api", "status"),
        "Answered requests; 499: the client left before.",
    ),
    Family(
        "modelpack_face_requests_total", "counter", ("api", "face"),
        "Of these, asked in the contract of another server, as a task, or over gRPC.",
    ),
    Family(
        "modelpack_request_duration_seconds", "histogram", ("api",),
        "From the whole request to its answer.",
    ),
    Family(
        "modelpack_refused_requests_total", "counter", ("api", "reason"),
        "Of these, answered with a problem other than a failure, by its code.",
    ),
    Family(
        "modelpack_failed_requests_total", "counter", ("api", "reason"),
        "Of these, answered 500, by the code of the problem.",
    ),
    Family("modelpack_rows_total", "counter", ("api",), "Rows of the requests that were answered."),
    Family(
        "modelpack_feedback_total", "counter", ("api",),
        "Answers of which somebody said what they were worth.",
    ),
    Family(
        "modelpack_feedback_reward", "gauge", ("api",),
        "Sum of those rewards; it falls where one is below zero.",
    ),
    Family("modelpack_in_flight_requests", "gauge", ("api",), "Requests that wait or run now."),
    Family("modelpack_queue_rows", "gauge", ("api",), "Rows that wait now."),
    Family("modelpack_queue_bytes", "gauge", ("api",), "Bytes of the requests that wait now."),
    Family(
        "modelpack_queue_duration_seconds", "histogram", ("api",),
        "How long requests waited before their batch began.",
    ),
    Family(
        "modelpack_overhead_seconds", "histogram", ("api",),
        "Duration of requests less the run of their batch: all that is not the model.",
    ),
    Family("modelpack_batch_rows", "histogram", ("api",), "Rows that ran together."),
    Family("modelpack_batch_duration_seconds", "histogram", ("api",), "How long batches ran."),
    Family(
        "modelpack_batch_releases_total", "counter", ("api", "reason"),
        "Batches, by the reason why they were let go.",
    ),
    Family(
        "modelpack_batch_elements_total", "counter", ("api", "kind"),
        "Elements along axes of variable length: real, or padding that only fills up.",
    ),
    Family(
        "modelpack_replayed_requests_total", "counter", ("api",),
        "Requests that ran again because their runner was lost.",
    ),
    Family("modelpack_runners", "gauge", ("kind",), "Runners that can run calls now."),
    Family(
        "modelpack_runner_restarts_total", "counter", ("kind",),
        "Runners that were started in place of a lost one.",
    ),
    Family(
        "modelpack_tasks_total", "counter", ("api", "event"),
        "Tasks that were submitted, succeeded, failed or were cancelled; runs put back or lost.",
    ),
    Family("modelpack_tasks_running", "gauge", ("api",), "Tasks that run now."),
    Family("modelpack_tasks_queued", "gauge", ("api",), "Tasks that wait in the store."),
    Family(
        "modelpack_webhooks_total", "counter", ("outcome",),
        "Tries to tell that a task is over: delivered, failed, or given-up.",
    ),
    Family(
        "modelpack_payload_events_sent_total", "counter", (),
        "Events of the payload log that were taken by the collector, or written.",
    ),
    Family(
        "modelpack_payload_events_dropped_total", "counter", ("reason",),
        "Events that nobody got: queue-full, refused, undelivered after some tries, stopped, or "
        "internal.",
    ),
    Family(
        "modelpack_payload_failures_total", "counter", ("reason",),
        "Deliveries of events that failed: unreachable, timeout, or by their status.",
    ),
    Family("modelpack_payload_queue_events", "gauge", (), "Events that wait now to be sent."),
    Family("modelpack_payload_queue_bytes", "gauge", (), "Bytes of their bodies."),
    Family("modelpack_connections", "gauge", (), "Open connections."),
    Family("modelpack_connections_limit", "gauge", (), "Most connections at a time."),
    Family("modelpack_connections_accepted_total", "counter", (), "Connections that were taken."),
    Family(
        "modelpack_connections_failed_total", "counter", (),
        "Of these, ended before a request could be read: left, or did not speak TLS.",
    ),
    Family(
        "modelpack_connection_waits_total", "counter", (),
        "How often newcomers had to wait because there was no room.",
    ),
    Family("modelpack_processes", "gauge", (), "Processes that the server is made of."),
    Family("process_cpu_seconds_total", "counter", (), "Processor time of all of them."),
    Family("process_resident_memory_bytes", "gauge", (), "Resident memory of all of them."),
    Family("process_virtual_memory_bytes", "gauge", (), "Virtual memory of all of them."),
    Family("process_open_fds", "gauge", (), "Open files of all of them."),
    Family("process_max_fds", "gauge", (), "Limit on open files, added up."),
    Family(
        "process_start_time_seconds", "gauge", (), "Unix time at which the oldest was started."
    ),
)  # fmt: skip
"""Every metric, in the order of the page."""


class Metrics:
    """Makes the page of one server."""

    def __init__(self, *, service: str, tag: str, processes: Processes | None = None) -> None:
        """``processes`` remembers the processor time of those that have gone; None: anew."""
        self._names = (service, tag)
        self._processes = processes or Processes()

    def render(
        self,
        readings: Sequence[Reading],
        pids: Iterable[int] = (),
        *,
        usage: Usage | None = None,
        is_openmetrics: bool = False,
    ) -> bytes:
        """Return the page; ``pids`` are the processes of the server, none: this one.

        ``usage`` is what they use; None: it is read now.
        """
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

        sheet = _Sheet()
        sheet.add("modelpack_info", self._names, 1)
        sheet.add("modelpack_build_info", (__version__, platform.python_version()), 1)
        for reading in merge(readings):  # no api may stand there twice
            _fill_reading(sheet, reading)
        _fill_processes(sheet, usage or self._processes.read([*pids] or [os.getpid()]))
        registry = CollectorRegistry()
        registry.register(sheet)
        if is_openmetrics:
            return bytes(generate_openmetrics(registry))  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def wants_openmetrics(accept: bytes) -> bool:
    """Say whether an ``Accept`` header prefers OpenMetrics to the older text."""
    weights = {b"application/openmetrics-text": 0.0, b"text/plain": 0.0}
    for part in accept.lower().split(b","):
        kind, *parameters = (piece.strip() for piece in part.split(b";"))
        if kind in weights:
            weights[kind] = max(weights[kind], _weight(parameters))
    openmetrics, plain = weights.values()
    return openmetrics > 0 and openmetrics >= plain


def _weight(parameters: Iterable[bytes]) -> float:
    for parameter in parameters:
        if parameter.startswith(b"q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


class _Sheet:
    """The families of one page as they fill."""

    def __init__(self) -> None:
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        self._counters: dict[str, CounterMetricFamily] = {}
        self._gauges: dict[str, GaugeMetricFamily] = {}
        self._histograms: dict[str, HistogramMetricFamily] = {}
        self._all: list[Metric] = []
        for family in FAMILIES:
            name, doc, labels = family.name, family.doc, family.labels
            made: Metric
            if family.kind == "counter":
                made = self._counters[name] = CounterMetricFamily(name, doc, labels=labels)
            elif family.kind == "gauge":
                made = self._gauges[name] = GaugeMetricFamily(name, doc, labels=labels)
            else:
                made = self._histograms[name] = HistogramMetricFamily(name, doc, labels=labels)
            self._all.append(made)

    def describe(self) -> list[Metric]:
        """Tell the registry nothing in advance, so that it does not collect to find out."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every family; called by the registry."""
        yield from self._all

    def add(self, name: str, labels: Sequence[str], value: float) -> None:
        """Add a sample to a counter or gauge."""
        family = self._counters.get(name) or self._gauges[name]
        family.add_metric(labels, value)

    def add_histogram(
        self,
        name: str,
        api: str,
        bounds: Sequence[float],
        counts: Sequence[int],
        *,
        total: float,
        exemplars: Mapping[int, Exemplar] | None = None,
    ) -> None:
        """Add the histogram of an api; ``counts`` has one more than ``bounds``."""
        from prometheus_client.core import Exemplar as Shown

        names = [*(str(float(bound)) for bound in bounds), "+Inf"]
        buckets: list[tuple[str, float] | tuple[str, float, Shown]] = []
        for index, (le, count) in enumerate(zip(names, accumulate(counts), strict=True)):
            if exemplars and (one := exemplars.get(index)) is not None:
                shown = Shown({"request_id": one.request_id}, one.seconds, round(one.at, 3))
                buckets.append((le, count, shown))
            else:
                buckets.append((le, count))
        self._histograms[name].add_metric([api], buckets, sum_value=total)


def _fill_reading(sheet: _Sheet, reading: Reading) -> None:
    stats, name = reading.stats, reading.stats.name
    for status, count in sorted(stats.statuses.items()):
        sheet.add("modelpack_requests_total", (name, str(status)), count)
    for (status, code), count in sorted(stats.problems.items()):
        kind = "failed" if status == 500 else "refused"
        sheet.add(f"modelpack_{kind}_requests_total", (name, code), count)
    for face, count in sorted(stats.faces.items()):
        sheet.add("modelpack_face_requests_total", (name, face), count)
    if name:  # else what is there reached no api, and has no more to show
        _fill_api(sheet, reading)
    if reading.batches is not None:
        _fill_batches(sheet, name, reading.batches)
    if reading.connections is not None:
        _fill_connections(sheet, reading.connections)
    if reading.runners is not None:
        _fill_runners(sheet, reading.runners)
    if reading.tasks is not None:
        _fill_tasks(sheet, reading.tasks)
    if reading.payloads is not None:
        _fill_payloads(sheet, reading.payloads)


def _fill_api(sheet: _Sheet, reading: Reading) -> None:
    stats, name = reading.stats, reading.stats.name
    sheet.add("modelpack_rows_total", (name,), stats.rows)
    if stats.feedback:
        sheet.add("modelpack_feedback_total", (name,), stats.feedback)
        sheet.add("modelpack_feedback_reward", (name,), stats.reward)
    sheet.add("modelpack_in_flight_requests", (name,), stats.in_flight)
    sheet.add("modelpack_queue_rows", (name,), reading.waiting_rows)
    sheet.add("modelpack_queue_bytes", (name,), reading.waiting_bytes)
    for family, counts, total, exemplars in (
        ("request_duration", stats.buckets, stats.seconds, stats.exemplars),
        ("queue_duration", stats.queue_buckets, stats.queue_s, None),
        ("overhead", stats.overhead_buckets, stats.overhead_s, None),
    ):
        sheet.add_histogram(
            f"modelpack_{family}_seconds",
            name,
            LATENCY_BOUNDS_S,
            counts,
            total=total,
            exemplars=exemplars,
        )


def _fill_batches(sheet: _Sheet, name: str, batches: BatchStats) -> None:
    sheet.add_histogram(
        "modelpack_batch_rows", name, BATCH_BOUNDS, batches.buckets, total=batches.rows
    )
    sheet.add_histogram(
        "modelpack_batch_duration_seconds",
        name,
        LATENCY_BOUNDS_S,
        batches.run_buckets,
        total=batches.run_s,
    )
    for reason, count in sorted(batches.reasons.items()):
        sheet.add("modelpack_batch_releases_total", (name, reason), count)
    sheet.add("modelpack_batch_elements_total", (name, "real"), batches.real_elements)
    sheet.add("modelpack_batch_elements_total", (name, "padding"), batches.padded_elements)
    sheet.add("modelpack_replayed_requests_total", (name,), batches.replays)


def _fill_connections(sheet: _Sheet, connections: ConnectionStats) -> None:
    sheet.add("modelpack_connections", (), connections.open)
    sheet.add("modelpack_connections_limit", (), connections.limit)
    sheet.add("modelpack_connections_accepted_total", (), connections.accepted)
    sheet.add("modelpack_connections_failed_total", (), connections.failed)
    sheet.add("modelpack_connection_waits_total", (), connections.waits)


def _fill_runners(sheet: _Sheet, runners: RunnerStats) -> None:
    for kind in sorted({*runners.running, *runners.restarts}):
        sheet.add("modelpack_runners", (kind,), runners.running.get(kind, 0))
        sheet.add("modelpack_runner_restarts_total", (kind,), runners.restarts.get(kind, 0))


def _fill_tasks(sheet: _Sheet, tasks: TaskStats) -> None:
    for api, events in sorted(tasks.events.items()):
        for what, count in sorted(events.items()):
            sheet.add("modelpack_tasks_total", (api, what), count)
    for api in sorted({*tasks.events, *tasks.running, *tasks.queued}):
        sheet.add("modelpack_tasks_running", (api,), tasks.running.get(api, 0))
        sheet.add("modelpack_tasks_queued", (api,), tasks.queued.get(api, 0))
    for outcome, count in sorted(tasks.webhooks.items()):
        sheet.add("modelpack_webhooks_total", (outcome,), count)


def _fill_payloads(sheet: _Sheet, payloads: PayloadStats) -> None:
    sheet.add("modelpack_payload_events_sent_total", (), payloads.sent)
    for reason, count in payloads.dropped.items():
        sheet.add("modelpack_payload_events_dropped_total", (reason,), count)
    for reason, count in payloads.failures.items():
        sheet.add("modelpack_payload_failures_total", (reason,), count)
    sheet.add("modelpack_payload_queue_events", (), payloads.waiting_events)
    sheet.add("modelpack_payload_queue_bytes", (), payloads.waiting_bytes)


def _fill_processes(sheet: _Sheet, usage: Usage) -> None:
    for name, value in (
        ("modelpack_processes", usage.count),
        ("process_cpu_seconds_total", usage.cpu_s),
        ("process_resident_memory_bytes", usage.resident_bytes),
        ("process_virtual_memory_bytes", usage.virtual_bytes),
        ("process_open_fds", usage.open_fds),
        ("process_max_fds", usage.max_fds),
        ("process_start_time_seconds", usage.started),
    ):
        sheet.add(name, (), value)
