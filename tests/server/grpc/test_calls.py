"""What comes with a call besides its message: ids, deadlines, cancellation, limits, compression."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

INFER = "/inference.GRPCInferenceService/ModelInfer"
X = np.zeros((1, 4), np.float32)
Why = Callable[..., tuple[str, str]]


def request(**more: Any) -> dict[str, Any]:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4]}
    return {
        "model_name": "demo", "inputs": [tensor], "raw_input_contents": [X.tobytes()], **more
    }  # fmt: skip


def slow(seconds: float, **more: Any) -> dict[str, Any]:
    contents = {"fp64_contents": [seconds]}
    tensor = {"name": "seconds", "datatype": "FP64", "shape": [1], "contents": contents}
    return {"model_name": "demo.slow", "inputs": [tensor], **more}


def dropped(served: Any) -> int:
    """Return how many calls of ``slow`` were cancelled."""
    answer = served.infer(model_name="demo.dropped_so_far")
    return int(answer.outputs[0].contents.int64_contents[0])


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def trailers_of(call: Callable[[], Any]) -> dict[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return dict(caught.value.trailing_metadata())


def test_the_request_id_comes_back_with_answers_and_refusals(served: Any, make: Any) -> None:
    method = served.channel.unary_unary(INFER)
    body = make("inference.ModelInferRequest")(**request()).SerializeToString()
    metadata = [("x-request-id", "mine-1")]

    _, call = method.with_call(body, metadata=metadata)

    assert dict(call.trailing_metadata())["x-request-id"] == "mine-1"
    found = trailers_of(lambda: method(b"\xff", metadata=metadata))
    assert (found["x-request-id"], found["modelpack-code"]) == ("mine-1", "bad-request")
    assert trailers_of(lambda: method(b"\xff"))["x-request-id"]


def test_the_deadline_of_the_client_ends_the_call_in_the_service(served: Any) -> None:
    before = dropped(served)

    code, _ = served.refused(**slow(30.0), timeout=0.2)

    assert code == "DEADLINE_EXCEEDED"
    until(lambda: dropped(served) == before + 1)


@pytest.mark.parametrize(
    "wish",
    [
        {"metadata": [("x-request-timeout-ms", "150")]},
        {"parameters": {"timeout": {"int64_param": 150_000}}},
    ],
)
def test_a_time_out_can_also_be_asked_for(served: Any, wish: dict[str, Any]) -> None:
    began = time.monotonic()

    code, text = served.refused(**slow(30.0), **wish)

    assert (code, time.monotonic() - began < 10) == ("DEADLINE_EXCEEDED", True)
    assert "longer than it may" in text


def test_a_call_that_is_cancelled_ends_in_the_service(served: Any, make: Any) -> None:
    before = dropped(served)
    body = make("inference.ModelInferRequest")(**slow(30.0)).SerializeToString()

    call = served.channel.unary_unary(INFER).future(body)
    time.sleep(0.2)
    call.cancel()

    until(lambda: dropped(served) == before + 1)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ([("x-request-timeout-ms", "soon")], "X-Request-Timeout-Ms"),
        ([("modelpack-priority", "first")], "Modelpack-Priority"),
    ],
)
def test_metadata_that_is_not_understood_is_refused(
    served: Any, metadata: list[tuple[str, str]], said: str
) -> None:
    code, text = served.refused(**request(), metadata=metadata)

    assert code == "INVALID_ARGUMENT"
    assert said in text


@pytest.mark.parametrize("level", [0, 1, 2, 9])
def test_any_priority_of_triton_is_taken(served: Any, level: int) -> None:
    answer = served.infer(**request(parameters={"priority": {"uint64_param": level}}))

    assert answer.raw_output_contents[0] == X.tobytes()


def test_a_message_that_is_too_long_is_refused_before_it_is_read(served: Any) -> None:
    rows = 700_000  # 11 MB, the limit is 10
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 4]}

    code, text = served.refused(
        model_name="demo", inputs=[tensor], raw_input_contents=[bytes(rows * 16)]
    )

    assert code == "RESOURCE_EXHAUSTED"
    assert "larger than max" in text


def test_compressed_messages_are_taken_when_compressed_bodies_are(
    serve_grpc: Callable[..., Any], make: Any, why: Why, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = make("inference.ModelInferRequest")(**request()).SerializeToString()

    def ask(server: Any, body: bytes = body) -> bytes:
        method = server.channel.unary_unary(INFER)
        answer: bytes = method(body, compression=grpc.Compression.Gzip, timeout=20)
        return answer

    plain = serve_grpc()
    assert why(lambda: ask(plain))[0] == "UNIMPLEMENTED"
    monkeypatch.setenv("MODELPACK_ACCEPT_ENCODING", "true")
    server = serve_grpc()
    answer = make("inference.ModelInferResponse").FromString(ask(server))
    assert answer.raw_output_contents[0] == X.tobytes()
    bomb = make("inference.ModelInferRequest")(id="a" * 20_000_000).SerializeToString()
    assert why(lambda: ask(server, bomb))[0] == "RESOURCE_EXHAUSTED"


def test_a_full_queue_says_when_to_come_again(
    serve_grpc: Callable[..., Any], make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELPACK_MAX_QUEUE_ROWS", "4")
    server = serve_grpc()
    body = make("inference.ModelInferRequest")(**slow(5.0)).SerializeToString()
    method = server.channel.unary_unary(INFER)

    calls = [method.future(body, timeout=0.5) for _ in range(8)]
    codes = [call.code().name for call in calls]

    assert set(codes) == {"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
    refused = calls[codes.index("RESOURCE_EXHAUSTED")]
    trailers = dict(refused.trailing_metadata())
    assert trailers["modelpack-code"] == "overloaded"
    wait_s = int(trailers["retry-after"])
    assert trailers["grpc-retry-pushback-ms"] == str(wait_s * 1000)
