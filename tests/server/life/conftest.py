"""Real servers in processes of their own, and clients that count what they lose.

project(text)          a folder with a service.py
launch(folder, …)      a server for it: ``.url``, ``.admin(…)``, ``.signal(…)``, ``.wait()``
load(url, path, body)  clients that ask without a pause, until told to stop
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

WAIT_S = 30.0

PROGRAM = """
import json, sys
from modelpack.config.settings import ServerSettings
from modelpack.errors import ModelpackError
from modelpack.frameworks.source import Source
from modelpack.server import run

given = json.loads(sys.argv[1])
try:
    status = run(
        None,
        ServerSettings(**given["settings"]),
        tag=given["tag"],
        source=Source(*given["source"]),
        on_ready=lambda url: print(url, flush=True),
    )
except ModelpackError as error:
    print(f"error[{error.code}]: {error.message}", file=sys.stderr)
    status = error.exit_code
sys.exit(status)
"""

DOUBLER = """
import asyncio, os, time
import modelpack

FACTOR = {factor}

@modelpack.service
class Doubler:
    @modelpack.api(batch=True)
    def double(self, x: list[int]) -> list[int]:
        return [n * FACTOR for n in x]

    @modelpack.api
    def pid(self, s: float = 0.0) -> int:
        time.sleep(s)
        return os.getpid()

    @modelpack.api
    def wait(self, s: float) -> float:
        time.sleep(s)
        return s

    @modelpack.api
    async def count(self, n: int, s: float):
        for i in range(n):
            yield [FACTOR, i]
            await asyncio.sleep(s)
"""


def post(path: str, body: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def read_answer(connection: socket.socket) -> tuple[int, bytes, bool]:
    """Return status and body of the next answer, and whether it ends the connection."""
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
    return int(head.split()[1]), body, fields.get(b"connection") == b"close"


@dataclass
class Served:
    """A server in a process of its own, which leads a process group."""

    process: subprocess.Popen[str]
    log: Path
    socket: Path
    url: str = ""

    def wait_ready(self) -> Served:
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url, self.log.read_text()
        return self

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=WAIT_S)

    def post(self, path: str, body: object) -> Any:
        """Ask on a connection of its own; returns the answer, or the problem."""
        with self.connect() as connection:
            connection.sendall(post(path, json.dumps(body)))
            return json.loads(read_answer(connection)[1])

    def pids(self, count: int = 8) -> set[int]:
        """Return the processes that run methods, as many calls being made at once."""
        with ExitStack() as stack:
            connections = [stack.enter_context(self.connect()) for _ in range(count)]
            for connection in connections:
                connection.sendall(post("/pid", '{"s":0.1}'))
            answers = [read_answer(connection) for connection in connections]
        assert {status for status, _, _ in answers} == {200}, answers
        return {int(body) for _, body, _ in answers}

    def get(self, path: str) -> tuple[int, str]:
        with self.connect() as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            status, body, _ = read_answer(connection)
            return status, body.decode()

    def metric(self, name: str) -> float:
        """Return the sum of the lines of the page that begin so."""
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def admin(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Speak to the admin socket."""
        connection = _UnixConnection(self.socket)
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text)
        answer = connection.getresponse()
        value = json.loads(answer.read())
        connection.close()
        return answer.status, value

    def workers(self, state: str = "ready") -> list[int]:
        """Return the processes in that state."""
        found = self.admin("GET", "/status")[1]["workers"]
        return [one["pid"] for one in found if one["state"] == state]

    def signal(self, number: int, *, group: bool = False) -> None:
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def wait(self, seconds: float = WAIT_S) -> int:
        return self.process.wait(seconds)

    def events(self, name: str) -> list[dict[str, Any]]:
        found = [json.loads(one) for one in self.log.read_text().splitlines() if one[:1] == "{"]
        return [one for one in found if one["event"] == name]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=WAIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(WAIT_S)
        folder = os.open(self._path.parent, os.O_PATH)
        self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        os.close(folder)


@dataclass
class Client(threading.Thread):
    """Asks the same again and again; keeps its connection as long as it may."""

    address: tuple[str, int]
    request: bytes
    keeps: bool
    pause_s: float = 0.0
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        connection: socket.socket | None = None
        while not self.is_over.is_set():
            try:
                if connection is None:
                    connection = socket.create_connection(self.address, timeout=WAIT_S)
            except ConnectionRefusedError:
                break  # the server was told to stop and has stopped listening
            except OSError as error:
                self.failures.append(f"connect: {error!r}")
                break
            try:
                connection.sendall(self.request)
                status, body, is_last = read_answer(connection)
            except OSError as error:
                self.failures.append(f"after {len(self.answers)} answers: {error!r}")
                break
            self.answers.append((status, body))
            if is_last or not self.keeps:
                connection.close()
                connection = None
            if self.pause_s:
                time.sleep(self.pause_s)
        if connection is not None:
            connection.close()


class Load:
    """Several clients at once."""

    def __init__(self, clients: list[Client]) -> None:
        self.clients = clients
        for client in clients:
            client.start()

    def wait_for(self, answers: int) -> None:
        """Return when every client has that many more answers; fails when one has none."""
        goals = [len(client.answers) + answers for client in self.clients]
        wait_until(
            lambda: all(
                len(client.answers) >= goal or client.failures
                for client, goal in zip(self.clients, goals, strict=True)
            )
        )

    def stop(self) -> list[tuple[int, bytes]]:
        """End it; returns every answer.  Fails when a request had none."""
        for client in self.clients:
            client.is_over.set()
        for client in self.clients:
            client.join(WAIT_S)
        assert [client.failures for client in self.clients] == [[] for _ in self.clients]
        return [answer for client in self.clients for answer in client.answers]


def wait_until(holds: Callable[[], bool], seconds: float = WAIT_S) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


# As with any user, bytecode of the service's modules is written beside them.
_ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

Launch = Callable[..., Served]


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def wire() -> tuple[
    Callable[[str, str], bytes], Callable[[socket.socket], tuple[int, bytes, bool]]
]:
    """What makes the bytes of a request, and what reads an answer."""
    return post, read_answer


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Write a service.py; returns its folder."""

    def write(text: str = DOUBLER.format(factor=2), name: str = "project") -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "service.py").write_text(text)
        return folder

    return write


@pytest.fixture
def doubler() -> Callable[[int], str]:
    """Return the text of the service with another factor."""
    return lambda factor: DOUBLER.format(factor=factor)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Start a server; it is ready when this returns, unless ``ready=False``."""
    started: list[Served] = []

    def begin(
        folder: Path,
        *,
        ready: bool = True,
        source: tuple[str, str, str] | None = None,
        env: dict[str, str] | None = None,
        **settings: Any,
    ) -> Served:
        number = len(started)
        admin = tmp_path / f"admin-{number}.sock"
        chosen = {"port": 0, "grace_s": 10.0, "admin_socket": str(admin), **settings}
        given = {
            "settings": chosen,
            "tag": "doubler:1",
            "source": source or ("code", "", str(folder)),
        }
        log = tmp_path / f"log-{number}"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", PROGRAM, json.dumps(given)],
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                start_new_session=True,
                env={**_ENVIRONMENT, **(env or {})},
            )
        served = Served(process, log, admin)
        started.append(served)
        return served.wait_ready() if ready else served

    yield begin
    for one in started:
        with suppress(ProcessLookupError):
            os.killpg(one.process.pid, signal.SIGKILL)
        one.process.wait()
        if one.process.stdout is not None:
            one.process.stdout.close()


@pytest.fixture
def load() -> Iterator[Callable[..., Load]]:
    """Begin to ask; ``.stop()`` gives the answers."""
    loads: list[Load] = []

    def begin(
        served: Served,
        path: str = "/double",
        body: str = '{"x":[1]}',
        *,
        clients: int = 8,
        pause_s: float = 0.0,
    ) -> Load:
        made = [
            Client(served.address, post(path, body), keeps=bool(n % 2), pause_s=pause_s)
            for n in range(clients)
        ]
        loads.append(Load(made))
        return loads[-1]

    yield begin
    for one in loads:
        for client in one.clients:
            client.is_over.set()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Any]:
    """The keeper of a port, in a process of its own."""
    from tests.server.life.kept import Keeper  # it needs what is above

    keeper = Keeper(tmp_path / "port.sock")
    keeper.start()
    yield keeper
    if keeper.process is not None and keeper.process.poll() is None:
        keeper.stop(signal.SIGKILL)
