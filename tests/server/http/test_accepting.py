"""Connections wait while there is no room: for a place, or for a descriptor."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import modelpack
from modelpack.server.http import accepting, descriptors
from modelpack.server.http.descriptors import room_for_connections
from modelpack.server.http.sharing import Share

Start = Callable[..., Any]


@modelpack.service
class Demo:
    @modelpack.api
    def echo(self, text: str) -> str:
        return text


TEXT = b'{"text":"abc"}'
CALL = (
    b"POST /echo HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(TEXT), TEXT)
)


def answers(server: Any, connection: socket.socket) -> bool:
    """Say whether a connection gets an answer to its call."""
    connection.sendall(CALL)
    return bool(server.read(connection, 1)[0].status == 200)


def is_silent(connection: socket.socket) -> bool:
    """Say whether nothing comes on a connection for a while."""
    connection.settimeout(0.3)
    try:
        return connection.recv(1, socket.MSG_PEEK) is None  # else there is something, or the end
    except TimeoutError:
        return True
    finally:
        connection.settimeout(20)


# --- a cap ----------------------------------------------------------------------------------------


def test_beyond_the_cap_connections_wait_and_none_is_lost(start: Start, lane: str) -> None:
    server = start(Demo, lane, max_connections=3)
    first = [server.connect() for _ in range(3)]
    assert all(answers(server, one) for one in first)
    waiting = [server.connect() for _ in range(5)]
    for one in waiting:
        one.sendall(CALL)
    assert all(is_silent(one) for one in waiting)

    for leaving, coming in zip([*first, *waiting], waiting, strict=False):
        leaving.close()
        assert server.read(coming, 1)[0].status == 200
    for one in waiting:
        one.close()


def test_the_cap_holds_under_a_crowd(start: Start) -> None:
    server = start(Demo, max_connections=4)
    crowd = [server.connect() for _ in range(40)]
    for one in crowd:
        one.sendall(CALL.replace(b"Host: t", b"Host: t\r\nConnection: close"))
    most = 0
    for one in crowd:
        most = max(most, len(server.server._state.connections))
        assert server.read(one, 1)[0].status == 200
        one.close()

    assert most <= 4


def test_idle_connections_make_room_sooner_when_others_wait(start: Start) -> None:
    """Else whoever opens connections and says nothing would keep everybody else out."""
    server = start(Demo, max_connections=2, keep_alive_s=60)
    idle = [server.connect() for _ in range(2)]
    server.wait_until(lambda: len(server.server._state.connections) == 2)
    with server.connect() as connection:
        assert answers(server, connection)
    for one in idle:
        one.close()


def test_a_full_server_ends_in_time_and_answers_those_who_waited(start: Start) -> None:
    server = start(Demo, max_connections=1)
    with server.connect() as first, server.connect() as second:
        assert answers(server, first)
        second.sendall(CALL)
        server.loop.call_soon_threadsafe(server.server.stop)
        first.sendall(CALL)

        assert server.read(first, 1)[0].header("connection") == "close"
        assert server.read(second, 1)[0].status == 200
    assert server.stop() == 0


# --- descriptors ----------------------------------------------------------------------------------


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Let every further ``accept`` of this process fail meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        yield
    finally:
        for one in held:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_out_of_descriptors_accepting_rests_and_goes_on(start: Start) -> None:
    server = start(Demo)
    clients = [socket.socket() for _ in range(3)]
    for one in clients:
        one.settimeout(20)
    with no_descriptor_left():
        for one in clients:
            one.connect(("127.0.0.1", server.port))
            one.sendall(CALL)
        assert all(is_silent(one) for one in clients)
        before = time.process_time()
        time.sleep(0.5)
        busy_s = time.process_time() - before

    assert [server.read(one, 1)[0].status for one in clients] == [200] * 3
    assert busy_s < 0.25  # it does not spin
    for one in clients:
        one.close()


def test_without_a_cap_the_limit_on_descriptors_is_one() -> None:
    program = (
        "import resource, sys\n"
        "from modelpack.server.http.descriptors import raise_limit, room_for_connections\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))\n"
        "small = room_for_connections()\n"
        "raise_limit()\n"
        "print(small, room_for_connections(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    small, large, limit = map(int, done.stdout.split())

    assert 16 < small < 64
    assert 256 < large < 512
    assert limit == 512


def test_there_is_always_room_for_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "open_count", lambda: 10_000_000)

    assert room_for_connections() >= 4


def test_waiting_is_said_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(accepting, "event", lambda name, **fields: said.append((name, fields)))
    server = start(Demo, max_connections=1)
    for _ in range(5):
        with server.connect() as one, server.connect() as other:
            assert answers(server, one)
            one.close()
            assert answers(server, other)

    assert [(name, fields["connections"]) for name, fields in said] == [("connections-wait", 1)]


# --- several processes on one socket --------------------------------------------------------------


def test_each_process_knows_whether_it_is_ahead() -> None:
    descriptor = Share.create(3)
    one, two = Share(descriptor, 0), Share(descriptor, 1)
    os.close(descriptor)

    one.tell(5)
    two.tell(3)

    assert one.is_ahead(5)
    assert not two.is_ahead(3)
    assert two.is_ahead(6)
    two.leave()
    assert not one.is_ahead(5)


WORKER = """
import asyncio, json, os, socket, sys
import uvloop
from modelpack.server.http.accepting import Acceptor
from modelpack.server.http.sharing import Share

connections = set()

class Counting(asyncio.Protocol):
    def connection_made(self, transport):
        connections.add(self)
        transport.write(b"%d" % os.getpid())

async def main(listener, share, index):
    listener = socket.socket(fileno=listener)
    acceptor = Acceptor(listener, Counting, asyncio.get_running_loop(), None, 0,
                        connections=connections, share=Share(share, index))
    acceptor.start()
    print("ready", flush=True)
    await asyncio.sleep(60)

uvloop.run(main(*map(int, sys.argv[1:])))
"""


@pytest.mark.parametrize("pause_s", [0.0, 0.002])
def test_no_process_takes_all_connections(pause_s: float) -> None:
    """Without counting, one of four took up to three quarters of them, and another none."""
    processes, wanted = 3, 60
    share = Share.create(processes)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        given = (listener.fileno(), share)
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, *map(str, given), str(index)],
                pass_fds=given,
                stdout=subprocess.PIPE,
            )
            for index in range(processes)
        ]
        try:
            for worker in workers:
                assert worker.stdout is not None
                assert worker.stdout.readline() == b"ready\n"
            counts: dict[bytes, int] = {}
            clients = []
            for _ in range(wanted):
                clients.append(socket.create_connection(listener.getsockname(), timeout=20))
                time.sleep(pause_s)
            for client in clients:
                pid = client.recv(20)
                counts[pid] = counts.get(pid, 0) + 1
                client.close()
        finally:
            for worker in workers:
                worker.kill()
                worker.communicate()
            os.close(share)

    assert len(counts) == processes
    assert sum(counts.values()) == wanted
    assert max(counts.values()) <= wanted * 0.6
