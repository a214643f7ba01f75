"""Requests that ask for more than an answer: methods, expectations, deadlines, other bodies."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

import modelpack

Start = Callable[..., Any]


@modelpack.service
class Demo:
    gate = threading.Event()
    has_begun = threading.Event()
    seen: ClassVar[list[str]] = []

    @modelpack.api
    def echo(self, text: str) -> str:
        return text

    @modelpack.api
    def held(self, text: str) -> str:
        self.has_begun.set()
        self.gate.wait(20)
        self.seen.append(text)
        return text

    @modelpack.api(batch=True)
    def double(
        self, x: modelpack.Tensor["float32", "batch", 2]
    ) -> modelpack.Tensor["float32", "batch", 2]:
        return x * 2


TEXT = b'{"text":"abc"}'


def call(path: str, body: bytes, *lines: str, kind: str = "application/json") -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: t", f"Content-Type: {kind}", *lines]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


@pytest.fixture
def server(start: Start, lane: str) -> Any:
    Demo.gate.clear()
    Demo.has_begun.clear()
    Demo.seen.clear()
    return start(Demo, lane, request_timeout_s=20)


# --- methods --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/docs", "/", "/openapi.json", "/other"])
def test_head_is_get_without_the_body(server: Any, path: str) -> None:
    get, head = server.client.get(path), server.client.head(path)

    assert head.status_code == get.status_code
    assert head.content == b""
    for name in ("content-type", "content-length"):
        assert head.headers[name] == get.headers[name]


def test_an_answer_to_head_does_not_shift_the_next_one(server: Any) -> None:
    with server.connect() as connection:
        connection.sendall(b"HEAD /livez HTTP/1.1\r\nHost: t\r\n\r\n" + call("/echo", TEXT))
        got = b""
        while b'"abc"' not in got:
            got += connection.recv(1000)

    assert got.count(b"HTTP/1.1 200 ") == 2
    assert b"alive" not in got


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/echo", "OPTIONS, POST"),
        ("/livez", "GET, HEAD, OPTIONS"),
        ("*", "GET, HEAD, OPTIONS, POST"),
    ],
)
def test_options_names_the_methods(server: Any, path: str, allow: str) -> None:
    (answer,) = server.send(f"OPTIONS {path} HTTP/1.1\r\nHost: t\r\n\r\n".encode())

    assert (answer.status, answer.header("allow"), answer.body) == (204, allow, b"")
    assert answer.header("x-request-id")
    assert answer.header("content-length") is None


def test_another_method_is_told_the_same(server: Any) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE"):
        answer = server.client.request(method, "/echo")
        assert (answer.status_code, answer.headers["allow"]) == (405, "OPTIONS, POST")

    assert server.client.options("/other").status_code == 404


def test_a_target_may_be_a_whole_url(server: Any) -> None:
    data = call("http://elsewhere/echo", TEXT)

    assert server.send(data)[0].body == b'"abc"'


# --- deadlines and priorities ---------------------------------------------------------------------


def test_a_client_may_want_its_answer_sooner(server: Any) -> None:
    with server.connect() as one, server.connect() as two:
        one.sendall(call("/held", TEXT, "X-Request-Timeout-Ms: 200"))
        assert Demo.has_begun.wait(20)
        two.sendall(call("/held", TEXT, "X-Request-Timeout-Ms: 200"))
        answers = [server.read(connection, 1)[0] for connection in (one, two)]
    Demo.gate.set()

    assert [json.loads(answer.body)["code"] for answer in answers] == ["timeout"] * 2
    assert server.post("/held", {"text": "next"}).json() == "next"


@pytest.mark.parametrize(
    "line", ["X-Request-Timeout-Ms: soon", "X-Request-Timeout-Ms: 0", "Modelpack-Priority: top"]
)
def test_a_wish_that_is_not_understood_is_refused(server: Any, line: str) -> None:
    """The connection goes on: the bytes are good HTTP."""
    with server.connect() as connection:
        connection.sendall(call("/echo", TEXT, line) + call("/echo", TEXT))
        refused, answer = server.read(connection, 2)

    assert (refused.status, json.loads(refused.body)["code"]) == (400, "bad-request")
    assert line.partition(":")[0] in json.loads(refused.body)["detail"]
    assert refused.header("connection") is None
    assert answer.body == b'"abc"'


@pytest.mark.parametrize("name", ["X-Request-Timeout-Ms: 5", "Modelpack-Priority: low"])
def test_a_wish_that_stands_twice_is_malformed(server: Any, name: str) -> None:
    answers = server.send(call("/echo", TEXT, name, name), answers=2)

    assert [answer.status for answer in answers] == [400]


def test_the_urgent_goes_first(server: Any) -> None:
    """Three wait behind one that runs; they run by priority, not as they came."""
    held = next(e for e in server.server.endpoints if e.api.name == "held")
    connections = []
    for number, name in enumerate(["first", "low", "normal", "high"]):
        lines = [] if name == "first" else [f"Modelpack-Priority: {name}"]
        connections.append(server.connect())
        connections[-1].sendall(call("/held", f'{{"text":"{name}"}}'.encode(), *lines))
        assert Demo.has_begun.wait(20)
        server.wait_until(lambda: held.queue.waiting_rows == number)  # noqa: B023
    Demo.gate.set()
    for connection in connections:
        assert server.read(connection, 1)[0].status == 200
        connection.close()

    assert Demo.seen == ["first", "high", "normal", "low"]


# --- bodies ---------------------------------------------------------------------------------------


def test_binary_calls_take_the_fast_lane_too(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start(Demo, "fast")
    x = np.array([[1, 2], [3, 4]], "float32")
    lines = ("Modelpack-Dtype: float32", "Modelpack-Shape: 2,2")
    double = next(e for e in server.server.endpoints if e.api.name == "double")
    ways: list[str] = []
    accept = double.accept

    def watched(call: Any, body: bytes, asked: Any) -> None:
        ways.append(type(call).__name__)
        accept(call, body, asked)

    monkeypatch.setattr(double, "accept", watched)
    with server.connect() as connection:
        for _ in range(3):
            data = call("/double", x.tobytes(), *lines, kind="application/octet-stream")
            connection.sendall(data)
            assert json.loads(server.read(connection, 1)[0].body) == (x * 2).tolist()

    assert ways == ["FastCall"] * 3
    assert len(server.server.front.known_heads) == 1


def test_a_body_may_be_asked_for_and_come_in_chunks(server: Any) -> None:
    head = (
        b"POST /echo HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
        b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with server.connect() as connection:
        connection.sendall(head)
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        for piece in (TEXT[:4], TEXT[4:], b""):
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        assert server.read(connection, 1)[0].body == b'"abc"'


@pytest.mark.parametrize("size", [1001, 100_000])
def test_a_chunked_body_that_gets_too_long_is_ended(start: Start, lane: str, size: int) -> None:
    server = start(Demo, lane, max_body_bytes=1000)
    head = b"POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n"
    head += b"Content-Type: application/json\r\n\r\n"

    answers = server.send(head + b"%x\r\n%b\r\n" % (size, b"x" * size), answers=2)

    assert [answer.status for answer in answers] == [413]
    assert answers[0].header("connection") == "close"


def test_an_expectation_that_nobody_knows_is_ignored(server: Any) -> None:
    assert server.send(call("/echo", TEXT, "Expect: miracles"))[0].status == 200
