"""Both ways of a call, through real sockets: same answers, in order, whatever a client does."""

from __future__ import annotations

import gc
import json
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import modelpack

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
    server = start(Demo, lane, request_timeout_s=0.3)
    demo = instance_of(server)
    with server.connect() as one, server.connect() as two:
        one.sendall(request("/held", b'{"text":"runs"}'))
        assert demo.has_begun.wait(20)
        two.sendall(request("/held", b'{"text":"waits"}'))
        answers = [server.read(one, 1)[0], server.read(two, 1)[0]]
        demo.gate.set()

    assert [answer.status for answer in answers] == [504, 504]
    assert {json.loads(answer.body)["code"] for answer in answers} == {"timeout"}
    assert server.post("/held", {"text": "next"}).json() == "next"
    assert demo.seen == ["runs", "next"]


def test_while_a_call_does_not_come_back_the_api_says_so_at_once(start: Start, lane: str) -> None:
    server = start(Demo, lane, request_timeout_s=0.3)
    demo = instance_of(server)
    assert server.post("/held", {"text": "hangs"}).status_code == 504
    held = next(e for e in server.server.endpoints if e.api.name == "held")
    server.wait_until(lambda: held.is_stuck)

    refused, ready = server.post("/held", {"text": "next"}), server.client.get("/readyz")
    other = server.post("/echo", {"text": "other"})
    demo.gate.set()
    server.wait_until(lambda: not held.is_stuck)

    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert (ready.status_code, ready.json()["detail"]) == (503, "an earlier call has not come back")
    assert other.json() == "other"
    assert server.client.get("/readyz").status_code == 200
    assert server.post("/held", {"text": "again"}).json() == "again"


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


# --- malformed messages ---------------------------------------------------------------------------

H = b"Host: test\r\n"
MALFORMED = {
    "both lengths": b"POST /echo HTTP/1.1\r\n" + H
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "lengths, other order": b"POST /echo HTTP/1.1\r\n" + H
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "length twice": b"POST /echo HTTP/1.1\r\n" + H
    + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "length list": b"POST /echo HTTP/1.1\r\n" + H + b"Content-Length: 2, 2\r\n\r\n{}",
    "length with sign": b"POST /echo HTTP/1.1\r\n" + H + b"Content-Length: +2\r\n\r\n{}",
    "length not a number": b"POST /echo HTTP/1.1\r\n" + H + b"Content-Length: two\r\n\r\n{}",
    "length overflows": b"POST /echo HTTP/1.1\r\n" + H + b"Content-Length: 99999999999999999999\r\n\r\n",
    "unknown coding": b"POST /echo HTTP/1.1\r\n" + H + b"Transfer-Encoding: gzip\r\n\r\n{}",
    "coding before chunked": b"POST /echo HTTP/1.1\r\n" + H
    + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"POST /echo HTTP/1.1\r\n" + H
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": b"POST /echo HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad chunk": b"POST /echo HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
    "negative chunk": b"POST /echo HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n",
    "space before colon": b"GET /livez HTTP/1.1\r\nHost : test\r\n\r\n",
    "bare CR": b"GET /livez HTTP/1.1\r\nHost: te\rst\r\n\r\n",
    "bare LF": b"GET /livez HTTP/1.1\nHost: test\n\n",
    "NUL": b"GET /livez HTTP/1.1\r\nHost: te\0st\r\n\r\n",
    "folded": b"GET /livez HTTP/1.1\r\n" + H + b"X: a\r\n b\r\n\r\n",
    "no host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /livez HTTP/1.1\r\n" + H + H + b"\r\n",
    "host with a path": b"GET /livez HTTP/1.1\r\nHost: test/path\r\n\r\n",
    "host with a user": b"GET /livez HTTP/1.1\r\nHost: user@test\r\n\r\n",
    "two types": b"POST /echo HTTP/1.1\r\n" + H
    + b"Content-Type: application/json\r\nContent-Type: text/csv\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/2.0": b"GET /livez HTTP/2.0\r\n" + H + b"\r\n",
    "HTTP/0.9": b"GET /livez HTTP/0.9\r\n" + H + b"\r\n",
    "HTTP/1.2": b"GET /livez HTTP/1.2\r\n" + H + b"\r\n",
    "unknown method": b"STEAL /livez HTTP/1.1\r\n" + H + b"\r\n",
    "connect": b"CONNECT test:80 HTTP/1.1\r\n" + H + b"\r\n",
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no HTTP at all": b"hello there, how are you?\r\n\r\n",
    "empty header name": b"GET /livez HTTP/1.1\r\n" + H + b": x\r\n\r\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def shared(start_once: Start) -> Any:
    """One server for all tests that only send bad messages."""
    return start_once(Demo, "fast")


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_message_is_answered_400_and_the_connection_closed(
    shared: Any, name: str
) -> None:
    answers = shared.send(MALFORMED[name], answers=2)

    assert [answer.status for answer in answers] == [400]
    assert json.loads(answers[0].body)["code"] == "bad-request"
    assert answers[0].header("connection") == "close"


def test_a_malformed_message_behind_a_good_one_does_not_take_its_answer(start: Start) -> None:
    server = start(Demo, "fast")
    with server.connect() as connection:
        connection.sendall(request("/held", b'{"text":"good"}') + b"rubbish\r\n\r\n")
        assert instance_of(server).has_begun.wait(20)
        instance_of(server).gate.set()
        answers = server.read(connection, 3)

    assert [answer.status for answer in answers] == [200, 400]
    assert json.loads(answers[0].body) == "good"


@pytest.mark.parametrize("way", ["one line", "many lines", "target", "dripped"])
def test_a_head_of_more_than_32_kib_is_answered_431(shared: Any, way: str) -> None:
    long = b"a" * 40_000
    data = {
        "one line": b"GET /livez HTTP/1.1\r\n" + H + b"X: " + long + b"\r\n\r\n",
        "many lines": b"GET /livez HTTP/1.1\r\n" + H + b"X: aaaaaaaaaa\r\n" * 3000 + b"\r\n",
        "target": b"GET /" + long + b" HTTP/1.1\r\n" + H + b"\r\n",
        "dripped": b"GET /livez HTTP/1.1\r\n" + H + b"X: " + long,
    }[way]
    with shared.connect() as connection:
        for at in range(0, len(data), 5000):
            connection.sendall(data[at : at + 5000])
        answers = shared.read(connection, 2)

    assert [answer.status for answer in answers] == [431]


def test_a_head_of_almost_32_kib_is_answered(shared: Any) -> None:
    head = b"GET /livez HTTP/1.1\r\n" + H + b"X: " + b"a" * 32_000 + b"\r\n\r\n"

    assert shared.send(head)[0].status == 200


def test_trailers_do_not_become_headers(shared: Any) -> None:
    data = chunked("/echo", b'{"text":"x"}').replace(b"X-Request-Id: mine\r\n", b"")
    data = data[:-2] + b"X-Request-Id: smuggled\r\n\r\n"

    (answer,) = shared.send(data)

    assert answer.status == 200
    assert answer.header("x-request-id") != "smuggled"


# --- clients that stand still ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /echo HTTP/1.1\r\nHost: t", 408),
        (request("/echo", TEXT)[:-3], 408),
        (request("/echo?long", TEXT)[:-3], 408),
    ],
)
def test_a_request_that_does_not_arrive_in_time_is_answered_408(
    start: Start, monkeypatch: pytest.MonkeyPatch, sent: bytes, status: int
) -> None:
    from modelpack.server.http import connection

    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.2)
    monkeypatch.setattr(connection, "BODY_TIMEOUT_S", 0.2)
    server = start(Demo, "fast")

    answers = server.send(sent, answers=2)

    assert [answer.status for answer in answers] == [status]
    assert json.loads(answers[0].body)["code"] == "request-timeout"


def test_an_idle_connection_is_closed_after_its_keep_alive(start: Start, lane: str) -> None:
    server = start(Demo, lane, keep_alive_s=0.2)
    with server.connect() as connection:
        connection.sendall(request("/echo", TEXT))
        assert server.read(connection, 1)[0].status == 200
        assert connection.recv(1) == b""


# --- heads that were judged before ----------------------------------------------------------------


def plain_call(body: bytes, *headers: str) -> bytes:
    return request("/echo", body, *headers).replace(b"X-Request-Id: mine\r\n", b"")


def test_the_head_of_a_plain_call_is_judged_once(start: Start) -> None:
    server = start(Demo, "fast")
    with server.connect() as connection:
        for text in ("aa", "bb", "cc"):
            connection.sendall(plain_call(f'{{"text":"{text}"}}'.encode()))
            assert json.loads(server.read(connection, 1)[0].body) == text

    (head,) = server.server.front.known_heads
    assert head == plain_call(b'{"text":"aa"}').partition(b"{")[0]


@pytest.mark.parametrize(
    "data",
    [
        request("/echo", TEXT),  # its id is its own
        plain_call(TEXT, "Connection: close"),
        plain_call(TEXT, "Content-Type: text/plain"),
        plain_call(TEXT, "X: " + "x" * 3000),
        plain_call(TEXT).replace(b"/echo", b"/echo?a"),
        b"\r\n" + plain_call(TEXT),
    ],
)
def test_other_heads_are_judged_each_time(start: Start, data: bytes) -> None:
    server = start(Demo, "fast")

    server.send(data)

    assert server.server.front.known_heads == {}


def test_there_are_never_many_known_heads(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelpack.server.http import front

    monkeypatch.setattr(front, "MAX_KNOWN_HEADS", 3)
    server = start(Demo, "fast")
    for number in range(10):
        assert server.send(plain_call(TEXT, f"X: {number}"))[0].status == 200
        assert len(server.server.front.known_heads) <= 3


PIECES = {
    "whole": [plain_call(TEXT)],
    "two at once": [plain_call(TEXT) + plain_call(TEXT)],
    "one and a half": [plain_call(TEXT) + plain_call(TEXT)[:40], plain_call(TEXT)[40:]],
    "head and body": [plain_call(TEXT)[:-10], plain_call(TEXT)[-10:]],
    "body too short, then the rest": [plain_call(TEXT)[:-1], plain_call(TEXT)[-1:]],
    "a stray line end": [plain_call(TEXT) + b"\r\n", plain_call(TEXT)],
    "a stray carriage return": [plain_call(TEXT) + b"\r", plain_call(TEXT)],
    "two stray ends": [b"\r\n", b"\r", b"\n", plain_call(TEXT)],
    "rubbish behind": [plain_call(TEXT) + b"rubbish", b"\r\n\r\n"],
    "rubbish before": [b"rubbish" + plain_call(TEXT)],
    "another method": [plain_call(TEXT).replace(b"POST", b"PUT")],
    "another length": [plain_call(TEXT + b" ")],
    "a bad body": [plain_call(b"{" + TEXT[1:-1] + b"]")],
}


@pytest.mark.parametrize("name", PIECES)
def test_knowing_a_head_changes_no_verdict(start: Start, name: str) -> None:
    """The same pieces, on a connection that knows the head and on one of a server without memory."""
    outcomes = []
    for lane in ("fast", "asgi"):
        server = start(Demo, lane)
        with server.connect() as connection:
            connection.sendall(plain_call(TEXT))
            assert server.read(connection, 1)[0].status == 200
            for piece in PIECES[name]:
                connection.sendall(piece)
                time.sleep(0.02)  # so that each piece is read by itself
            connection.shutdown(socket.SHUT_WR)
            answers = server.read(connection, 5)
        outcomes.append([(answer.status, json.loads(answer.body)) for answer in answers])

    for one, other in zip(*outcomes, strict=True):
        for body in (one[1], other[1]):
            if isinstance(body, dict):
                body.pop("request_id")
        assert one == other


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
