"""Many requests and answers on one call: their order, their errors, their end."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"


def number(model: str, name: str, value: int, *, id: str = "", **more: Any) -> dict[str, Any]:
    contents = {"int64_contents": [value]}
    tensor = {"name": name, "datatype": "INT64", "shape": [1], "contents": contents}
    return {"model_name": model, "id": id, "inputs": [tensor], **more}


@pytest.fixture
def ask(served: Any, make: Any) -> Any:
    """Send requests on one call; returns the answers."""

    def send(*requests: dict[str, Any]) -> list[Any]:
        bodies = [
            make("inference.ModelInferRequest")(**one).SerializeToString() for one in requests
        ]
        answers = served.channel.stream_stream(STREAM)(iter(bodies), timeout=20)
        return [make("inference.ModelStreamInferResponse").FromString(one) for one in answers]

    return send


def values(answers: list[Any]) -> list[tuple[str, int]]:
    found = [one.infer_response for one in answers]
    return [(one.id, one.outputs[0].contents.int64_contents[0]) for one in found]


def test_answers_come_in_the_order_of_their_requests(ask: Any) -> None:
    answers = ask(*(number("demo.together", "x", 7, id=f"r{n}") for n in range(20)))

    assert [one.infer_response.id for one in answers] == [f"r{n}" for n in range(20)]
    assert not any(one.error_message for one in answers)


def test_requests_of_one_call_share_batches(ask: Any) -> None:
    answers = ask(*(number("demo.together", "x", 7) for _ in range(6)))

    assert max(count for _, count in values(answers)) > 1


def test_an_api_that_streams_has_as_many_answers_as_pieces(ask: Any) -> None:
    answers = ask(
        number("demo.count", "to", 3, id="a"),
        number("demo.together", "x", 1, id="b"),
        number("demo.count", "to", 2, id="c"),
    )

    found = [(one.infer_response.id, one.infer_response.outputs[0].name) for one in answers]
    assert found == [("a", "output")] * 3 + [("b", "output")] + [("c", "output")] * 2
    assert [n for i, n in values(answers) if i != "b"] == [0, 1, 2, 0, 1]


def test_a_request_that_fails_is_answered_and_the_call_goes_on(ask: Any) -> None:
    answers = ask(
        number("demo.together", "y", 1, id="a"),
        number("other", "x", 1, id="b"),
        number("demo.count", "to", 9, id="c"),
        number("demo.together", "x", 1, id="d"),
    )

    ids = [one.infer_response.id for one in answers]
    errors = {one.infer_response.id: one.error_message for one in answers if one.error_message}
    assert ids == ["a", "b", "c", "c", "c", "c", "c", "c", "d"]
    assert set(errors) == {"a", "b", "c"}
    assert "/x" in errors["a"]
    assert "no model 'other'" in errors["b"]
    assert errors["c"] == "the model failed: the service raised an error; its log says more"


def test_the_last_answer_says_so_when_that_is_asked_for(ask: Any) -> None:
    wish = {"triton_enable_empty_final_response": {"bool_param": True}}

    answers = ask(
        number("demo.count", "to", 2, parameters=wish),
        number("demo.together", "x", 2, parameters=wish),
        number("demo.together", "x", 2),
    )

    found = [one.infer_response for one in answers]
    lasts = [one.parameters["triton_final_response"].bool_param for one in found[:-1]]
    assert lasts == [False, False, True, True]
    assert [len(one.outputs) for one in found] == [1, 1, 0, 1, 1]
    assert "triton_final_response" not in found[-1].parameters


def test_an_answer_comes_before_the_next_request_is_sent(served: Any, make: Any) -> None:
    requests: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def bodies() -> Iterator[bytes]:
        while (one := requests.get(timeout=20)) is not None:
            yield make("inference.ModelInferRequest")(**one).SerializeToString()

    answers = served.channel.stream_stream(STREAM)(bodies(), timeout=20)
    for n in range(3):
        requests.put(number("demo.together", "x", n, id=f"r{n}"))
        answer = make("inference.ModelStreamInferResponse").FromString(next(answers))
        assert answer.infer_response.id == f"r{n}"
    requests.put(None)
    assert list(answers) == []


def test_bytes_that_are_no_message_are_answered_too(served: Any, make: Any) -> None:
    answers = served.channel.stream_stream(STREAM)(iter([b"\xff\xff"]), timeout=20)

    (answer,) = [make("inference.ModelStreamInferResponse").FromString(one) for one in answers]
    assert "no ModelInferRequest" in answer.error_message


def counted(served: Any, metric: str, *labels: str) -> float:
    """Return the sum of the lines of a metric with these labels."""
    lines = httpx.get(f"{served.url}/metrics").text.splitlines()
    found = [one for one in lines if one.startswith(metric) and all(x in one for x in labels)]
    return sum(float(one.split()[-1]) for one in found)


def test_a_client_that_leaves_takes_its_requests_along(served: Any, make: Any) -> None:
    contents = {"fp64_contents": [30.0]}
    tensor = {"name": "seconds", "datatype": "FP64", "shape": [1], "contents": contents}
    request = make("inference.ModelInferRequest")(model_name="demo.slow", inputs=[tensor])
    release = threading.Event()

    def bodies() -> Iterator[bytes]:
        yield request.SerializeToString()
        release.wait(20)

    call = served.channel.stream_stream(STREAM)(bodies())
    until(lambda: counted(served, "modelpack_in_flight_requests", 'api="slow"') == 1)

    call.cancel()

    until(lambda: counted(served, "modelpack_in_flight_requests", 'api="slow"') == 0)
    assert counted(served, "modelpack_requests_total", 'api="slow"', '"499"') == 1
    release.set()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
