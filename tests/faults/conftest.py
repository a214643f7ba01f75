"""Real server processes, real faults, over sockets; and a store to put faults into.

serve(name, *flags, **settings) ──► Served: ``modelpack serve`` of services/NAME.py in a folder of its
                                    own, every setting given as its MODELPACK_ variable
served.call_all(path, bodies)   ──► every answer, all sent at once
served.load(path, body)         ──► clients that call on and on
shelf.model(), shelf.bundle()   ──► small entries in a store of one's own
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelpack.manifest import BundleManifest, FileRecord, ModelRecord
from modelpack.store import Entry, Store

WAIT_S = 30.0
SERVICES = Path(__file__).parent / "services"


@dataclass(frozen=True)
class Answer:
    """What one client got; ``status`` 0: no answer, ``kind`` says why."""

    status: int
    body: bytes
    headers: httpx.Headers
    seconds: float
    kind: str = ""

    def json(self) -> Any:
        return httpx.Response(200, content=self.body).json()

    @property
    def code(self) -> str:
        code: str = self.json()["code"]
        return code


@dataclass
class Served:
    """A running ``modelpack serve``."""

    process: subprocess.Popen[bytes]
    folder: Path
    log: Path
    port: int = 0
    clients: list[httpx.Client] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> httpx.Client:
        if not self.clients:
            self.clients.append(httpx.Client(base_url=self.url, timeout=WAIT_S))
        return self.clients[0]

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)

    def send(self, data: bytes) -> bytes:
        """Send bytes on a fresh connection; returns what comes back until the server closes."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_to_end(connection)

    def post(self, path: str, body: object, **more: Any) -> httpx.Response:
        return self.client.post(path, json=body, **more)

    def call_all(
        self, path: str, bodies: Sequence[object], *, timeout: float = WAIT_S, **more: Any
    ) -> list[Answer]:
        """Send every body at once, each on a connection of its own; answers in the same order."""

        async def run() -> list[Answer]:
            limits = httpx.Limits(max_connections=len(bodies))
            async with httpx.AsyncClient(base_url=self.url, timeout=timeout, limits=limits) as one:
                return await asyncio.gather(*(_call(one, path, body, **more) for body in bodies))

        return asyncio.run(run())

    def load(self, path: str, body: object, *, clients: int = 4) -> Load:
        """Return clients that call on and on inside a with block."""
        return Load(self, path, body, clients=clients)

    def tree(self) -> list[int]:
        """Return the process ids of the server and everything below it."""
        found = [self.pid]
        for pid in found:
            found.extend(children_of(pid))
        return found

    def runners(self) -> list[int]:
        """Return the process ids of the runner processes."""
        return [pid for pid in self.tree() if "runners.process.child" in command_of(pid)]

    def has_runners(self, count: int) -> bool:
        """Say whether that many runner processes are there, and known to be."""
        return len(self.runners()) == count and self.counter("modelpack_runners") == count

    def counter(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        page = self.client.get("/metrics").text
        values = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", page, re.MULTILINE)
        return sum(float(value) for value in values)

    def wait_until(self, holds: Callable[[], bool], *, within: float = WAIT_S) -> None:
        end = time.monotonic() + within
        while not holds():
            assert time.monotonic() < end, f"it never came true; the server said:\n{self.text()}"
            time.sleep(0.01)

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(WAIT_S)

    def close(self) -> None:
        for client in self.clients:
            client.close()
        below = self.tree()[1:] if self.process.poll() is None else []
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in below:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found.extend(int(one) for one in (task / "children").read_text().split())
    return found


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def read_to_end(connection: socket.socket) -> bytes:
    pieces = []
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


async def _call(client: httpx.AsyncClient, path: str, body: object, **more: Any) -> Answer:
    began = time.perf_counter()
    try:
        answer = await client.post(path, json=body, **more)
    except httpx.HTTPError as error:
        took = time.perf_counter() - began
        return Answer(0, b"", httpx.Headers(), took, f"{type(error).__name__}: {error}")
    took = time.perf_counter() - began
    return Answer(answer.status_code, answer.content, answer.headers, took)


class Load:
    """Clients that call on and on in threads of their own, until told to stop."""

    def __init__(self, served: Served, path: str, body: object, *, clients: int = 4) -> None:
        self._served, self._path, self._body = served, path, body
        self._is_over = threading.Event()
        self.answers: list[Answer] = []
        self._threads = [threading.Thread(target=self._work) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, count: int) -> None:
        """Wait until that many more answers are there."""
        goal = len(self.answers) + count
        self._served.wait_until(lambda: len(self.answers) >= goal)

    def failed(self) -> list[tuple[int, str]]:
        return [(a.status, a.kind or a.body.decode()) for a in self.answers if a.status != 200]

    def _work(self) -> None:
        with httpx.Client(base_url=self._served.url, timeout=WAIT_S) as client:
            while not self._is_over.is_set():
                began = time.perf_counter()
                try:
                    one = client.post(self._path, json=self._body)
                    took = time.perf_counter() - began
                    answer = Answer(one.status_code, one.content, one.headers, took)
                except httpx.HTTPError as error:
                    answer = Answer(0, b"", httpx.Headers(), 0.0, repr(error))
                self.answers.append(answer)


Serve = Callable[..., Served]


def start(
    folder: Path,
    name: str,
    flags: tuple[str, ...],
    settings: dict[str, Any],
    more: dict[str, str],
    **popen: Any,
) -> Served:
    """Write the project and start its server; it may not be ready yet."""
    shutil.copy(SERVICES / f"{name}.py", folder / "service.py")
    variables = {f"MODELPACK_{name.upper()}": str(value) for name, value in settings.items()}
    environment = {
        **os.environ,
        "MODELPACK_HOME": str(folder / ".home"),
        "MODELPACK_CACHE": str(folder / ".cache"),
        "MODELPACK_PORT": "0",
        "MODELPACK_LOG_FORMAT": "json",
        "PYTHONUNBUFFERED": "1",
        **variables,
        **more,
    }
    log = folder / "server.log"
    command = [sys.executable, "-m", "modelpack", "serve", *flags]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output, **popen
        )
    return Served(process, folder, log)


def wait_ready(served: Served) -> Served:
    """Wait until the server says where it listens."""
    end = time.monotonic() + WAIT_S
    while not (found := re.search(r'"url": ?"https?://[^"]*:(\d+)"', served.text())):
        assert served.process.poll() is None, f"it ended:\n{served.text()}"
        assert time.monotonic() < end, f"it never became ready:\n{served.text()}"
        time.sleep(0.01)
    served.port = int(found[1])
    return served


def _starter(base: Path) -> Iterator[Serve]:
    running: list[Served] = []

    def begin(
        name: str,
        *flags: str,
        ready: bool = True,
        files: Sequence[str] = (),
        popen: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        **settings: Any,
    ) -> Served:
        folder = base / f"project-{len(running)}"
        folder.mkdir()
        for file in files:
            (folder / file).touch()
        served = start(folder, name, flags, settings, environment or {}, **(popen or {}))
        running.append(served)
        return wait_ready(served) if ready else served

    try:
        yield begin
    finally:
        for one in running:
            one.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start servers that end with the test."""
    yield from _starter(tmp_path)


@pytest.fixture(scope="module")
def serve_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start servers that the tests of a module share."""
    yield from _starter(tmp_path_factory.mktemp("served"))


LOCK = "# a lock\nnumpy==2.0.0 \\\n    --hash=sha256:" + "0" * 64 + "\n"


@dataclass
class Shelf:
    """Makes small entries of plain bytes, each from a fresh folder."""

    sources: Path
    store: Store
    count: int = 0

    def files(self, files: Mapping[str, bytes]) -> tuple[Path, tuple[FileRecord, ...]]:
        """Write files into a fresh folder and return it with their records."""
        self.count += 1
        folder = self.sources / f"source-{os.getpid()}-{self.count}"
        records = []
        for path, data in sorted(files.items()):
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            records.append(FileRecord(path=path, mode=0o644, size=len(data), sha256=digest))
        return folder, tuple(records)

    def model(self, name: str = "clf", *, version: str = "1", weights: bytes = b"w" * 900) -> Entry:
        """Store a model with one weight file and one side file."""
        folder, files = self.files({"model.onnx": weights, "labels.json": b"[0,1]"})
        record = ModelRecord(name=name, framework="onnx", files=files)
        return self.store.add_model(record, folder, version=version).entry

    def bundle(
        self,
        name: str = "digits",
        *,
        version: str = "1",
        files: Mapping[str, bytes] | None = None,
        models: Sequence[Entry] = (),
    ) -> Entry:
        """Store a bundle; ``files`` lie in it beside its service."""
        folder, records = self.files({"service.py": b"class Digits: ...\n", **(files or {})})
        manifest = BundleManifest(
            service="service:Digits",
            model=None,
            python="3.11",
            files=records,
            models=tuple(
                {
                    "name": m.tag.name,
                    "version": m.tag.version,
                    "digest": m.digest,
                    "framework": "onnx",
                }
                for m in models
            ),
            lock_sha256=hashlib.sha256(LOCK.encode()).hexdigest(),
            apis=({"name": "predict", "route": "/predict", "input": {}, "output": {}},),
        )
        return self.store.add_bundle(
            name, manifest, root=folder, lock=LOCK, models=models, version=version
        ).entry


@pytest.fixture
def memory() -> Iterator[Path]:
    """Give a folder in memory where there is one: nothing here waits for a disk."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def shelf(memory: Path) -> Shelf:
    """A store with nothing in it."""
    return Shelf(memory / "sources", Store(memory / "store"))
