"""TorchServe's gRPC: what its own client sends, answered as its HTTP routes do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

SERVICE = """
from collections.abc import AsyncIterator

import modelpack


@modelpack.service
class Pets:
    @modelpack.api(batch=True)
    def predict(self, x: modelpack.Tensor["float32", "batch", 2]) -> list[str]:
        return ["dog" if row.sum() > 1 else "cat" for row in x]

    @modelpack.api(batch=True)
    def sums(self, x: modelpack.Tensor["float64", "batch", 2]) -> modelpack.Tensor["float64", "batch"]:
        return x.sum(axis=1)

    @modelpack.api
    def turned(self, file: bytes, times: int = 1) -> bytes:
        return file[::-1] * times

    @modelpack.api
    async def words(self, text: str) -> AsyncIterator[str]:
        for word in text.split():
            if word == "stop":
                raise RuntimeError("of a kind that nobody may see")
            yield word

    @modelpack.api
    async def facts(self, to: int) -> AsyncIterator[dict]:
        for n in range(to):
            yield {"n": n}
"""

PACKAGE = "org.pytorch.serve.grpc.inference"
PATH = f"/{PACKAGE}.InferenceAPIsService"
Why = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory, start_grpc: Any) -> Iterator[Any]:
    with start_grpc(tmp_path_factory.mktemp("pets")) as start:
        yield start("service:Pets", text=SERVICE)


@pytest.fixture
def predict(pets: Any, make: Any) -> Any:
    """Call Predictions with the parts of a form; returns the bytes of the prediction."""

    def send(model: str, version: str = "", **parts: bytes) -> bytes:
        request = make(f"{PACKAGE}.PredictionsRequest")(
            model_name=model, model_version=version, input=parts
        )
        answer = pets.call(f"{PATH}/Predictions", request, f"{PACKAGE}.PredictionResponse")
        data: bytes = answer.prediction
        return data

    return send


@pytest.fixture
def stream(pets: Any, make: Any) -> Any:
    """Call StreamPredictions; returns the pieces as they came."""

    def send(model: str, **parts: bytes) -> Iterator[bytes]:
        request = make(f"{PACKAGE}.PredictionsRequest")(model_name=model, input=parts)
        method = pets.channel.unary_stream(f"{PATH}/StreamPredictions")
        read = make(f"{PACKAGE}.PredictionResponse").FromString
        return (read(one).prediction for one in method(request.SerializeToString(), timeout=20))

    return send


def test_the_server_is_healthy(pets: Any, make: Any) -> None:
    answer = make(f"{PACKAGE}.TorchServeHealthResponse").FromString(pets.send(f"{PATH}/Ping", b""))

    assert json.loads(answer.health) == httpx.get(f"{pets.url}/ping").json()


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("pets", {"data": b"[0.5, 0.75]"}),
        ("pets", {"body": b'{"x": [[0.5, 0.25], [1, 2]]}'}),
        ("pets", {"x": b"[[0.5, 0.25]]"}),
        ("pets", {"data": b'{"instances": [[0.5, 0.25], [1, 2]]}'}),
        ("pets.sums", {"data": b"[[0.5, 0.25], [1, 2]]"}),
        ("pets.turned", {"data": b"\0\xffabc"}),
        ("pets.turned", {"file": b"abc", "times": b"2"}),
    ],
)
def test_a_prediction_is_the_body_that_http_answers_with(
    pets: Any, predict: Any, model: str, parts: dict[str, bytes]
) -> None:
    files = {name: (name, data) for name, data in parts.items()}
    over_http = httpx.post(f"{pets.url}/predictions/{model}", files=files)

    assert over_http.status_code == 200
    assert predict(model, **parts) == over_http.content


def test_a_version_can_be_named(predict: Any, why: Why) -> None:
    assert predict("pets", "1", data=b"[0, 0]") == b"cat"
    assert why(lambda: predict("pets", "7", data=b"[0, 0]"))[0] == "NOT_FOUND"


def test_an_api_that_streams_gives_its_pieces(stream: Any) -> None:
    assert list(stream("pets.words", data=b"one two")) == [b"one", b"two"]
    assert list(stream("pets.facts", data=b"2")) == [b'{"n":0}', b'{"n":1}']


def test_an_api_with_one_answer_streams_it(stream: Any) -> None:
    assert list(stream("pets", data=b"[1, 1]")) == [b"dog"]


def test_a_stream_that_breaks_keeps_what_came_and_tells_nothing_of_the_service(
    stream: Any, why: Why
) -> None:
    pieces = stream("pets.words", data=b"one stop")

    assert next(pieces) == b"one"
    status, text = why(lambda: next(pieces))
    assert status == "INTERNAL"
    assert "nobody may see" not in text


@pytest.mark.parametrize(
    ("model", "parts", "expected"),
    [
        ("puppies", {"data": b"1"}, "NOT_FOUND: unknown model: no model 'puppies', only pets"),
        ("", {"data": b"1"}, "NOT_FOUND: unknown model: no model ''"),
        ("pets", {}, "INVALID_ARGUMENT: the body does not fit the api: /x"),
        ("pets", {"data": b"{"}, "INVALID_ARGUMENT: "),
        ("pets", {"data": b"[[1]]"}, "1 instead of 2 on axis 1"),
        ("pets", {"y": b"[[1, 2]]"}, "/x: expected an array"),
        (
            "pets.words",
            {"data": b"a"},
            "UNIMPLEMENTED: not implemented: 'pets.words' answers in pieces",
        ),
    ],
)
def test_what_cannot_be_is_refused(
    predict: Any, why: Why, model: str, parts: dict[str, bytes], expected: str
) -> None:
    assert expected in ": ".join(why(lambda: predict(model, **parts)))


@pytest.mark.parametrize("method", ["StreamPredictions2", "Explain"])
def test_other_methods_are_not_there(pets: Any, why: Why, method: str) -> None:
    assert why(lambda: pets.send(f"{PATH}/{method}", b""))[0] == "UNIMPLEMENTED"
