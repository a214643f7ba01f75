"""What a call leaves in the payload log, whichever way it comes."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

import modelpack
from modelpack.server.observe.logs import configured
from modelpack.server.observe.payloads.collector import AT_ONCE
from tests.collector import REQUEST, Collector

Start = Callable[..., Any]


@modelpack.service
class Demo:
    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float32", "batch", 2]
    ) -> modelpack.Tensor["float32", "batch", 2]:
        return x * 2

    @modelpack.api(batch=True)
    def swap(
        self, x: modelpack.Tensor["float32", "batch", 2]
    ) -> modelpack.Tensor["float32", "batch", 2]:
        return x[:, ::-1]

    @modelpack.api
    def count(self, to: int) -> Iterator[int]:
        yield from range(to)

    @modelpack.api
    def fail(self, x: int) -> int:
        raise RuntimeError(x)


def test_both_events_of_a_call_have_its_id(start: Start, lane: str, collector: Collector) -> None:
    server = start(Demo, lane, payload_log_url=collector.url)
    before = datetime.now(UTC)
    body = b'{"x": [[1, 2]]}'
    answer = server.client.post(
        "/predict",
        content=body,
        headers={"content-type": "application/json", "x-request-id": "a-1"},
    )
    request, response = collector.pair()

    assert (request.get_id(), response.get_id()) == ("a-1", "a-1")
    assert request.get_data() == {"x": [[1, 2]]}
    assert response.get_data() == answer.json() == [[2.0, 4.0]]
    assert {post.body for post in collector.posts} == {body, answer.content}
    assert request.get_datacontenttype() == response.get_datacontenttype() == "application/json"
    assert before <= request.get_time() <= response.get_time() <= datetime.now(UTC)
    for event in (request, response):
        extensions = ("inferenceservicename", "component", "model", "version", "path", "status")
        assert [event.get_extension(name) for name in extensions] == [
            "demo", "predictor", "demo", "1", "/predict", "200",
        ]  # fmt: skip
    assert (request.get_source(), response.get_source()) == (
        "urn:modelpack:demo:predict:request",
        "urn:modelpack:demo:predict:response",
    )


def test_a_head_that_comes_again_is_kept_alike(start: Start, collector: Collector) -> None:
    server = start(Demo, payload_log_url=collector.url)
    for number in range(20):
        server.post("/predict", {"x": [[number, 0]]})
    events = collector.events(40)

    requests = [one.get_data()["x"][0][0] for one in events if one.get_type() == REQUEST]
    assert requests == list(range(20))
    assert len({one.get_id() for one in events}) == 20
    assert len(collector.connections) <= AT_ONCE


def test_a_call_that_fails_leaves_its_request_alone(
    start: Start, lane: str, collector: Collector
) -> None:
    server = start(Demo, lane, payload_log_url=collector.url)
    server.post("/predict", {"x": "no"})
    server.post("/fail", {"x": 7})
    bad, failed = collector.events(2)

    assert (bad.get_type(), failed.get_type()) == (REQUEST, REQUEST)
    assert (bad.get_extension("status"), failed.get_extension("status")) == ("400", "500")
    assert (bad.get_data(), failed.get_data()) == ({"x": "no"}, {"x": 7})


@pytest.mark.parametrize(
    ("accept", "line"), [("*/*", b"%d\n"), ("text/event-stream", b"data: %d\n\n")]
)
def test_a_stream_is_one_response_with_all_that_was_sent(
    start: Start, collector: Collector, accept: str, line: bytes
) -> None:
    server = start(Demo, payload_log_url=collector.url)
    answer = server.post("/count", {"to": 3}, headers={"accept": accept})
    request, response = collector.pair()

    assert request.get_data() == {"to": 3}
    assert collector.posts[-1].body == answer.content == b"".join(line % n for n in range(3))
    assert response.get_datacontenttype() == answer.headers["content-type"]


def test_binary_bodies_come_with_what_it_takes_to_read_them(
    start: Start, collector: Collector
) -> None:
    server = start(Demo, payload_log_url=collector.url, accept_encoding=True)
    rows = np.array([[1, 2]], "<f4").tobytes()
    native = {"content-type": "application/octet-stream", "modelpack-dtype": "float32"}
    native |= {"modelpack-shape": "1,2", "accept": "application/octet-stream"}
    server.client.post("/predict", content=rows, headers=native)
    request, response = collector.pair()

    assert json.loads(request.get_extension("metadata")) == {
        "Modelpack-Dtype": ["float32"],
        "Modelpack-Shape": ["1,2"],
    }
    assert json.loads(response.get_extension("metadata")) == {
        "Modelpack-Dtype": ["float32"],
        "Modelpack-Shape": ["1,2"],
    }
    assert collector.posts[0].body == rows

    squeezed = gzip.compress(b'{"x": [[1, 2]]}')
    head = {"content-type": "application/json", "content-encoding": "gzip"}
    server.client.post("/predict", content=squeezed, headers=head)
    posts = collector.wait_for(4)
    assert posts[2].body == squeezed
    assert "gzip" in posts[2].headers["ce-metadata"]


def test_no_other_header_of_a_client_is_kept(start: Start, collector: Collector) -> None:
    server = start(Demo, payload_log_url=collector.url)
    secrets = {"authorization": "Bearer hush", "cookie": "a=hush", "x-api-key": "hush"}
    secrets |= {"modelpack-other": "hush", "modelpack-shape": "1," * 1000}
    assert server.post("/predict", {"x": [[1, 2]]}, headers=secrets).status_code == 200
    request, response = collector.wait_for(2)

    assert "hush" not in str(request.headers) + str(response.headers)
    assert len(request.headers["ce-metadata"]) < 400


def test_other_contracts_are_kept_as_they_were_spoken(start: Start, collector: Collector) -> None:
    server = start(Demo, payload_log_url=collector.url)
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    server.post("/v2/models/demo/infer", {"inputs": [tensor]})
    server.post("/v1/models/demo:predict", {"instances": [[1, 2]]})
    server.client.put("/predictions/demo", json={"x": [[1, 2]]})
    events = collector.events(6)

    requests = [one for one in events if one.get_type() == REQUEST]
    assert [one.get_extension("path") for one in requests] == [
        "/v2/models/demo/infer", "/v1/models/demo:predict", "/predictions/demo",
    ]  # fmt: skip
    assert [one.get_data() for one in events if one.get_type() != REQUEST][1] == {
        "predictions": [[2.0, 4.0]]
    }


def test_an_event_names_the_api_that_answered(start: Start, collector: Collector) -> None:
    """In TensorFlow Serving's words a signature is named in the body."""
    server = start(Demo, payload_log_url=collector.url)
    body = {"signature_name": "swap", "inputs": [[1, 2]]}
    assert server.post("/v1/models/demo:predict", body).json() == {"outputs": [[2.0, 1.0]]}

    for event in collector.pair():
        assert event.get_extension("model") == "demo.swap"
        assert event.get_extension("path") == "/v1/models/demo:predict"
        assert event.get_source().startswith("urn:modelpack:demo:swap:")


@pytest.mark.parametrize("mode", ["request", "response"])
def test_one_side_alone_may_be_kept(start: Start, collector: Collector, mode: str) -> None:
    server = start(Demo, payload_log_url=collector.url, payload_log_mode=mode)
    server.post("/predict", {"x": "no"})
    server.post("/predict", {"x": [[1, 2]]})
    events = collector.events(2 if mode == "request" else 1)

    assert {one.get_type() for one in events} == {f"org.kubeflow.serving.inference.{mode}"}


def test_a_share_of_the_calls_is_kept_in_pairs(start: Start, collector: Collector) -> None:
    server = start(Demo, payload_log_url=collector.url, payload_log_share=0.25)
    for _ in range(8):
        server.post("/predict", {"x": [[1, 2]]})
    events = collector.events(4)

    assert [one.get_type() for one in events].count(REQUEST) == 2
    assert len({one.get_id() for one in events}) == 2


def test_of_a_body_too_long_only_its_length_is_kept(start: Start, collector: Collector) -> None:
    server = start(Demo, payload_log_url=collector.url, payload_log_max_body_bytes=30)
    body = b'{"x": [[1, 2], [3, 4], [5, 6], [7, 8]]}'
    answer = server.client.post(
        "/predict", content=body, headers={"content-type": "application/json"}
    )
    request, response = collector.pair()

    assert request.get_extension("omittedbytes") == str(len(body))
    assert response.get_extension("omittedbytes") == str(len(answer.content))
    assert [post.body for post in collector.posts] == [b"", b""]

    server.post("/count", {"to": 40})
    stream = collector.wait_for(4)[-1]
    assert (stream.headers["ce-omittedbytes"], stream.body) == ("110", b"")


def test_the_operators_own_attributes_are_on_every_event(
    start: Start, collector: Collector
) -> None:
    own = "namespace=prod,team=Vision & Ö"
    server = start(Demo, payload_log_url=collector.url, payload_log_attributes=own)
    server.post("/predict", {"x": [[1, 2]]})

    for event in collector.pair():
        assert event.get_extension("namespace") == "prod"
        assert event.get_extension("team") == "Vision & Ö"


def test_probes_and_pages_leave_nothing(start: Start, collector: Collector) -> None:
    server = start(Demo, payload_log_url=collector.url)
    for path in ("/readyz", "/livez", "/metrics", "/v2/models/demo", "/openapi.json"):
        assert server.client.get(path).status_code == 200
    server.post("/predict", {"x": [[1, 2]]})

    collector.pair()


def test_nothing_is_sent_unless_it_is_turned_on(start: Start, collector: Collector) -> None:
    server = start(Demo)
    server.post("/predict", {"x": [[1, 2]]})

    assert server.server.payloads is None
    assert server.server.endpoints[0].watch is None
    assert "\nmodelpack_payload_events_sent_total " not in server.client.get("/metrics").text
    assert collector.tries == 0


@modelpack.service
class Slow:
    @modelpack.api
    async def nap(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds


def test_a_client_that_leaves_leaves_its_request(
    start: Start, lane: str, collector: Collector
) -> None:
    server = start(Slow, lane, payload_log_url=collector.url)
    body = b'{"seconds": 5}'
    head = b"POST /nap HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    with server.connect() as connection:
        connection.sendall(head + b"content-length: %d\r\n\r\n%b" % (len(body), body))
        server.wait_until(lambda: server.server.endpoints[0].stats.in_flight == 1)
    [request] = collector.events(1)

    assert (request.get_type(), request.get_extension("status")) == (REQUEST, "499")
    assert request.get_data() == {"seconds": 5}


def test_it_goes_together_with_everything_else_that_watches(
    start: Start, collector: Collector
) -> None:
    stream = io.StringIO()
    with configured("json", "error", stream):
        server = start(Demo, payload_log_url=collector.url, access_log=True, exemplars=True)
        answer = server.post("/predict", {"x": [[1, 2]]})
        request, response = collector.pair()
        server.stop()

    assert answer.headers["x-request-id"] in stream.getvalue()
    assert request.get_id() == response.get_id() == answer.headers["x-request-id"]
    assert "[[" not in stream.getvalue()  # no payload in our own log
