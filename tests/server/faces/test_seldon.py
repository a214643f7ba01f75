"""Seldon v1 over a socket: messages in and out, in the kind that was asked."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

import modelpack

PATH = "/api/v1.0/predictions"


@modelpack.service
class Sums:
    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["int64", "batch", 2]
    ) -> modelpack.Tensor["int64", "batch", 2]:
        return x.cumsum(axis=1)

    @modelpack.api
    def other(self) -> int:
        return 1


@modelpack.service
class Words:
    @modelpack.api
    def predict(self, text: str) -> dict[str, Any]:
        if not text:
            raise modelpack.InputError("say something")
        return {"text": text, "length": len(text)}


@modelpack.service
class Loud:
    @modelpack.api(batch=True)
    def predict(self, texts: list[str]) -> list[str]:
        return [text.upper() for text in texts]


@modelpack.service
class Plus:
    @modelpack.api
    def predict(self, a: float, b: float) -> float:
        return a + b


@modelpack.service
class Table:
    @modelpack.api
    def predict(self, x: modelpack.Tensor["float32", "n", 2]) -> list[list[str]]:
        return [[str(n) for n in row] for row in x]


@modelpack.service
class Stream:
    @modelpack.api
    def predict(self, to: int) -> Iterator[int]:
        yield from range(to)


@pytest.fixture(scope="module")
def ask(start_once: Callable[..., Any]) -> Callable[..., httpx.Response]:
    clients: dict[type, httpx.Client] = {}

    def post(service: type, message: Any, path: str = PATH, **more: Any) -> httpx.Response:
        if service not in clients:
            clients[service] = start_once(service, faces="seldon").client
        body = {"content": message} if isinstance(message, bytes) else {"json": message}
        return clients[service].post(path, **body, **more)

    return post


Ask = Callable[..., httpx.Response]


@pytest.mark.parametrize("path", [PATH, "/api/v0.1/predictions"])
@pytest.mark.parametrize(
    ("service", "message", "answer"),
    [
        (
            Sums,
            {"data": {"names": ["a", "b"], "ndarray": [[1, 2], [3, 4]]}},
            {"data": {"names": ["t:0", "t:1"], "ndarray": [[1, 3], [3, 7]]}},
        ),
        (
            Sums,
            {"data": {"tensor": {"shape": [2, 2], "values": [1.0, 2.0, 3.0, 4.0]}}},
            {
                "data": {
                    "names": ["t:0", "t:1"],
                    "tensor": {"shape": [2, 2], "values": [1, 3, 3, 7]},
                }
            },
        ),
        (
            Sums,
            {"jsonData": {"x": [[1, 2]]}},
            {"data": {"names": ["t:0", "t:1"], "tensor": {"shape": [1, 2], "values": [1, 3]}}},
        ),
        (
            Sums,
            {"jsonData": [[1, 2]]},
            {"data": {"names": ["t:0", "t:1"], "tensor": {"shape": [1, 2], "values": [1, 3]}}},
        ),
        (Words, {"strData": "abc"}, {"jsonData": {"text": "abc", "length": 3}}),
        (
            Words,
            {"data": {"ndarray": ["abc", "d"]}},
            {
                "data": {
                    "names": [],
                    "ndarray": [{"text": "abc", "length": 3}, {"text": "d", "length": 1}],
                }
            },
        ),
        (Loud, {"strData": "abc"}, {"strData": "ABC"}),
        (Loud, {"binData": base64.b64encode(b"abc").decode()}, {"strData": "ABC"}),
        (Loud, {"data": {"ndarray": ["a", "b"]}}, {"data": {"names": [], "ndarray": ["A", "B"]}}),
        (
            Plus,
            {"data": {"names": ["b", "a"], "ndarray": [[1, 2], [0.5, 0.25]]}},
            {"data": {"names": [], "ndarray": [3.0, 0.75]}},
        ),
        (Plus, {"jsonData": {"a": 1, "b": 2}}, {"jsonData": 3.0}),
        (
            Table,
            {"data": {"ndarray": [[1, 2]]}},
            {"data": {"names": [], "ndarray": [["1.0", "2.0"]]}},
        ),
    ],
)
def test_a_message_is_answered_in_its_kind(
    ask: Ask, path: str, service: type, message: Any, answer: Any
) -> None:
    got = ask(service, message, path)

    assert got.status_code == 200
    reply = got.json()
    assert len(reply.pop("meta")["puid"]) == 32
    assert reply == answer


def test_puid_and_tags_come_back(ask: Ask) -> None:
    meta = {"puid": "p-7", "tags": {"who": "me", "n": 3}}

    reply = ask(Words, {"meta": meta, "strData": "a"}).json()

    assert reply["meta"] == {
        **meta,
        "routing": {},
        "requestPath": {"words": "test:1"},
        "metrics": [],
    }


def test_feedback_is_counted_and_its_rewards_are_added_up(start: Callable[..., Any]) -> None:
    client = start(Sums).client
    for reward in (1, 0.25, -2):
        client.post("/api/v1.0/feedback", json={"reward": reward})

    page = client.get("/metrics").text

    assert 'modelpack_feedback_total{api="predict"} 3.0' in page
    assert 'modelpack_feedback_reward{api="predict"} -0.75' in page


def test_feedback_is_taken(ask: Ask) -> None:
    body = {"request": {"data": {"ndarray": [[1, 2]]}}, "response": {}, "reward": 1.0}

    answer = ask(Sums, body, "/api/v1.0/feedback", headers={"x-request-id": "f-1"})

    assert (answer.status_code, answer.json()) == (200, {"meta": {"puid": "f-1"}})


MALFORMED = [
    (b"{", "JSON"),
    (b"[]", "a message"),
    (b"{}", "none of them"),
    ({"data": {"ndarray": [[1, 2]]}, "strData": "a"}, "'data' and 'strData'"),
    ({"data": []}, "/data"),
    ({"data": {}}, "neither"),
    ({"data": {"tftensor": {}}}, "'tftensor'"),
    ({"data": {"ndarray": 3}}, "/data/ndarray"),
    ({"data": {"ndarray": []}}, "/data/ndarray"),
    ({"data": {"ndarray": [[1, 2, 3]]}}, "/data/ndarray"),
    ({"data": {"ndarray": [[1, 2], [3]]}}, "/data/ndarray"),
    ({"data": {"ndarray": [[1.5, 2]]}}, "/data/ndarray"),
    ({"data": {"tensor": [1]}}, "/data/tensor"),
    ({"data": {"tensor": {"shape": [1, 2]}}}, "/data/tensor/values"),
    ({"data": {"tensor": {"shape": [1, 3], "values": [1, 2]}}}, "/data/tensor/shape"),
    ({"data": {"tensor": {"shape": [-1, -2], "values": [1, 2]}}}, "/data/tensor/shape"),
    ({"data": {"tensor": {"shape": [True, 2], "values": [1, 2]}}}, "/data/tensor/shape"),
    ({"data": {"tensor": {"shape": [2**62, 2**62, 0], "values": []}}}, "/data/tensor"),
    ({"data": {"tensor": {"shape": [10**9, 0], "values": []}}}, "/data/tensor/values"),
    ({"data": {"tensor": {"shape": [1, 2], "values": [1.5, 2]}}}, "/data/tensor"),
    ({"data": {"tensor": {"shape": [1] * 33, "values": [1]}}}, "/data/tensor/shape"),
    ({"strData": 3}, "/strData"),
    ({"strData": "a"}, "/strData"),
    ({"binData": "?"}, "/binData"),
    ({"meta": [], "jsonData": {"x": [[1, 2]]}}, "/meta"),
    ({"meta": {"puid": 3}, "jsonData": {"x": [[1, 2]]}}, "/meta/puid"),
    ({"meta": {"tags": []}, "jsonData": {"x": [[1, 2]]}}, "/meta/tags"),
]


@pytest.mark.parametrize(("message", "said"), MALFORMED)
def test_what_is_malformed_is_said_in_the_form_of_the_contract(
    ask: Ask, message: Any, said: str
) -> None:
    answer = ask(Sums, message)

    assert answer.status_code == 400
    status = answer.json()["status"]
    assert status["status"] == "FAILURE"
    assert (status["code"], status["reason"]) == (-1, "MICROSERVICE_BAD_DATA")
    assert said in status["info"]


@pytest.mark.parametrize(
    "body", [b"{", [], {"reward": "1"}, {"reward": True}, {"request": 3}, {"truth": []}]
)
def test_malformed_feedback_is_refused(ask: Ask, body: Any) -> None:
    answer = ask(Sums, body, "/api/v1.0/feedback")

    assert answer.status_code == 400
    assert answer.json()["status"]["status"] == "FAILURE"


def test_rows_of_another_length_than_the_names_are_refused(ask: Ask) -> None:
    answer = ask(Plus, {"data": {"names": ["a", "b"], "ndarray": [[1, 2], [3]]}})

    assert answer.status_code == 400
    assert "/data/ndarray/1" in answer.json()["status"]["info"]


def test_what_the_service_refuses_is_a_status(ask: Ask) -> None:
    answer = ask(Words, {"strData": ""})

    assert answer.status_code == 422
    assert "say something" in answer.json()["status"]["info"]


def test_a_service_that_streams_says_where_to_ask(ask: Ask) -> None:
    answer = ask(Stream, {"jsonData": {"to": 3}})

    assert answer.status_code == 400
    assert "call it at '/predict'" in answer.json()["status"]["info"]


def test_other_content_types_are_not_read(ask: Ask) -> None:
    answer = ask(Sums, b"x", headers={"content-type": "application/x-protobuf"})

    assert answer.status_code == 415
    assert answer.json()["status"]["status"] == "FAILURE"


@pytest.mark.parametrize("path", ["/health/ping", "/health/status", "/api/v1.0/health/status"])
def test_the_service_is_well(start_once: Callable[..., Any], path: str) -> None:
    running = start_once(Words, faces="seldon")

    assert running.client.get(path).json() == {"status": "ok"}


def test_the_service_is_described(start_once: Callable[..., Any]) -> None:
    client = start_once(Sums, faces="seldon").client

    graph = client.get("/api/v1.0/metadata").json()
    assert graph["models"]["sums"] == client.get("/api/v1.0/metadata/sums").json()
    assert graph["graphinputs"] == [{"name": "x", "datatype": "INT64", "shape": [-1, 2]}]
    assert PATH in client.get("/seldon.json").json()["paths"]
    assert client.get("/api/v1.0/metadata/none").status_code == 404
    assert client.get("/api/v1.0/none").json()["status"]["status"] == "FAILURE"
