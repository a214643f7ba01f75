"""Spans of requests and of batches, and how they are linked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import modelpack
from modelpack.config.settings import ServerSettings
from modelpack.errors import UsageError
from modelpack.server.observe import tracing, watching
from modelpack.server.observe.tracing import trace_of_fields
from modelpack.server.observe.watching import Watching

Start = Callable[..., Any]

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Keeps the spans of the servers of a test."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(watching, "open_provider", lambda service: provider)
    return exporter


def spans(exporter: InMemorySpanExporter, kind: SpanKind) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.kind is kind]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def linked(span: ReadableSpan) -> set[int]:
    """Return the ids of the spans that a span is linked to."""
    return {link.context.span_id for link in span.links}


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


@modelpack.service
class Demo:
    @modelpack.api(batch=True)
    def double(self, x: list[int]) -> list[int]:
        return [n * 2 for n in x]

    @modelpack.api
    def fail(self, x: int) -> int:
        raise RuntimeError

    @modelpack.api
    def stream(self, n: int) -> Iterator[int]:
        yield from range(n)


def test_a_request_is_a_span_with_what_it_was(
    start: Start, exporter: InMemorySpanExporter, lane: str
) -> None:
    server = start(Demo, lane, tracing=True)
    answer = server.post("/double", {"x": [1, 2]})

    [span] = spans(exporter, SpanKind.SERVER)
    facts = attributes(span)
    assert span.name == "POST /double"
    assert span.parent is None
    assert facts["http.request.method"] == "POST"
    assert facts["http.route"] == facts["url.path"] == "/double"
    assert facts["url.scheme"] == "http"
    assert facts["http.response.status_code"] == 200
    assert facts["modelpack.api"] == "double"
    assert facts["modelpack.rows"] == 2
    assert facts["modelpack.request_id"] == answer.headers["x-request-id"]
    assert span.status.status_code is StatusCode.UNSET


def test_a_trace_that_the_client_began_is_continued(
    start: Start, exporter: InMemorySpanExporter, lane: str
) -> None:
    server = start(Demo, lane, tracing=True)
    headers = {"traceparent": PARENT, "tracestate": "vendor=1"}
    server.post("/double", {"x": [1]}, headers=headers)
    server.post("/double", {"x": [1]})
    server.post("/double", {"x": [1]}, headers={"traceparent": "nonsense"})

    continued, *others = spans(exporter, SpanKind.SERVER)
    assert continued.parent is not None
    assert f"{continued.parent.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{continued.parent.span_id:016x}" == PARENT.split("-")[2]
    assert continued.parent.is_remote
    assert continued.get_span_context().trace_state.get("vendor") == "1"
    assert [span.parent for span in others] == [None, None]
    assert len({span.get_span_context().trace_id for span in (continued, *others)}) == 3


def test_requests_that_fail_say_so(start: Start, exporter: InMemorySpanExporter) -> None:
    server = start(Demo, tracing=True)
    assert server.post("/fail", {"x": 1}).status_code == 500
    assert server.post("/fail", {"x": "no"}).status_code == 400

    failed, refused = spans(exporter, SpanKind.SERVER)
    assert failed.status.status_code is StatusCode.ERROR
    assert attributes(failed)["error.type"] == "model-error"
    assert attributes(failed)["http.response.status_code"] == 500
    # What the client did wrong is no error of the server: so say the conventions.
    assert refused.status.status_code is StatusCode.UNSET
    assert attributes(refused)["http.response.status_code"] == 400


def test_a_stream_is_a_span_to_its_end(start: Start, exporter: InMemorySpanExporter) -> None:
    server = start(Demo, tracing=True)
    assert server.post("/stream", {"n": 3}).text == "0\n1\n2\n"
    server.wait_until(lambda: len(spans(exporter, SpanKind.SERVER)) == 1)

    [span] = spans(exporter, SpanKind.SERVER)
    assert attributes(span)["http.response.status_code"] == 200


def test_requests_of_one_batch_are_linked_to_it_and_it_to_them(
    start: Start, exporter: InMemorySpanExporter, lane: str
) -> None:
    """The first call is held until all others wait, so that these run together."""
    may_go, has_begun = threading.Event(), threading.Event()

    @modelpack.service
    class Held:
        @modelpack.api(batch=True)
        def double(self, x: list[int]) -> list[int]:
            has_begun.set()
            may_go.wait(20)
            return [n * 2 for n in x]

    server = start(Held, lane, tracing=True)
    stats = server.server.endpoints[0].stats
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(server.post, "/double", {"x": [0]})
        assert has_begun.wait(20)
        others = [pool.submit(server.post, "/double", {"x": [n]}) for n in range(4)]
        server.wait_until(lambda: stats.in_flight == 5)
        may_go.set()
        answers = [one.result() for one in (first, *others)]

    requests = spans(exporter, SpanKind.SERVER)
    batches = [s for s in spans(exporter, SpanKind.INTERNAL) if s.name == "batch double"]
    alone, together = sorted(batches, key=lambda span: len(span.links))
    assert [answer.status_code for answer in answers] == [200] * 5
    assert attributes(together)["modelpack.batch.rows"] == 4
    assert attributes(together)["modelpack.batch.requests"] == 4
    assert attributes(together)["modelpack.batch.reason"]
    assert linked(alone) | linked(together) == {id_of(span) for span in requests}
    for span in requests:
        carried_by = together if id_of(span) in linked(together) else alone
        assert linked(span) == {id_of(carried_by)}
        assert span.start_time <= carried_by.start_time + 1_000_000
        assert carried_by.end_time <= span.end_time + 1_000_000


def test_a_batch_that_failed_is_a_span_too(start: Start, exporter: InMemorySpanExporter) -> None:
    @modelpack.service
    class Fails:
        @modelpack.api(batch=True)
        def double(self, x: list[int]) -> list[int]:
            raise KeyError

    server = start(Fails, tracing=True)
    assert server.post("/double", {"x": [1]}).status_code == 500

    [batch] = spans(exporter, SpanKind.INTERNAL)
    assert batch.status.status_code is StatusCode.ERROR
    assert attributes(batch)["error.type"] == "KeyError"


def test_without_the_setting_there_are_no_spans_and_no_library(
    start: Start, exporter: InMemorySpanExporter
) -> None:
    server = start(Demo)
    server.post("/double", {"x": [1]}, headers={"traceparent": PARENT})

    assert exporter.get_finished_spans() == ()
    endpoint = server.server.endpoints[0]
    assert endpoint.watch is None
    fields = {b"content-type": b"application/json", b"traceparent": PARENT.encode()}
    assert endpoint.asked(fields).trace is None


def test_a_client_that_leaves_ends_its_span(
    start: Start, exporter: InMemorySpanExporter, lane: str
) -> None:
    may_go, has_begun = threading.Event(), threading.Event()

    @modelpack.service
    class Held:
        @modelpack.api
        def double(self, x: int) -> int:
            has_begun.set()
            may_go.wait(20)
            return x

    server = start(Held, lane, tracing=True)
    body = b'{"x":1}'
    head = b"POST /double HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with server.connect() as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert has_begun.wait(20)
    server.wait_until(lambda: len(spans(exporter, SpanKind.SERVER)) == 1)
    may_go.set()

    [span] = spans(exporter, SpanKind.SERVER)
    assert attributes(span)["error.type"] == "client-left"
    assert "http.response.status_code" not in attributes(span)


# --- where spans go -----------------------------------------------------------------------------


@pytest.fixture
def no_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """No provider of traces is there, and none stays."""
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    monkeypatch.setattr(trace, "set_tracer_provider", lambda provider: provider.shutdown())
    for name in ("OTEL_TRACES_EXPORTER", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(name, raising=False)


def named(provider: Any) -> str:
    return str(provider.resource.attributes["service.name"])


def test_a_missing_library_is_a_usage_error_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    with pytest.raises(UsageError) as caught:
        Watching(ServerSettings(tracing=True))

    assert caught.value.message == "tracing: 'opentelemetry-sdk' is not installed"
    assert "modelpack-cli[tracing]" in str(caught.value.hint)


@pytest.mark.usefixtures("no_provider")
def test_a_missing_exporter_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")

    with pytest.raises(UsageError, match="the exporter 'carrier-pigeon' of OpenTelemetry is not"):
        Watching(ServerSettings(tracing=True))


@pytest.mark.usefixtures("no_provider")
def test_the_name_is_that_of_the_service_unless_a_variable_gives_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert named(tracing.open_provider("digits")) == "digits"

    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=theirs,a=b")
    assert named(tracing.open_provider("digits")) == "theirs"

    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    assert named(tracing.open_provider("digits")) == "mine"


def test_a_provider_that_is_there_already_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)

    assert tracing.open_provider("digits") is provider


def test_a_trace_is_what_two_headers_say() -> None:
    assert trace_of_fields({b"host": b"x", b"tracestate": b"a=b"}) is None
    assert trace_of_fields({b"traceparent": b"p", b"tracestate": b"a=b"}) == {
        "traceparent": "p",
        "tracestate": "a=b",
    }


SERVE = """
import threading, urllib.request
import modelpack
from modelpack import server
from modelpack.config.settings import ServerSettings
from modelpack.sdk.service import spec_of
import os, signal

@modelpack.service
class Digits:
    @modelpack.api(batch=True)
    def double(self, x: list[int]) -> list[int]:
        return [n * 2 for n in x]

def on_ready(url):
    def work():
        body = b'{"x": [1]}'
        headers = {"content-type": "application/json", "traceparent": "%s"}
        request = urllib.request.Request(url + "/double", body, headers)
        assert urllib.request.urlopen(request).read() == b"[2]"
        os.kill(os.getpid(), signal.SIGTERM)
    threading.Thread(target=work).start()

raise SystemExit(
    server.run(spec_of(Digits), ServerSettings(port=0, tracing=True), on_ready=on_ready)
)
"""


def test_spans_of_a_real_server_are_sent_before_it_ends(tmp_path: Path) -> None:
    script = tmp_path / "serve.py"
    script.write_text(SERVE.replace("%s", PARENT))

    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "OTEL_TRACES_EXPORTER": "console"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    decoder, text, sent = json.JSONDecoder(), done.stdout.strip(), []
    while text:
        span, end = decoder.raw_decode(text)
        sent.append(span)
        text = text[end:].lstrip()
    [request] = [span for span in sent if span["name"] == "POST /double"]
    assert request["context"]["trace_id"] == f"0x{PARENT.split('-')[1]}"
    assert request["resource"]["attributes"]["service.name"] == "Digits".lower()
