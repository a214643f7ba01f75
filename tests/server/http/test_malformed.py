"""Messages that are no HTTP, or might be read in two ways: 400 and close, whatever the lane."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

import modelpack

Start = Callable[..., Any]


@modelpack.service
class Demo:
    gate = threading.Event()
    has_begun = threading.Event()

    @modelpack.api
    def echo(self, text: str) -> str:
        return text

    @modelpack.api
    def held(self, text: str) -> str:
        """Wait until the gate is open."""
        self.has_begun.set()
        self.gate.wait(20)
        return text


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
    good = b'{"text":"good"}'
    head = b"POST /held HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\n"
    with server.connect() as connection:
        connection.sendall(
            head + b"Content-Length: %d\r\n\r\n" % len(good) + good + b"rubbish\r\n\r\n"
        )
        assert Demo.has_begun.wait(20)
        Demo.gate.set()
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
    data = (
        b"POST /echo HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
        b'c\r\n{"text":"x"}\r\n0\r\nX-Request-Id: smuggled\r\n\r\n'
    )

    (answer,) = shared.send(data)

    assert answer.status == 200
    assert answer.header("x-request-id") != "smuggled"
