"""What is done with each request beyond counting it; nothing of it is on by default.

    ServerSettings ──Watching──► Watch, one an api, or None when all is off
                                   began     a span begins                 (tracing)
                                             its body is kept              (payload log)
                                   batched   a batch has run: its span     (tracing)
                                   answered  exemplar, access log, the span ends, the answer is kept

An endpoint asks once a call whether there is a watch: that is all that it costs while there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import time
from typing import TYPE_CHECKING, Protocol

from modelpack.config.settings import ServerSettings
from modelpack.server.observe.access import AccessLog
from modelpack.server.observe.stats import ApiStats
from modelpack.server.observe.tracing import (
    Trace,
    Tracing,
    open_provider,
    trace_id_of,
    trace_of_fields,
)

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

    from modelpack.server.bodies.writers import Written
    from modelpack.server.observe.payloads.log import PayloadLog
    from modelpack.server.observe.payloads.record import ApiPayloads, Exchange, Said


class Batch(Protocol):
    """Requests that ran together."""

    @property
    def slices(self) -> Sequence[tuple[object, int, int]]:
        """The requests, each with the rows of it that ran."""

    rows: int
    reason: str


_LONGEST_ID = 100
"""OpenMetrics allows 128 characters for all labels of an exemplar."""


class Watched(Protocol):
    """A request as it is watched."""

    request_id: bytes
    rows: int
    queue_s: float
    run_s: float
    face: str
    span: Span
    payload: Exchange | None


class Watching:
    """What the settings ask for; shared by the apis of a service."""

    def __init__(
        self,
        settings: ServerSettings,
        service: str = "modelpack",
        payloads: PayloadLog | None = None,
    ) -> None:
        """``payloads`` takes what goes in and out; None: nobody does.

        Raises UsageError when tracing is on and its extra is missing.
        """
        self._service = service
        self._payloads = payloads
        self._exemplars = settings.exemplars
        self._log = AccessLog(settings.access_log_sample) if settings.access_log else None
        self._scheme = "https" if settings.tls_cert else "http"
        self._provider: TracerProvider | None = None
        if settings.tracing:
            self._provider = open_provider(service)

    def watch(self, stats: ApiStats, route: str) -> Watch | None:
        """Return the watch of an api, None when there is nothing to do."""
        tracing = None
        if self._provider is not None:
            tracing = Tracing(self._provider, api=stats.name, route=route, scheme=self._scheme)
        payloads = None
        if self._payloads is not None:
            payloads = self._payloads.api(self._service, stats.name)
        if tracing is None and self._log is None and payloads is None and not self._exemplars:
            return None
        return Watch(stats, self._log, tracing, payloads, exemplars=self._exemplars)


class Watch:
    """Watches the requests of one api."""

    def __init__(
        self,
        stats: ApiStats,
        log: AccessLog | None,
        tracing: Tracing | None,
        payloads: ApiPayloads | None = None,
        *,
        exemplars: bool,
    ) -> None:
        self._stats = stats
        self._log = log
        self._exemplars = exemplars
        self.tracing = tracing
        self.payloads = payloads

    def trace_of(self, fields: Mapping[bytes, bytes]) -> Trace | None:
        """Return the trace that a head names, when traces are continued."""
        return None if self.tracing is None else trace_of_fields(fields)

    def began(
        self, call: Watched, trace: Trace | None, said: Said | None = None, body: bytes = b""
    ) -> None:
        """Take note of a request that is whole.

        ``trace`` is what its head says of one, ``said`` what it says of its body; None: that is not
        kept, or there is none.
        """
        if self.tracing is not None:
            call.span = self.tracing.begin(call.request_id, trace)
        if self.payloads is not None:
            call.payload = None
            if said is not None:
                call.payload = self.payloads.begin(said, call.request_id, body)

    def batched(
        self, batch: Batch, began: float, run_s: float, error: BaseException | None
    ) -> None:
        """Take note of a batch that has run, before its answers are passed on."""
        if self.tracing is not None:
            calls = [one[0] for one in batch.slices]
            spans = [call.span for call in calls if hasattr(call, "span")]
            facts = {"rows": batch.rows, "requests": len(calls), "reason": batch.reason}
            self.tracing.batch(spans, began=began, run_s=run_s, facts=facts, error=error)

    def answered(
        self,
        call: Watched,
        status: int,
        seconds: float,
        code: str,
        answer: Written | None = None,
    ) -> None:
        """Take note of a request that has its answer; ``answer`` is a good one, for who keeps it."""
        if self.payloads is not None and call.payload is not None:
            exchange, call.payload = call.payload, None
            exchange.source = self.payloads  # the request may have been meant for another api
            exchange.end(status, *(answer or ()))
        if self._exemplars and len(call.request_id) <= _LONGEST_ID:
            self._stats.keep_exemplar(call.request_id.decode("latin-1"), seconds, time())
        trace_id = ""
        if self.tracing is not None:
            trace_id = trace_id_of(call.span)
            facts = {"rows": call.rows, "queue_s": call.queue_s, "run_s": call.run_s}
            self.tracing.end(call.span, status, code, facts)
        if self._log is not None:
            self._log.add(self._stats.name, call, status, seconds, trace_id)
