"""Both ways of a call, through real sockets: same answers, in order, whatever a client does."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

import modelpack
from modelpack.server.endpoint import HttpCall
from modelpack.server.http.protocol import FastCall

Start = Callable[..., Any]


@modelpack.service
class Demo:
    def __init__(self) -> None:
        self.gate = threading.Event()
        self.has_begun = threading.Event()
        self.seen: list[str] = []

    @modelpack.api(batch=True, max_batch_size=8)
    def double(
        self, x: modelpack.Tensor["float32", "batch", 2]
    ) -> modelpack.Tensor["float32", "batch", 2]:
        return x * 2

    @modelpack.api
    def echo(self, text: str) -> str:
        return text

    @modelpack.api
    def held(self, text: str) -> str:
        """Wait until the gate is open."""
        self.has_begun.set()
        self.gate.wait(20)
        self.seen.append(text)
        return text

    @modelpack.api
    def fails(self, text: str) -> str:
        if text == "input":
            raise modelpack.InputError("not that text")
        raise RuntimeError(f"a secret: {text}")

    @modelpack.api
    async def later(self, text: str) -> str:
        return text[::-1]

    @modelpack.api
    def nothing(self) -> None:
        return None


def instance_of(server: Any) -> Demo:
    demo: Demo = server.server.place.replicas[0].instance
    return demo


def request(
    path: str, body: bytes, *headers: str, method: str = "POST", version: str = "1.1"
) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: test", f"Content-Length: {len(body)}"]
    if not any(line.lower().startswith("content-type") for line in headers):
        lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, "X-Request-Id: mine", *headers, "", ""]).encode() + body


def chunked(path: str, *chunks: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        "X-Request-Id: mine\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    pieces = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b"")]
    return head.encode() + b"".join(pieces)


TEXT = b'{"text":"abc"}'

CALLS = {
    "array": (200, request("/double", b'{"x":[[1,2]]}')),
    "many rows": (200, request("/double", b'{"x":[' + b",".join([b"[1,2]"] * 50) + b"]}")),
    "text": (200, request("/echo", '{"text":"grüße"}'.encode())),
    "async": (200, request("/later", TEXT)),
    "no parameters": (200, request("/nothing", b"{}")),
    "charset": (200, request("/echo", TEXT, "Content-Type: Application/JSON; charset=UTF-8")),
    "query": (200, request("/echo?a=1", TEXT)),
    "closing": (200, request("/echo", TEXT, "Connection: close")),
    "old protocol": (200, request("/echo", TEXT, version="1.0")),
    "chunked": (200, chunked("/echo", TEXT[:3], TEXT[3:])),
    "bad json": (400, request("/echo", b'{"text":')),
    "empty body": (400, request("/echo", b"")),
    "wrong shape": (400, request("/double", b'{"x":[[1]]}')),
    "wrong dtype": (400, request("/double", b'{"x":[["1",2]]}')),
    "no rows": (400, request("/double", b'{"x":[]}')),
    "unknown key": (400, request("/echo", b'{"text":"a","more":1}')),
    "key twice": (400, request("/echo", b'{"text":"a","text":"b"}')),
    "service refuses": (422, request("/fails", b'{"text":"input"}')),
    "service fails": (500, request("/fails", TEXT)),
    "pickle": (415, request("/echo", b"\x80\x04.", "Content-Type: application/python-pickle")),
    "form": (415, request("/echo", b"text=a", "Content-Type: application/x-www-form-urlencoded")),
    "multipart": (415, request("/echo", b"--b--", "Content-Type: multipart/form-data; boundary=b")),
    "compressed": (415, request("/echo", b"\x1f\x8b", "Content-Encoding: gzip")),
    "other charset": (415, request("/echo", TEXT, "Content-Type: application/json; charset=latin-1")),
    "wrong method": (405, request("/echo", TEXT, method="PUT")),
    "unknown path": (404, request("/other", TEXT)),
    "trailing slash": (404, request("/echo/", TEXT)),
    "too long": (413, request("/echo", b"x" * 3000)),
    "chunked too long": (413, chunked("/echo", b"x" * 1500, b"x" * 1500)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty body", "it is empty"),
        ("other charset", "expected application/json in UTF-8, got 'application/json; charset="),
        ("list", "the body: expected an object with the keys 'text'"),
    ],
)
def test_what_is_wrong_with_a_body_is_said(start: Start, name: str, said: str) -> None:
    calls = {**CALLS, "list": (400, request("/echo", b"[]"))}
    (answer,) = start(Demo, max_body_bytes=2048).send(calls[name][1])

    assert said in json.loads(answer.body)["detail"]


def test_both_lanes_give_the_same_answers_but_for_the_date(start: Start) -> None:
    fast, asgi = (start(Demo, lane, max_body_bytes=2048) for lane in ("fast", "asgi"))

    for name, (status, data) in CALLS.items():
        (one,), (other,) = fast.send(data), asgi.send(data)

        headers = [[pair for pair in a.headers if pair[0] != "date"] for a in (one, other)]
        assert headers[0] == headers[1], name
        assert one.body == other.body, name
        assert (one.status, one.header("x-request-id")) == (status, "mine"), name
        assert "date" in dict(one.headers), name


def test_the_fast_lane_never_makes_an_asgi_task(start: Start) -> None:
    """The other tests would not notice if every call quietly took the long way."""
    server = start(Demo, "fast")
    ways: list[str] = []
    echo = next(e for e in server.server.endpoints if e.api.name == "echo")
    accept = echo.accept

    def watched(call: Any, body: bytes, asked: Any) -> None:
        ways.append(type(call).__name__)
        accept(call, body, asked)

    echo.accept = watched
    server.send(request("/echo", TEXT))
    server.send(request("/echo?long", TEXT))

    assert ways == ["FastCall", "WaitingCall"]


def test_a_batched_answer_holds_the_own_rows(start: Start, lane: str) -> None:
    server = start(Demo, lane)
    wrong: list[int] = []

    def ask(seed: int) -> None:
        x = np.random.default_rng(seed).random((1 + seed % 20, 2)).astype("float32")
        data = request("/double", json.dumps({"x": x.tolist()}).encode())
        for _ in range(10):
            (answer,) = server.send(data)
            if not np.array_equal(np.array(json.loads(answer.body), "float32"), x * 2):
                wrong.append(seed)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_pipelined_answers_keep_the_order_of_their_requests(start: Start, lane: str) -> None:
    """The first is slow, the others are not, and they take different ways."""
    server = start(Demo, lane)
    with server.connect() as connection:
        connection.sendall(
            request("/held", b'{"text":"first"}')
            + request("/echo", b'{"text":"second"}')
            + request("/later", b'{"text":"driht"}')
            + request("/livez", b"", method="GET")
            + request("/echo", b'{"text":')
            + request("/double", b'{"x":[[1,2]]}')
        )
        instance_of(server).has_begun.wait(20)
        instance_of(server).gate.set()
        answers = server.read(connection, 6)

    bodies = [json.loads(answer.body) for answer in answers]
    assert bodies[:3] == ["first", "second", "third"]
    assert bodies[3] == {"status": "alive"}
    assert bodies[4]["code"] == "bad-json"
    assert bodies[5] == [[2.0, 4.0]]


def test_a_connection_serves_both_ways_in_turns(start: Start) -> None:
    server = start(Demo, "fast")
    data = [
        request("/echo", b'{"text":"fast"}'),
        request("/echo?long", b'{"text":"long"}'),
        chunked("/echo", b'{"text":', b'"chunked"}'),
        request("/echo", b'{"text":"fast again"}'),
    ]
    with server.connect() as connection:
        texts = []
        for one in data:
            connection.sendall(one)
            texts.append(json.loads(server.read(connection, 1)[0].body))

    assert texts == ["fast", "long", "chunked", "fast again"]


@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_request_may_come_in_pieces(start: Start, lane: str, size: int) -> None:
    server = start(Demo, lane)
    data = request("/echo", b'{"text":"in pieces"}') * 2
    with server.connect() as connection:
        for at in range(0, len(data), size):
            connection.sendall(data[at : at + size])
        answers = server.read(connection, 2)

    assert [json.loads(answer.body) for answer in answers] == ["in pieces"] * 2


def test_a_client_that_leaves_takes_its_waiting_call_along(start: Start, lane: str) -> None:
    server = start(Demo, lane)
    demo = instance_of(server)
    held = next(e for e in server.server.endpoints if e.api.name == "held")

    first = server.connect()
    first.sendall(request("/held", b'{"text":"first"}'))
    assert demo.has_begun.wait(20)
    second = server.connect()
    second.sendall(request("/held", b'{"text":"second"}'))
    server.wait_until(lambda: held.queue.waiting_rows == 1)
    second.close()
    server.wait_until(lambda: held.queue.waiting_rows == 0)
    demo.gate.set()

    assert json.loads(server.read(first, 1)[0].body) == "first"
    first.close()
    assert json.loads(server.send(request("/held", b'{"text":"third"}'))[0].body) == "third"
    assert demo.seen == ["first", "third"]
    assert held.stats.statuses[499] == 1


def test_a_late_call_is_answered_504_and_its_result_thrown_away(start: Start, lane: str) -> None:
    server = start(Demo, lane, request_timeout_s=2.0)  # long enough for both to be there
    demo = instance_of(server)
    held = next(e for e in server.server.endpoints if e.api.name == "held")
    with server.connect() as one, server.connect() as two:
        one.sendall(request("/held", b'{"text":"runs"}'))
        assert demo.has_begun.wait(20)
        two.sendall(request("/held", b'{"text":"waits"}'))
        server.wait_until(lambda: held.queue.waiting_rows == 1)
        answers = [server.read(one, 1)[0], server.read(two, 1)[0]]
        demo.gate.set()

    assert [answer.status for answer in answers] == [504, 504]
    assert {json.loads(answer.body)["code"] for answer in answers} == {"timeout"}
    assert server.post("/held", {"text": "next"}).json() == "next"
    assert demo.seen == ["runs", "next"]


def test_a_full_queue_is_answered_429_with_when_to_come_back(start: Start, lane: str) -> None:
    server = start(Demo, lane, max_queue_rows=2)
    demo = instance_of(server)
    held = next(e for e in server.server.endpoints if e.api.name == "held")
    connections = [server.connect() for _ in range(3)]
    connections[0].sendall(request("/held", b'{"text":"0"}'))
    assert demo.has_begun.wait(20)
    for number in (1, 2):
        connections[number].sendall(request("/held", b'{"text":"%d"}' % number))
    server.wait_until(lambda: held.queue.waiting_rows == 2)

    (refused,) = server.send(request("/held", b'{"text":"too many"}'))
    demo.gate.set()
    answers = [server.read(connection, 1)[0] for connection in connections]
    for connection in connections:
        connection.close()

    assert (refused.status, json.loads(refused.body)["code"]) == (429, "overloaded")
    assert int(refused.header("retry-after")) >= 1
    assert [json.loads(answer.body) for answer in answers] == ["0", "1", "2"]


def test_a_given_request_id_is_echoed_only_when_it_is_sane(start: Start, lane: str) -> None:
    server = start(Demo, lane)
    for given in ("a" * 129, "with space", "caf\xe9"):
        head = f"POST /nothing HTTP/1.1\r\nHost: t\r\nX-Request-Id: {given}\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        (answer,) = server.send(head.encode("latin-1"))

        made = answer.header("x-request-id")
        assert answer.status == 200
        assert made != given
        assert made.isascii()


def test_every_made_up_request_id_is_another(start: Start, lane: str) -> None:
    server = start(Demo, lane)

    ids = {server.post("/nothing", {}).headers["x-request-id"] for _ in range(50)}

    assert len(ids) == 50


def test_a_client_that_asks_for_http2_is_answered_in_http11(start: Start) -> None:
    """Java's client asks for h2c with each first request, also with a body."""
    server = start(Demo, "fast")
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    data = request("/echo", b'{"text":"upgrade"}', *upgrade)
    follow = request("/echo", b'{"text":"next"}')

    for size in (len(data), 10):
        with server.connect() as connection:
            for at in range(0, len(data), size):
                connection.sendall(data[at : at + size])
            connection.sendall(follow)
            answers = server.read(connection, 2)
        assert [json.loads(answer.body) for answer in answers] == ["upgrade", "next"]


def test_a_body_is_asked_for_only_when_it_will_be_read(start: Start, lane: str) -> None:
    server = start(Demo, lane, max_body_bytes=100)
    whole = request("/echo", b'{"text":"asked"}', "Expect: 100-continue")
    head, _, body = whole.partition(b"\r\n\r\n")
    with server.connect() as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert json.loads(server.read(connection, 1)[0].body) == "asked"

    for refused, status in (
        (request("/echo", b"x" * 101, "Expect: 100-continue"), 413),
        (request("/echo", b"x", "Expect: 100-continue", "Content-Type: text/csv"), 415),
    ):
        head = refused.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        with server.connect() as connection:
            connection.sendall(head)
            answers = server.read(connection, 2)  # the second never comes: it is closed
        assert [answer.status for answer in answers] == [status]


def test_a_refused_body_that_never_ends_is_not_read_forever(start: Start) -> None:
    server = start(Demo, "fast", max_body_bytes=1000)
    with server.connect() as connection:
        connection.sendall(request("/echo", b"", "Content-Type: text/csv").replace(
            b"Content-Length: 0", b"Transfer-Encoding: chunked"))  # fmt: skip
        assert server.read(connection, 1)[0].status == 415
        with pytest.raises(OSError):
            for _ in range(10_000):
                connection.sendall(b"400\r\n" + b"x" * 0x400 + b"\r\n")


def test_a_connection_that_has_ended_is_freed_at_once(start: Start, lane: str) -> None:
    """Not only when the garbage collector comes by, which may be never under load."""
    server = start(Demo, lane)
    gc.collect()
    gc.disable()
    try:
        with server.connect() as connection:
            connection.sendall(request("/echo", TEXT))
            assert server.read(connection, 1)[0].status == 200
            ended = server.on_loop(
                lambda: [weakref.ref(one) for one in server.server._state.connections]
            )
        server.wait_until(lambda: all(one() is None for one in ended))
        assert len(ended) == 1
    finally:
        gc.enable()


def test_a_call_of_the_fast_lane_begins_as_any_other() -> None:
    """It is written out for speed, so nothing but this keeps it equal to its bases."""
    endpoint: Any = SimpleNamespace(writer=SimpleNamespace(json=object()))
    plain, fast = HttpCall(endpoint, b"1"), FastCall(cast("Any", None), endpoint, b"1")
    slots = [name for kind in HttpCall.__mro__ for name in getattr(kind, "__slots__", ())]

    for name in slots:
        if name in ("span", "payload"):  # only there while it is traced, or kept
            continue
        assert getattr(fast, name) == getattr(plain, name), name
