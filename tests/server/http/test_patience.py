"""Clients that stand still, drip or do not read: each is ended, and nobody else is harmed."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import modelpack
from modelpack.server.http import patience

Start = Callable[..., Any]


@modelpack.service
class Demo:
    @modelpack.api
    def echo(self, text: str) -> str:
        return text

    @modelpack.api
    def long(self, size: int) -> str:
        return "x" * size

    @modelpack.api
    def endless(self) -> Iterator[str]:
        while True:
            yield "x" * 10_000


def call(path: str, body: bytes, *lines: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: t", "Content-Type: application/json", *lines]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


TEXT = b'{"text":"abc"}'
LONG = call("/echo", b'{"text":"%b"}' % (b"a" * 5000))


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /echo HTTP/1.1\r\nHost: t",
        call("/echo", TEXT)[:-3],
        call("/echo?long", TEXT)[:-3],
        call("/echo", TEXT).partition(b"{")[0],
    ],
    ids=["head", "body", "body in the application", "no body at all"],
)
def test_a_request_that_does_not_arrive_in_time_is_answered_408(
    start: Start, lane: str, sent: bytes
) -> None:
    server = start(Demo, lane, head_timeout_s=0.2, body_timeout_s=0.2)

    answers = server.send(sent, answers=2)

    assert [answer.status for answer in answers] == [408]
    assert json.loads(answers[0].body)["code"] == "request-timeout"
    assert answers[0].header("connection") == "close"


def test_so_is_one_whose_head_is_known(start: Start) -> None:
    """Its body comes past the parser, in pieces."""
    server = start(Demo, "fast", body_timeout_s=0.2)
    with server.connect() as connection:
        connection.sendall(LONG)
        assert server.read(connection, 1)[0].status == 200
        connection.sendall(LONG[:-10])
        answers = server.read(connection, 2)

    assert [answer.status for answer in answers] == [408]


@pytest.mark.parametrize("path", ["/echo", "/echo?long"])
def test_a_body_that_drips_is_ended_too(start: Start, path: str) -> None:
    """There is progress all the time, but a body of a few bytes a second holds its place for days."""
    server = start(Demo, "fast", body_timeout_s=0.3)
    with server.connect() as connection:
        connection.settimeout(0.05)
        connection.sendall(call(path, b"x" * 5000)[:-4900])
        end, answer = time.monotonic() + 20, b""
        while not answer and time.monotonic() < end:
            try:
                answer = connection.recv(1000)
            except TimeoutError:
                connection.sendall(b"x")

    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_head_that_drips_is_ended(start: Start) -> None:
    server = start(Demo, "fast", head_timeout_s=0.3)
    with server.connect() as connection:
        connection.settimeout(0.05)
        connection.sendall(b"POST /echo HTTP/1.1\r\nX: ")
        end, answer = time.monotonic() + 20, b""
        while not answer and time.monotonic() < end:
            try:
                answer = connection.recv(1000)
            except TimeoutError:
                connection.sendall(b"x")

    assert answer.startswith(b"HTTP/1.1 408 ")


def test_many_dripping_clients_do_not_harm_a_good_one(start: Start) -> None:
    server = start(Demo, "fast", head_timeout_s=0.3)
    drips = [server.connect() for _ in range(200)]
    for drip in drips:
        drip.sendall(b"POST /echo HTTP/1.1\r\nHost")
    assert server.post("/echo", {"text": "good"}).json() == "good"

    answers = [server.read(drip, 2) for drip in drips]
    for drip in drips:
        drip.close()

    assert [[answer.status for answer in one] for one in answers] == [[408]] * 200
    assert server.post("/echo", {"text": "still good"}).json() == "still good"


def test_an_idle_connection_is_closed_after_its_keep_alive(start: Start, lane: str) -> None:
    server = start(Demo, lane, keep_alive_s=0.2)
    with server.connect() as connection:
        connection.sendall(call("/echo", TEXT))
        assert server.read(connection, 1)[0].status == 200
        assert connection.recv(1) == b""


def test_a_connection_in_use_is_not(start: Start, lane: str) -> None:
    """Its time begins anew with each answer, and no timer of the one before is left behind."""
    server = start(Demo, lane, keep_alive_s=1.0)
    with server.connect() as connection:
        for _ in range(12):
            connection.sendall(call("/echo", TEXT))
            assert server.read(connection, 1)[0].status == 200
            time.sleep(0.2)


def test_a_connection_that_is_reset_leaves_no_timer_behind(start: Start, lane: str) -> None:
    """uvicorn's own class sets one for each idle connection, and forgets it when a reset comes."""
    server = start(Demo, lane)
    with server.connect() as connection:
        connection.sendall(call("/echo", TEXT))
        assert server.read(connection, 1)[0].status == 200
        (found,) = server.server._state.connections
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.wait_until(lambda: not server.server._state.connections)

    assert found.timeout_keep_alive_task is None


# --- clients that do not read ---------------------------------------------------------------------


def greedy(server: Any) -> socket.socket:
    """Connect with as little room for answers as there can be."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    connection.connect(("127.0.0.1", server.port))
    connection.settimeout(20)
    return connection


def buffered(server: Any) -> int:
    """Return how many bytes of answers the server keeps for clients."""

    def count() -> int:
        connections = server.server._state.connections
        return sum(one.transport.get_write_buffer_size() for one in connections)

    size: int = server.on_loop(count)
    return size


def test_who_sends_and_never_reads_is_not_read_either(start: Start, lane: str) -> None:
    """What we keep for it stays bounded, however much it asks for."""
    server = start(Demo, lane)
    one = call("/long", b'{"size":100000}')
    with greedy(server) as connection:
        connection.settimeout(1.0)
        with pytest.raises(TimeoutError):
            for _ in range(10_000):
                connection.sendall(one * 100)
        size = buffered(server)
        (found,) = server.server._state.connections

        assert 0 < size < 1_000_000
        assert len(found.pipeline) <= 256
        connection.settimeout(20)
        # With so little room the kernel itself would take minutes for the answers.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
        assert [a.status for a in server.read(connection, 50)] == [200] * 50


def test_too_many_requests_in_a_row_are_refused_behind_their_answers(
    start: Start, lane: str
) -> None:
    server = start(Demo, lane)
    with server.connect() as connection:
        server.wait_until(lambda: server.server._state.connections)
        (found,) = server.server._state.connections
        server.on_loop(lambda: found.data_received(call("/echo", TEXT) * 1000))  # in one piece
        statuses = [answer.status for answer in server.read(connection, 1000)]

    assert statuses == [200] * 257 + [429]


def test_a_stream_waits_for_its_reader(start: Start) -> None:
    server = start(Demo, "fast")
    with greedy(server) as connection:
        connection.sendall(call("/endless", b"{}"))
        server.wait_until(lambda: buffered(server) > 0)
        time.sleep(0.3)

        assert buffered(server) < 300_000


@pytest.mark.parametrize("path", ["/long", "/long?long", "/endless"])
def test_who_takes_nothing_of_its_answer_is_cut_off(
    start: Start, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(patience, "STALL_S", 1.5)
    server = start(Demo, "fast")
    body = b"{}" if path == "/endless" else b'{"size":9000000}'
    with greedy(server) as connection:
        connection.sendall(call(path, body, "Connection: close"))
        server.wait_until(lambda: buffered(server) > 0)
        server.wait_until(lambda: not server.server._state.connections)

    assert server.post("/echo", {"text": "next"}).json() == "next"


def test_who_takes_it_slowly_is_not(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "STALL_S", 1.5)
    server = start(Demo, "fast")
    size = 8_000_000
    with greedy(server) as connection:
        connection.sendall(call("/long", b'{"size":%d}' % size, "Connection: close"))
        got = 0
        for _ in range(8):
            time.sleep(0.5)
            got += len(connection.recv(200_000))
        while piece := connection.recv(1_000_000):
            got += len(piece)

    assert got > size
