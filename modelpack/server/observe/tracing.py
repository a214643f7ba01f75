"""OpenTelemetry spans, when ``tracing`` is on: one a request, one a batch, linked both ways.

    traceparent ─► span POST /predict ──link──► span 'batch predict' ◄──link── span POST /predict
                   (its own trace)              (a trace of its own)           (another trace)

A batch belongs to several traces and so to none of them; links lead from each request to the batch
that carried it, and from the batch to its requests.  Names of attributes are those of the semantic
conventions where they have one, else they begin with ``modelpack.``.

Where spans go is said by the variables of OpenTelemetry (``OTEL_EXPORTER_OTLP_ENDPOINT``,
``OTEL_TRACES_SAMPLER`` …).  A provider that is there already is used as it is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from modelpack.errors import UsageError
from modelpack.version import __version__

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer, TracerProvider

TRACE_FIELDS = (b"traceparent", b"tracestate")

Trace = Mapping[str, str]
"""What a request says of the trace that it is part of (W3C Trace Context)."""


def trace_of_fields(fields: Mapping[bytes, bytes]) -> Trace | None:
    """Return the trace that header fields name, or None."""
    if b"traceparent" not in fields:
        return None
    return {
        name.decode(): fields[name].decode("latin-1") for name in TRACE_FIELDS if name in fields
    }


class Tracing:
    """Makes the spans of one api; ``call.span`` is the one of a request."""

    def __init__(self, provider: TracerProvider, *, api: str, route: str, scheme: str) -> None:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer: Tracer = provider.get_tracer("modelpack.server", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._kind = SpanKind.SERVER
        self._api = api
        self._name = f"POST {route}"
        self._attributes = {
            "http.request.method": "POST",
            "http.route": route,
            "url.path": route,
            "url.scheme": scheme,
            "modelpack.api": api,
        }

    def begin(self, request_id: bytes, trace: Trace | None) -> Span:
        """Return the span of a request that is whole."""
        return self._tracer.start_span(
            self._name,
            context=None if trace is None else self._propagator.extract(trace),
            kind=self._kind,
            attributes={**self._attributes, "modelpack.request_id": request_id.decode("latin-1")},
        )

    def end(self, span: Span, status: int, code: str, facts: Mapping[str, float]) -> None:
        """End the span of a request with what came of it."""
        from opentelemetry.trace import StatusCode

        if span.is_recording():
            for name, value in facts.items():
                span.set_attribute(f"modelpack.{name}", value)
            if status != CLIENT_LEFT:  # nobody was told a status
                span.set_attribute("http.response.status_code", status)
            if status >= 500 or status == CLIENT_LEFT:
                span.set_attribute("error.type", code or "client-left")
            if status >= 500:
                span.set_status(StatusCode.ERROR, code)
        span.end()

    def batch(
        self,
        spans: Sequence[Span],
        *,
        began: float,
        run_s: float,
        facts: Mapping[str, Any],
        error: BaseException | None = None,
    ) -> None:
        """Make the span of a batch that has run: from ``began`` (``perf_counter``) for ``run_s``."""
        from opentelemetry.trace import Link, StatusCode

        start = time.time_ns() - int((perf_counter() - began) * 1e9)
        batch = self._tracer.start_span(
            f"batch {self._api}",
            links=[Link(span.get_span_context()) for span in spans],
            attributes={
                "modelpack.api": self._api,
                **{f"modelpack.batch.{name}": value for name, value in facts.items()},
            },
            start_time=start,
        )
        if error is not None:
            batch.set_attribute("error.type", type(error).__qualname__)
            batch.set_status(StatusCode.ERROR)
        for span in spans:
            if span.is_recording():  # else its client has left meanwhile
                span.add_link(batch.get_span_context())
        batch.end(start + int(run_s * 1e9))


CLIENT_LEFT = 499


def trace_id_of(span: Span) -> str:
    """Return the id of the trace that a span is part of, as 32 hex digits."""
    return f"{span.get_span_context().trace_id:032x}"


def open_provider(service: str) -> TracerProvider:
    """Return where spans go; raises UsageError when the extra ``tracing`` is not installed."""
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider as Provider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as cause:
        raise _missing("'opentelemetry-sdk'") from cause
    there = trace.get_tracer_provider()
    if not isinstance(there, trace.ProxyTracerProvider):
        return there
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win: a name that we gave would hide them.
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    provider = Provider(resource=Resource.create({} if named else {SERVICE_NAME: service}))
    for exporter in _exporters():
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider


def _exporters() -> list[Any]:
    """Return the exporters that ``OTEL_TRACES_EXPORTER`` names; default: OTLP over HTTP."""
    from importlib.metadata import entry_points

    names = os.environ.get("OTEL_TRACES_EXPORTER", "otlp").split(",")
    exporters = []
    for name in {name.strip() for name in names} - {"none", ""}:
        entry = "otlp_proto_http" if name == "otlp" else name
        found = entry_points(group="opentelemetry_traces_exporter", name=entry)
        if not found:
            raise _missing(f"the exporter '{name}' of OpenTelemetry")
        exporters.append(next(iter(found)).load()())
    return exporters


def _missing(what: str) -> UsageError:
    return UsageError(
        f"tracing: {what} is not installed",
        hint="install the extra 'tracing' ('modelpack-cli[tracing]'), or turn tracing off",
    )
