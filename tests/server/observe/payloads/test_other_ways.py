"""Calls that are no plain HTTP requests: gRPC, events of a contract, tasks."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import modelpack
from modelpack.server.grpc.messages import message
from tests.collector import REQUEST, RESPONSE, Collector

Start = Callable[..., Any]

INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"


@modelpack.service
class Demo:
    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float32", "batch"]
    ) -> modelpack.Tensor["float32", "batch"]:
        return x * 2

    @modelpack.api
    def count(self, to: int) -> Iterator[int]:
        yield from range(to)


@pytest.fixture
def target(start: Start, collector: Collector) -> Iterator[str]:
    """Where a server answers gRPC."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start(Demo, payload_log_url=collector.url, grpc_port=port)
    return f"127.0.0.1:{port}"


def request_of(model: str, name: str, datatype: str, numbers: list[float]) -> bytes:
    request = message("inference.ModelInferRequest")(model_name=model)
    one = request.inputs.add(name=name, datatype=datatype, shape=[len(numbers)])
    field = one.contents.fp32_contents if datatype == "FP32" else one.contents.int64_contents
    field.extend(numbers)
    encoded: bytes = request.SerializeToString()
    return encoded


def test_a_message_of_grpc_and_its_answer_are_kept_as_bytes(
    target: str, collector: Collector
) -> None:
    sent = request_of("demo", "x", "FP32", [1, 2])
    with grpc.insecure_channel(target) as channel:
        answer = channel.unary_unary(INFER)(sent, metadata=[("x-request-id", "g-1")])
        with pytest.raises(grpc.RpcError):
            channel.unary_unary(INFER)(request_of("demo", "y", "FP32", [1]))
    posts = collector.wait_for(3)
    events = [post.event for post in posts]

    assert [(one.get_type(), one.get_extension("status")) for one in events] == [
        (REQUEST, "200"), (RESPONSE, "200"), (REQUEST, "400"),
    ]  # fmt: skip
    assert [post.body for post in posts[:2]] == [sent, answer]
    assert [one.get_id() for one in events[:2]] == ["g-1", "g-1"]
    assert events[0].get_datacontenttype() == "application/protobuf"
    assert [events[0].get_extension(name) for name in ("path", "face", "model")] == [
        INFER, "grpc", "demo",
    ]  # fmt: skip


def test_each_request_of_a_stream_of_grpc_has_an_id_of_its_own(
    target: str, collector: Collector
) -> None:
    sent = [request_of("demo", "x", "FP32", [1]), request_of("demo.count", "to", "INT64", [2])]
    with grpc.insecure_channel(target) as channel:
        answers = list(channel.stream_stream(STREAM)(iter(sent), metadata=[("x-request-id", "s")]))
    posts = collector.wait_for(4)
    by_id = {(post.event.get_id(), post.event.get_type()): post for post in posts}

    assert {one for one, _ in by_id} == {"s.1", "s.2"}
    assert by_id["s.1", REQUEST].body == sent[0]
    assert by_id["s.1", RESPONSE].body == answers[0]
    framed = b"".join(b"\0" + len(one).to_bytes(4, "big") + one for one in answers[1:])
    assert by_id["s.2", RESPONSE].body == framed
    assert by_id["s.2", RESPONSE].headers["content-type"] == "application/grpc+proto"


def test_events_of_a_contract_are_kept_as_they_were_sent(
    start: Start, collector: Collector
) -> None:
    server = start(Demo, payload_log_url=collector.url)
    tensor = {"name": "to", "shape": [1], "datatype": "INT64", "data": [2]}
    answer = server.post("/v2/models/demo.count/infer_stream", {"inputs": [tensor]})
    request, response = collector.pair()

    assert request.get_data() == {"inputs": [tensor]}
    assert [post.body for post in collector.posts][1] == answer.content
    assert response.get_datacontenttype() == answer.headers["content-type"]
    assert response.get_extension("face") == "oip"
    assert response.get_id() == answer.headers["x-request-id"]


@pytest.mark.parametrize("api", ["predict", "count"])
def test_a_task_is_kept_when_it_has_run(
    start: Start, collector: Collector, tmp_path: Path, api: str
) -> None:
    store = str(tmp_path / "tasks.sqlite")
    server = start(Demo, payload_log_url=collector.url, tasks=True, tasks_store=store)
    body = {"x": [1]} if api == "predict" else {"to": 2}
    task = server.post(f"/tasks/{api}", body).json()
    result = server.client.get(task["result_url"], headers={"prefer": "wait=10"})
    request, response = collector.pair()

    assert request.get_data() == body
    assert collector.posts[1].body == result.content
    assert (request.get_extension("path"), request.get_extension("face")) == (
        f"/tasks/{api}", "tasks",
    )  # fmt: skip
    assert request.get_time() <= response.get_time()


INSTANCES = {"instances": [1, 2]}


@pytest.mark.parametrize(
    ("face", "path", "body", "answer"),
    [
        ("oip", "/v2/models/demo/generate", {"x": [1, 2]}, None),
        ("kserve", "/v1/models/demo:predict", INSTANCES, {"predictions": [2.0, 4.0]}),
        ("tfserving", "/v1/models/demo:predict", {"inputs": [1, 2]}, {"outputs": [2.0, 4.0]}),
        ("torchserve", "/predictions/demo", {"x": [1, 2]}, [2.0, 4.0]),
        ("seldon", "/api/v1.0/predictions", {"data": {"ndarray": [1, 2]}}, None),
        ("sagemaker", "/invocations", INSTANCES, {"predictions": [2.0, 4.0]}),
        ("mlflow", "/invocations", INSTANCES, {"predictions": [2.0, 4.0]}),
        ("vertex", "/v1/endpoints/1/deployedModels/2:predict", INSTANCES, None),
        ("azureml", "/score", {"x": [1, 2]}, None),
    ],
)
def test_every_contract_leaves_a_pair(  # noqa: PLR0917
    start: Start,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    face: str,
    path: str,
    body: Any,
    answer: Any,
) -> None:
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/v1/endpoints/1/deployedModels/2:predict")
    server = start(Demo, payload_log_url=collector.url, faces=face)
    said = server.post(path, body)
    assert said.status_code == 200, said.text
    request, response = collector.pair()

    assert (request.get_data(), response.get_data()) == (body, said.json())
    assert answer is None or response.get_data() == answer
    assert [one.get_extension("path") for one in (request, response)] == [path, path]
    assert request.get_extension("face") in (face, "kserve")
