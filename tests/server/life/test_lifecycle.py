"""Real processes and real signals: nothing accepted is lost, and the end always comes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

import modelpack
from modelpack.errors import PortInUseError, UserCodeError
from modelpack.server.life.starting import serve

Start = Callable[..., Any]

SERVICE = """
import asyncio, sys, threading, time
import modelpack
from modelpack.config.settings import ServerSettings
from modelpack.sdk.service import spec_of
from modelpack.server import run

@modelpack.service
class Demo:
    def __init__(self):
        time.sleep({load_s})

    @modelpack.api(batch=True)
    def double(self, x: list[int]) -> list[int]:
        return [n * 2 for n in x]

    @modelpack.api
    def wait(self, s: float) -> float:
        time.sleep(s)
        return s

    @modelpack.api
    async def wait_async(self, s: float) -> float:
        await asyncio.sleep(s)
        return s

    @modelpack.api(batch=True)
    def block(self, x: modelpack.Tensor["float32", "batch"]) -> list[float]:
        # All arrays: it is tried at warm-up, proves fast, and runs on the event loop.
        if x[0] > 0:
            time.sleep(float(x[0]))
        return [float(v) for v in x]

    @modelpack.on_shutdown
    def bye(self):
        print("bye", flush=True)

settings = ServerSettings(port={port}, grace_s={grace_s})
sys.exit(run(spec_of(Demo), settings, tag="demo:1", on_ready=lambda url: print(url, flush=True)))
"""


class Process:
    """A served service in a process of its own."""

    def __init__(self, folder: Path, *, lane: str, **options: float) -> None:
        file = folder / "serve.py"
        file.write_text(SERVICE.format(**options))
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(file)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "MODELPACK_FAST_LANE": "1" if lane == "fast" else "0"},
            )
        self.url = ""

    def wait_ready(self) -> str:
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url, self.log.read_text()
        return self.url

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 20) -> int:
        return self.process.wait(seconds)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


Launch = Callable[..., Process]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    processes: list[Process] = []

    def begin(lane: str = "fast", **options: float) -> Process:
        options = {"grace_s": 10.0, "load_s": 0.0, "port": 0, **options}
        process = Process(tmp_path, lane=lane, **options)
        processes.append(process)
        if not options["load_s"]:
            process.wait_ready()
        return process

    yield begin
    for one in processes:
        one.process.kill()
        one.process.wait()
        if one.process.stdout is not None:
            one.process.stdout.close()


def post(path: str, body: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def read_one(connection: socket.socket) -> tuple[int, bool]:
    """Return the status of the next answer and whether it ends the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError("closed without an answer")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields[b"content-length"]):
        body += connection.recv(65536)
    return int(head.split()[1]), fields.get(b"connection") == b"close"


class Client(threading.Thread):
    """Asks one thing after the other until nobody listens any more."""

    def __init__(self, address: tuple[str, int], body: str, keeps: bool) -> None:
        super().__init__()
        self.address, self.request, self.keeps = address, post("/double", body), keeps
        self.statuses: list[int] = []
        self.failures: list[str] = []

    def run(self) -> None:
        connection: socket.socket | None = None
        while True:
            if connection is None:
                try:
                    connection = socket.create_connection(self.address, timeout=10)
                except ConnectionRefusedError:
                    return  # the server was told to stop and has stopped listening
                except OSError as error:
                    self.failures.append(f"connect: {error!r}")
                    return
            try:
                connection.sendall(self.request)
                status, is_last = read_one(connection)
            except OSError as error:
                self.failures.append(f"after {len(self.statuses)} answers: {error!r}")
                return
            self.statuses.append(status)
            if is_last or not self.keeps:
                connection.close()
                connection = None


@pytest.mark.parametrize("keeps", [True, False])
def test_sigterm_under_load_fails_no_request(launch: Launch, lane: str, keeps: bool) -> None:
    server = launch(lane)
    clients = [Client(server.address, f'{{"x":[{n}]}}', keeps) for n in range(12)]
    for client in clients:
        client.start()
    end = time.monotonic() + 20
    while min(len(c.statuses) for c in clients) < 20 and time.monotonic() < end:
        time.sleep(0.01)

    server.signal(signal.SIGTERM)
    status = server.wait()
    for client in clients:
        client.join(20)

    assert status == 0
    assert [client.failures for client in clients] == [[] for _ in clients]
    assert {s for client in clients for s in client.statuses} == {200}
    assert min(len(client.statuses) for client in clients) >= 20


def test_requests_that_nobody_has_read_yet_are_answered_too(launch: Launch, lane: str) -> None:
    """The kernel accepts for a process that does not run; then the signal is the first it sees."""
    server = launch(lane)
    kept = socket.create_connection(server.address, timeout=20)
    server.signal(signal.SIGSTOP)
    kept.sendall(post("/double", '{"x":[1]}'))
    fresh = [socket.create_connection(server.address, timeout=20) for _ in range(20)]
    for connection in fresh:
        connection.sendall(post("/double", '{"x":[2]}'))
    server.signal(signal.SIGTERM)
    server.signal(signal.SIGCONT)

    answers = [read_one(connection) for connection in (kept, *fresh)]
    for connection in (kept, *fresh):
        connection.close()

    assert answers == [(200, True)] * 21
    assert server.wait() == 0


@pytest.mark.parametrize("path", ["/wait", "/wait_async"])
def test_a_request_under_way_is_finished(launch: Launch, lane: str, path: str) -> None:
    server = launch(lane)
    with socket.create_connection(server.address, timeout=20) as connection:
        connection.sendall(post(path, '{"s":1.2}'))
        wait_for_flight(server.url)
        server.signal(signal.SIGTERM)
        answer = read_one(connection)

    assert answer == (200, True)
    assert server.wait() == 0
    assert server.process.stdout is not None
    assert server.process.stdout.read().strip() == "bye"
    assert [e["event"] for e in server.events()] == ["ready", "draining", "stopped"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_flight(url: str) -> None:
    """Return once a call is in flight."""
    end = time.monotonic() + 20
    with httpx.Client(base_url=url) as client:
        while time.monotonic() < end:
            page = client.get("/metrics", headers={"connection": "close"}).text
            if any(
                line.startswith("modelpack_in_flight_requests{") and not line.endswith(" 0.0")
                for line in page.splitlines()
            ):
                return
            time.sleep(0.01)
    raise AssertionError("no call was ever in flight")


def test_readiness_is_false_from_the_signal_on(launch: Launch) -> None:
    server = launch()
    with (
        socket.create_connection(server.address, timeout=20) as connection,
        httpx.Client(base_url=server.url) as client,
    ):
        assert client.get("/readyz").status_code == 200
        connection.sendall(post("/wait", '{"s":1.0}'))
        wait_for_flight(server.url)
        server.signal(signal.SIGTERM)
        seen = client.get("/readyz")
        while seen.status_code == 200:  # the signal may still be on its way
            seen = client.get("/readyz")
        assert seen.status_code == 503
        assert seen.json()["code"] == "unavailable"
        assert seen.headers["connection"] == "close"
        assert read_one(connection) == (200, True)


@pytest.mark.parametrize(("path", "body"), [("/wait", '{"s":60}'), ("/wait_async", '{"s":60}')])
def test_a_call_that_hangs_is_answered_503_at_the_end_of_the_grace_period(
    launch: Launch, lane: str, path: str, body: str
) -> None:
    server = launch(lane, grace_s=1.0)
    with socket.create_connection(server.address, timeout=20) as connection:
        connection.sendall(post(path, body))
        wait_for_flight(server.url)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        answer = read_one(connection)
        status = server.wait(5)

    assert answer == (503, True)
    assert status == 1
    assert time.monotonic() - began < 1.0 + 2.0 + 0.5


def test_a_service_that_blocks_the_event_loop_cannot_keep_the_process(launch: Launch) -> None:
    server = launch(grace_s=0.5)
    with socket.create_connection(server.address, timeout=20) as connection:
        connection.sendall(post("/block", '{"x":[60]}'))
        time.sleep(0.3)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        status = server.wait(10)

    assert status == 1
    assert time.monotonic() - began < 0.5 + 2.0 + 0.5


def test_sigint_ends_cleanly_and_a_second_one_at_once(launch: Launch) -> None:
    server = launch()
    server.signal(signal.SIGINT)
    assert server.wait() == 0

    server = launch(grace_s=30)
    with socket.create_connection(server.address, timeout=20) as connection:
        connection.sendall(post("/wait_async", '{"s":60}'))
        wait_for_flight(server.url)
        server.signal(signal.SIGINT)
        time.sleep(0.2)
        assert server.process.poll() is None
        server.signal(signal.SIGINT)
        assert server.wait(5) == 130


def test_a_signal_while_the_service_loads_ends_it(launch: Launch) -> None:
    port = free_port()
    server = launch(load_s=60, port=port)
    end = time.monotonic() + 20
    is_alive = False
    while not is_alive and time.monotonic() < end:
        with suppress(httpx.TransportError):
            is_alive = httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 200
    server.signal(signal.SIGTERM)

    assert is_alive
    assert server.wait(5) == 0


def test_an_idle_server_stops_at_once(launch: Launch) -> None:
    server = launch()
    began = time.monotonic()
    server.signal(signal.SIGTERM)

    assert server.wait() == 0
    assert time.monotonic() - began < 2.0


def test_until_it_is_warm_the_server_says_so(start: Start, tmp_path: Path) -> None:
    gate, answers = threading.Event(), {}

    @modelpack.service
    class Slow:
        def __init__(self) -> None:
            self.answers = answers
            with socket.create_connection(("127.0.0.1", int((tmp_path / "port").read_text())), timeout=10) as c:  # fmt: skip
                for path in ("/livez", "/readyz"):
                    c.sendall(f"GET {path} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
                    answers[path] = read_one(c)[0]
                c.sendall(post("/echo", '{"x":1}'))
                answers["/echo"] = read_one(c)[0]
            gate.set()

        @modelpack.api
        def echo(self, x: int) -> int:
            return x

    port = free_port()
    (tmp_path / "port").write_text(str(port))
    server = start(Slow, port=port)

    assert gate.is_set()
    assert answers == {"/livez": 200, "/readyz": 503, "/echo": 503}
    assert server.client.get("/readyz").status_code == 200


def test_a_service_that_cannot_be_made_is_said_and_the_port_is_free_again(start: Start) -> None:
    @modelpack.service
    class Broken:
        def __init__(self) -> None:
            raise ValueError("no weights")

        @modelpack.api
        def echo(self, x: int) -> int:
            return x

    port = free_port()
    with pytest.raises(
        UserCodeError, match="'Broken' failed as it was made: ValueError: no weights"
    ):
        start(Broken, port=port)
    with socket.socket() as again:
        again.bind(("127.0.0.1", port))


@pytest.mark.parametrize("is_async", [True, False])
def test_a_start_up_hook_that_fails_is_said(start: Start, is_async: bool) -> None:
    if is_async:

        @modelpack.service
        class Hooked:
            @modelpack.on_startup
            async def connect(self) -> None:
                raise OSError("no database")

            @modelpack.api
            def echo(self, x: int) -> int:
                return x
    else:

        @modelpack.service
        class Hooked:  # type: ignore[no-redef]
            @modelpack.on_startup
            def connect(self) -> None:
                raise OSError("no database")

            @modelpack.api
            def echo(self, x: int) -> int:
                return x

    with pytest.raises(UserCodeError, match="the hook 'connect' failed: OSError: no database"):
        start(Hooked)


def test_a_port_in_use_is_said_before_anything_is_loaded() -> None:
    made: list[int] = []

    @modelpack.service
    class Heavy:
        def __init__(self) -> None:
            made.append(1)

        @modelpack.api
        def echo(self, x: int) -> int:
            return x

    from modelpack.config.settings import ServerSettings
    from modelpack.sdk.service import spec_of

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(PortInUseError):
            serve(
                spec_of(Heavy),
                ServerSettings(port=other.getsockname()[1]),
                tag="",
                on_ready=None,
            )

    assert made == []
