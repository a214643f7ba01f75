"""Servers whose times are known: what the generator measures of them must come out."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from modelpack.bench.aim import Aim
from modelpack.bench.place import Place, place_of
from modelpack.bench.served import Served, serving
from modelpack.progress import SILENT

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}"

Answer = Callable[[int], bytes]
"""Given the number of the request, from 0: waits as long as it wants to, returns what is sent."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Measure again, at most twice, what these tests measure: real time.

    When the machine gives it to somebody else, a measurement says nothing of the generator.
    """
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.flaky(reruns=2, reruns_delay=3))


class KnownServer:
    """Answers each request on a thread for its connection, as a function says.

    The requests of all connections are numbered as they arrive.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.arrived = 0
        self.heads: list[bytes] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def place(self) -> Place:
        return place_of(f"{self.url}/x")

    @property
    def aim(self) -> Aim:
        return Aim(place=self.place, method="GET", path="/x")

    def close(self) -> None:
        """Stop; safe to repeat."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        data = b""
        with suppress(OSError), connection:
            while True:
                while b"\r\n\r\n" not in data:
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    data += piece
                head, _, data = data.partition(b"\r\n\r\n")
                data = self._skip_body(connection, head, data)
                with self._lock:
                    number, self.arrived = self.arrived, self.arrived + 1
                    self.heads = [*self.heads[-9:], head]
                sent = self.answer(number)
                connection.sendall(sent)
                if b"connection: close" in sent or not sent:
                    return

    @staticmethod
    def _skip_body(connection: socket.socket, head: bytes, data: bytes) -> bytes:
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        while len(data) < length:
            data += connection.recv(65536)
        return data[length:]


Known = Callable[[Answer], KnownServer]


@pytest.fixture
def known() -> Iterator[Known]:
    """Start a server that answers as it is told; it is closed after the test."""
    servers: list[KnownServer] = []

    def start(answer: Answer) -> KnownServer:
        servers.append(KnownServer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def after() -> Callable[[float], Answer]:
    """Return an answer that takes this many seconds."""

    def make(seconds: float) -> Answer:
        def answer(_number: int) -> bytes:
            time.sleep(seconds)
            return OK

        return answer

    return make


class Gate:
    """A server's answers, which one request holds up for all of them, as a garbage collection would."""

    def __init__(self, at: int, seconds: float) -> None:
        self._at = at
        self._seconds = seconds
        self._lock = threading.Lock()

    def __call__(self, number: int) -> bytes:
        with self._lock:
            if number == self._at:
                time.sleep(self._seconds)
        return OK


@pytest.fixture
def stalls() -> Callable[[int, float], Gate]:
    """Return answers of which one, by its number, holds up all the others for a time."""
    return Gate


SERVICE = """
import time

import modelpack
from modelpack import Tensor


@modelpack.service
class Two:
    @modelpack.api(batch=True)
    def predict(self, x: Tensor["float32", "batch", 4]) -> Tensor["float32", "batch"]:
        time.sleep(0.002)
        return x.sum(axis=1)

    @modelpack.api
    def greet(self, name: str) -> str:
        return "hello " + name

    @modelpack.api
    def fail(self, name: str) -> str:
        raise RuntimeError(name)
"""


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a batched api, a plain one, and one that fails."""
    folder = tmp_path_factory.mktemp("bench") / "two"
    folder.mkdir()
    (folder / "service.py").write_text(SERVICE)
    (folder / "modelpack.yaml").write_text("name: two\nservice: service:Two\n")
    return folder


@pytest.fixture(scope="session")
def real(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A modelpack server of that project, one for all tests."""
    environ = {"MODELPACK_HOME": str(tmp_path_factory.mktemp("home"))}
    with serving(str(project), progress=SILENT, environ=environ) as served:
        yield served
