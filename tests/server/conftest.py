"""Real servers over real sockets, with both ways a call can take.

lane            ``fast`` and ``asgi``: a test that takes it runs once for each
start(Service)  a server in a thread of its own; ``.url``, ``.send(bytes)``, ``.stop()``
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvloop

from modelpack.config.settings import ServerSettings
from modelpack.frameworks.source import Source
from modelpack.sdk.service import ServiceSpec, spec_of
from modelpack.server.http.listening import listen_on
from modelpack.server.life.lifecycle import Server

WAIT_S = 20.0


@pytest.fixture(params=["fast", "asgi"])
def lane(request: pytest.FixtureRequest) -> str:
    """The way that plain calls take."""
    way: str = request.param
    return way


@dataclass
class Running:
    """A server in a thread."""

    server: Server
    loop: asyncio.AbstractEventLoop
    port: int
    thread: threading.Thread
    outcome: dict[str, Any]
    clients: list[httpx.Client] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> httpx.Client:
        """A client that keeps its connections."""
        if not self.clients:
            self.clients.append(httpx.Client(base_url=self.url, timeout=WAIT_S))
        return self.clients[0]

    def fresh_client(self) -> httpx.Client:
        """A client of one's own, for a thread of one's own; to be closed."""
        return httpx.Client(base_url=self.url, timeout=WAIT_S)

    def post(self, path: str, body: object, **more: Any) -> httpx.Response:
        return self.client.post(path, json=body, **more)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)

    def send(self, data: bytes, *, answers: int = 1) -> list[Answer]:
        """Send bytes on a fresh connection; returns the answers, up to ``answers``."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_answers(connection, answers)

    def read(self, connection: socket.socket, count: int) -> list[Answer]:
        """Read answers from a connection; fewer when the server closes before."""
        return read_answers(connection, count)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Return as soon as something holds; fails when it never does."""
        end = time.monotonic() + WAIT_S
        while not holds():
            assert time.monotonic() < end, "it never came true"
            time.sleep(0.005)

    def on_loop(self, function: Callable[[], Any]) -> Any:
        """Call a function on the server's event loop and return what it returns."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(WAIT_S)

    def stop(self) -> int:
        """End the server; returns its exit status."""
        for client in self.clients:
            client.close()
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.server.stop)
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()
        status: int = self.outcome["status"]
        return status


@dataclass(frozen=True)
class Answer:
    """An answer as it stood on the wire."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)


def read_answers(connection: socket.socket, count: int) -> list[Answer]:
    """Read answers one after the other; fewer when the server closes before."""
    answers: list[Answer] = []
    with connection.makefile("rb") as file:
        while len(answers) < count and (answer := read_answer(file)) is not None:
            answers.append(answer)
    return answers


def read_answer(file: Any) -> Answer | None:
    status_line = file.readline()
    if not status_line:
        return None
    headers = []
    while (line := file.readline().rstrip(b"\r\n")) != b"":
        name, _, value = line.decode("latin-1").partition(": ")
        headers.append((name, value))
    fields = dict(headers)
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(file.readline() or b"0", 16):
            body += file.read(size)
            file.readline()
        file.readline()
    else:
        body = file.read(int(fields.get("content-length", 0)))
    return Answer(int(status_line.split()[1]), headers, body)


Start = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a server for a service's class or spec, and a lane; it is ready when this returns."""
    with starter() as begin:
        yield begin


@pytest.fixture(scope="module")
def start_once() -> Iterator[Start]:
    """As ``start``, for a server that all tests of a module share."""
    with starter() as begin:
        yield begin


@contextmanager
def starter() -> Iterator[Start]:
    running: list[Running] = []

    def begin(
        service: type | ServiceSpec,
        lane: str = "fast",
        source: Source | None = None,
        **settings: Any,
    ) -> Running:
        spec = service if isinstance(service, ServiceSpec) else spec_of(service)
        started = run_server(spec, lane, source, **settings)
        running.append(started)
        return started

    try:
        yield begin
    finally:
        statuses = [one.stop() for one in running]
    assert all(status in (0, 1) for status in statuses)


def run_server(
    spec: ServiceSpec, lane: str, source: Source | None = None, **settings: Any
) -> Running:
    chosen = ServerSettings(**{"port": 0, "grace_s": 5.0, "log_level": "error", **settings})
    listener = listen_on(chosen.host, chosen.port)
    is_ready, outcome, loops = threading.Event(), {}, []

    def work() -> None:
        try:
            with listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                loops.append(runner.get_loop())
                outcome["status"] = runner.run(server.run(lambda _: is_ready.set()))
        except BaseException as error:
            outcome["error"] = error
        finally:
            is_ready.set()

    server = Server(spec, chosen, listener, tag="test:1", source=source, fast_lane=lane == "fast")
    port = listener.getsockname()[1]
    thread = threading.Thread(target=work, name="server-under-test")
    thread.start()
    assert is_ready.wait(WAIT_S)
    if "error" in outcome:
        raise outcome["error"]
    return Running(server, loops[0], port, thread, outcome)
