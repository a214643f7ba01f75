"""Heads that were judged before: what is recognised, and that it changes no verdict."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelpack
from modelpack.config.settings import ServerSettings
from modelpack.sdk.service import spec_of
from modelpack.server.endpoint import Endpoint
from modelpack.server.http import connection as connection_module
from modelpack.server.http import known as known_module
from modelpack.server.http.known import KnownHead, KnownHeads

Start = Callable[..., Any]


@modelpack.service
class Demo:
    @modelpack.api
    def echo(self, text: str) -> str:
        return text

    @modelpack.api
    def size(self, text: str) -> int:
        return len(text)


ENDPOINT = Endpoint(spec_of(Demo).apis[0], ServerSettings())
ROUTES = {b"/echo": ENDPOINT}
ASKED = ENDPOINT.asked({b"content-type": b"application/json"})
TEXT = b'{"text":"abc"}'


def head(*lines: str, length: object = 14, path: str = "/echo") -> bytes:
    first = (f"POST {path} HTTP/1.1", "Host: t", "Content-Type: application/json")
    return "\r\n".join([*first, f"Content-Length: {length}", *lines, "", ""]).encode()


def call(body: bytes, *lines: str, **more: Any) -> bytes:
    return head(*lines, length=len(body), **more) + body


def remember(heads: KnownHeads, data: bytes) -> KnownHead | None:
    return heads.remember(data, ENDPOINT, ASKED, ROUTES)


# --- a head with holes ----------------------------------------------------------------------------


def test_a_head_is_known_whatever_its_length_says() -> None:
    heads = KnownHeads()
    known = remember(heads, head(length=14))

    data = head(length=123456) + b"the body"

    assert known is not None
    assert heads.find(data) is known
    assert known.read(data) == (len(data) - 8, 123456, None)


@pytest.mark.parametrize("name", ["X-Request-Id", "x-request-id", "X-REQUEST-ID"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_request_id_may_differ_each_time(name: str, is_first: bool) -> None:
    def with_id(value: str) -> bytes:
        line = f"{name}: {value}"
        if is_first:
            return head().replace(b"Host:", f"{line}\r\nHost:".encode())
        return head(line)

    heads = KnownHeads()
    known = remember(heads, with_id("first"))

    assert known is not None
    assert heads.find(with_id("another-1")) is known
    assert known.read(with_id("another-1")) == (len(with_id("another-1")), 14, b"another-1")


def test_so_may_the_parent_of_a_trace_unless_it_matters() -> None:
    one, other = (head(f"traceparent: 00-{n * 32}-{n * 16}-01") for n in "12")
    heads, traced = KnownHeads(), KnownHeads(is_traced=True)
    known = remember(heads, one)
    remember(traced, one)

    assert heads.find(other) is known
    assert traced.find(one) is not None
    assert traced.find(other) is None


@pytest.mark.parametrize(
    "value", ["", "+1", "-1", "1 ", " 1", "1,1", "0x1", "1e3", "1_0", "９", "1\x0b", "1" * 19]
)
def test_a_length_that_is_no_number_is_not_read(value: str) -> None:
    heads = KnownHeads()
    known = remember(heads, head())

    assert known is not None
    assert known.read(head(length=value)) is None
    assert remember(KnownHeads(), head(length=value)) is None


@pytest.mark.parametrize("value", ["", "two words", "caf\xe9", "a" * 129, "a\tb", "a\0b", "a\nb"])
def test_an_id_that_is_not_sane_is_not_read(value: str) -> None:
    known = remember(KnownHeads(), head("X-Request-Id: sane"))

    assert known is not None
    assert known.read(head(f"X-Request-Id: {value}")) is None


@given(
    at=st.integers(0, len(head()) - 1),
    byte=st.integers(0, 255),
    how=st.sampled_from(["set", "cut", "add"]),
)
def test_any_other_byte_makes_another_head(at: int, byte: int, how: str) -> None:
    """But for digits in the place of digits, nothing may be changed, taken away or added."""
    heads = KnownHeads()
    known = remember(heads, head())
    assert known is not None
    data, one = head(), bytes([byte])
    changed = {
        "set": data[:at] + one + data[at + 1 :],
        "cut": data[:at] + data[at + 1 :],
        "add": data[:at] + one + data[at:],
    }[how]

    found = heads.find(changed)
    seen = known.read(changed)

    assert (found and found.read(changed)) == seen
    if seen is not None:
        end, _, _ = seen
        digits = changed.partition(b"Length: ")[2].partition(b"\r")[0]
        assert digits.isdigit()
        assert changed[:end] == head(length=digits.decode())


def test_a_head_with_two_lengths_or_none_is_not_kept() -> None:
    heads = KnownHeads()

    assert remember(heads, head("Content-Length: 14")) is None
    assert remember(heads, head().replace(b"Content-Length: 14\r\n", b"")) is None
    assert remember(heads, head("X-Request-Id: a", "x-request-id: b")) is None
    assert len(heads) == 0


def test_a_long_head_is_not_kept() -> None:
    heads = KnownHeads()

    assert remember(heads, head("X: " + "x" * 3000)) is None
    assert heads.find(head("X: " + "x" * 3000)) is None


def test_heads_that_come_once_do_not_drive_out_those_that_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known_module, "MAX_KNOWN_HEADS", 10)
    heads = KnownHeads()
    known = remember(heads, head())
    for number in range(1000):
        remember(heads, head(f"X: {number}"))
        if number % 5 == 0:
            assert heads.find(head()) is known
        assert len(heads) <= 20

    for number in range(100):
        remember(heads, head(f"Y: {number}"))
    assert heads.find(head()) is None


# --- a server that knows heads --------------------------------------------------------------------


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets an entry for every head that is parsed and judged."""
    counted: list[int] = []
    check = connection_module.check_head

    def counting(*args: Any) -> Any:
        counted.append(1)
        return check(*args)

    monkeypatch.setattr(connection_module, "check_head", counting)
    return counted


def answers_of(server: Any, *pieces: bytes) -> list[Any]:
    """Return all answers until the connection is closed, the last being to a request of our own."""
    with server.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (*pieces, call(b'{"text":"last"}', "Connection: close")):
            connection.sendall(piece)
            time.sleep(0.02)  # so that each piece is read by itself
        answers = server.read(connection, 100)
    return [json.loads(answer.body) for answer in answers]


def test_the_head_of_a_plain_call_is_judged_once(start: Start, judged: list[int]) -> None:
    server = start(Demo, "fast")
    with server.connect() as connection:
        for number in range(20):
            text = "x" * number
            connection.sendall(call(f'{{"text":"{text}"}}'.encode()))
            assert json.loads(server.read(connection, 1)[0].body) == text
    server.send(call(TEXT))

    assert len(judged) == 1
    assert len(server.server.front.known_heads) == 1


def test_so_is_one_with_an_id_of_its_own(start: Start, judged: list[int]) -> None:
    server = start(Demo, "fast")
    with server.connect() as connection:
        for number in range(5):
            connection.sendall(call(TEXT, f"X-Request-Id: id-{number}"))
            (answer,) = server.read(connection, 1)
            assert answer.header("x-request-id") == f"id-{number}"

    assert len(judged) == 1


def test_a_client_may_use_two_apis_in_turns(start: Start, judged: list[int]) -> None:
    server = start(Demo, "fast")
    with server.connect() as connection:
        for number in range(10):
            body = f'{{"text":"{"x" * number}"}}'.encode()
            connection.sendall(call(body))
            assert json.loads(server.read(connection, 1)[0].body) == "x" * number
            connection.sendall(call(body, path="/size"))
            assert json.loads(server.read(connection, 1)[0].body) == number

    assert len(judged) == 2


def test_a_body_in_pieces_does_not_ask_the_parser(start: Start, judged: list[int]) -> None:
    server = start(Demo, "fast")
    text = "x" * 300_000
    body = f'{{"text":"{text}"}}'.encode()
    with server.connect() as connection:
        for _ in range(3):
            connection.sendall(head(length=len(body)))
            for at in range(0, len(body), 50_000):
                connection.sendall(body[at : at + 50_000])
            assert json.loads(server.read(connection, 1)[0].body) == text

    assert len(judged) == 1


def test_a_client_that_leaves_in_the_middle_of_a_body_leaves_nothing_behind(start: Start) -> None:
    server = start(Demo, "fast")
    with server.connect() as connection:
        connection.sendall(call(TEXT))
        assert server.read(connection, 1)[0].status == 200
        connection.sendall(call(TEXT)[:-5])
        time.sleep(0.05)
    server.wait_until(lambda: not server.server._state.connections)

    echo = next(e for e in server.server.endpoints if e.api.name == "echo")
    assert echo.stats.in_flight == 0


def test_a_known_head_may_still_announce_too_much(start: Start) -> None:
    server = start(Demo, "fast", max_body_bytes=100)

    answers = answers_of(server, call(TEXT), head(length=101) + b"x")

    assert [a if isinstance(a, str) else a["code"] for a in answers] == ["abc", "body-too-large"]


def test_heads_are_forgotten_when_the_routes_change(start: Start) -> None:
    """Else a client that keeps its connection would never see a new version of the service."""
    server = start(Demo, "fast")
    front = server.server.front
    size = front.fast[b"/size"]
    with server.connect() as connection:
        for answer in (b'"abc"', b"3"):
            for _ in range(3):
                connection.sendall(call(TEXT))
                assert server.read(connection, 1)[0].body == answer
            front.fast = {b"/echo": size}


def test_an_idle_connection_keeps_no_version_alive(start: Start) -> None:
    """Its memory may be that of a large model."""
    server = start(Demo, "fast")
    front = server.server.front
    for path in ("/echo", "/echo?long"):
        with server.connect() as connection:
            connection.sendall(call(TEXT, path=path))
            assert server.read(connection, 1)[0].status == 200
            (found,) = front.state.connections
            server.on_loop(front.forget)

            assert found.cycle is None
            assert found._known is None
            connection.sendall(call(TEXT, path=path))
            assert server.read(connection, 1)[0].body == b'"abc"'
        server.wait_until(lambda: not front.state.connections)


@pytest.mark.parametrize(
    "data",
    [
        call(TEXT, "Connection: close"),
        call(TEXT, "X: " + "x" * 3000),
        call(TEXT, "Expect: 100-continue"),
        call(TEXT, path="/echo?a"),
        call(TEXT).replace(b"application/json", b"text/plain"),
        b"\r\n" + call(TEXT),
    ],
)
def test_other_heads_are_judged_each_time(start: Start, data: bytes) -> None:
    server = start(Demo, "fast")

    server.send(data)

    assert len(server.server.front.known_heads) == 0


BIG = b'{"text":"' + b"x" * 5000 + b'"}'

PIECES = {
    "whole": [call(TEXT)],
    "longer": [call(BIG)],
    "two at once": [call(TEXT) + call(BIG)],
    "one and a half": [call(TEXT) + call(TEXT)[:40], call(TEXT)[40:]],
    "head and body": [call(TEXT)[:-14], TEXT],
    "body in pieces": [call(BIG)[:-4000], BIG[-4000:-100], BIG[-100:]],
    "body in pieces, then another": [call(BIG)[:-4000], BIG[-4000:] + call(TEXT)],
    "body in pieces, then half of another": [
        call(BIG)[:-4000], BIG[-4000:] + call(TEXT)[:-3], TEXT[-3:] + call(TEXT)],
    "body in pieces, then rubbish": [call(BIG)[:-4000], BIG[-4000:] + b"rubbish\r\n\r\n"],
    "body too short, then the rest": [call(TEXT)[:-1], call(TEXT)[-1:]],
    "with an id": [call(TEXT, "X-Request-Id: a"), call(TEXT, "X-Request-Id: b")],
    "with a bad id": [call(TEXT, "X-Request-Id: a"), call(TEXT, "X-Request-Id: \xe9")],
    "with two ids": [call(TEXT, "X-Request-Id: a"), call(TEXT, "X-Request-Id: a\r\nX-Request-Id: b")],
    "a deadline": [call(TEXT, "X-Request-Timeout-Ms: 5000")] * 2,
    "a bad deadline": [call(TEXT, "X-Request-Timeout-Ms: soon")] * 2,
    "a priority": [call(TEXT, "Modelpack-Priority: low")] * 2,
    "a bad priority": [call(TEXT, "Modelpack-Priority: top"), call(TEXT)],
    "a length with zeros": [head(length="00014") + TEXT],
    "a length with a sign": [head(length="+14") + TEXT],
    "a stray line end": [call(TEXT) + b"\r\n", call(TEXT)],
    "a stray carriage return": [call(TEXT) + b"\r", call(TEXT)],
    "two stray ends": [b"\r\n", b"\r", b"\n", call(TEXT)],
    "rubbish behind": [call(TEXT) + b"rubbish", b"\r\n\r\n"],
    "rubbish before": [b"rubbish" + call(TEXT)],
    "another method": [call(TEXT).replace(b"POST", b"PUT")],
    "a bad body": [call(b"{" + TEXT[1:-1] + b"]")],
    "chunked between": [
        b"POST /echo HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\ne\r\n" + TEXT + b"\r\n0\r\n\r\n", call(TEXT), call(BIG)],
}  # fmt: skip


@pytest.mark.parametrize("name", PIECES)
def test_knowing_a_head_changes_no_verdict(start: Start, name: str) -> None:
    """The same pieces, on a connection that knows the head and on one of a server without memory."""
    outcomes = []
    for lane in ("fast", "asgi"):
        server = start(Demo, lane)
        outcomes.append(answers_of(server, call(TEXT), *PIECES[name]))

    for one, other in zip(*outcomes, strict=True):
        for body in (one, other):
            if isinstance(body, dict):
                body.pop("request_id")
        assert one == other
    assert outcomes[0][0] == "abc"
