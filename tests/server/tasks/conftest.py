"""Servers that take tasks, in a thread or in processes, and a Redis of their own.

later              a server in a thread with ``Later``; all tests of a module share it
spawn(folder, …)   ``modelpack serve --tasks`` in a process that may be killed
redis_url          a Redis of this run, where there is one on this machine
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

import modelpack

WAIT_S = 30.0


@modelpack.service
class Later:
    def __init__(self) -> None:
        self.gate = threading.Event()
        self.order: list[str] = []
        self.cancelled = 0

    @modelpack.api(batch=True)
    def double(self, x: list[int]) -> list[int]:
        return [n * 2 for n in x]

    @modelpack.api
    def scale(self, x: modelpack.Tensor["float32", "n", 2]) -> modelpack.Tensor["float32", "n", 2]:
        return x * 2

    @modelpack.api
    def shout(self, data: bytes) -> bytes:
        return data.upper()

    @modelpack.api
    async def nap(self, seconds: float) -> float:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return seconds

    @modelpack.api
    def hold(self, name: str) -> str:
        self.order.append(name)
        assert self.gate.wait(WAIT_S)
        return name

    @modelpack.api
    def work(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @modelpack.api
    def fail(self, why: str) -> str:
        raise RuntimeError(why)

    @modelpack.api
    def refuse(self, why: str) -> str:
        raise modelpack.InputError(why)

    @modelpack.api
    def count(self, to: int, fail: bool = False) -> Iterator[dict[str, int]]:
        for i in range(to):
            yield {"i": i}
        if fail:
            raise RuntimeError("no more")


@pytest.fixture(scope="session")
def service() -> type:
    """The service that the tests here are about."""
    return Later


@dataclass
class Client:
    """Submits tasks and waits for them."""

    http: httpx.Client

    def submit(self, api: str, body: object = None, **more: Any) -> dict[str, Any]:
        answer = self.post(api, body, **more)
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def post(self, api: str, body: object = None, **more: Any) -> httpx.Response:
        if body is not None:
            more["json"] = body
        return self.http.post(f"/tasks/{api}", **more)

    def over(self, task: dict[str, Any]) -> dict[str, Any]:
        """Return a task once it is over."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            answer = self.get(task["url"], headers={"prefer": "wait=5"})
            found: dict[str, Any] = answer.json()
            if answer.status_code == 200 and found["status"] not in ("queued", "running"):
                return found
            assert answer.status_code == 200, answer.text
        raise AssertionError("it is not over")

    def result(self, task: dict[str, Any]) -> httpx.Response:
        """Return the result of a task once it is over."""
        self.over(task)
        return self.get(task["result_url"])

    def get(self, path: str, **more: Any) -> httpx.Response:
        """Ask, again when the worker that was asked is lost, or being made."""
        for _ in range(50):
            with suppress(httpx.TransportError):
                answer = self.http.get(path, **more)
                if answer.status_code != 503:
                    return answer
            time.sleep(0.2)
        raise AssertionError("nobody answers")

    def metric(self, line: str) -> float:
        text = self.get("/metrics").text
        return sum(float(one.split()[-1]) for one in text.splitlines() if one.startswith(line))


def client_for(url: str) -> Client:
    return Client(httpx.Client(base_url=url, timeout=WAIT_S))


@pytest.fixture(scope="module")
def later(start_once: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    store = tmp_path_factory.mktemp("tasks") / "tasks.sqlite"
    return start_once(Later, tasks=True, tasks_store=str(store), request_timeout_s=0.6)


@pytest.fixture(scope="module")
def client(later: Any) -> Iterator[Client]:
    made = client_for(later.url)
    yield made
    made.http.close()


@pytest.fixture
def asking() -> Iterator[Callable[[str], Client]]:
    """Return a client for a URL."""
    with clients() as ask:
        yield ask


@pytest.fixture(scope="module")
def ask_once() -> Iterator[Callable[[str], Client]]:
    """As ``asking``, for a server that all tests of a module share."""
    with clients() as ask:
        yield ask


@contextmanager
def clients() -> Iterator[Callable[[str], Client]]:
    made: list[Client] = []

    def ask(url: str) -> Client:
        made.append(client_for(url))
        return made[-1]

    yield ask
    for one in made:
        one.http.close()


# --- servers in processes -----------------------------------------------------------------------


@dataclass
class Spawned:
    """A server in a process of its own, which leads a process group."""

    process: subprocess.Popen[bytes]
    client: Client
    log: Path

    def kill(self) -> None:
        """End all of its processes at once, as a machine does that loses its power."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """End it as an operator does; returns its status."""
        self.process.terminate()
        return self.process.wait(WAIT_S)


Spawn = Callable[..., Spawned]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Start ``modelpack serve --tasks`` for a service.py; the tasks of a test are in one file."""
    started: list[Spawned] = []

    def begin(text: str, *words: str, **settings: object) -> Spawned:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        (folder / "service.py").write_text(text)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        store = {"tasks_store": tmp_path / "tasks.sqlite", **settings}
        variables = {f"MODELPACK_{name.upper()}": str(value) for name, value in store.items()}
        log = tmp_path / f"log-{len(started)}"
        program = Path(sys.executable).with_name("modelpack")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(program), "serve", "--tasks", "--port", str(port), *words],
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **variables},
                start_new_session=True,
            )
        spawned = Spawned(process, client_for(f"http://127.0.0.1:{port}"), log)
        started.append(spawned)
        wait_ready(spawned)
        return spawned

    yield begin
    for one in started:
        one.client.http.close()
        with suppress(ProcessLookupError):
            os.killpg(one.process.pid, signal.SIGKILL)
        one.process.wait()


def wait_ready(spawned: Spawned) -> None:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and spawned.process.poll() is None:
        with suppress(httpx.TransportError):
            if spawned.client.http.get("/readyz").status_code == 200:
                return
        time.sleep(0.02)
    pytest.fail(f"it did not get ready:\n{spawned.log.read_text()}")


# --- Redis --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a Redis; skips where there is none on this machine."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("'redis-server' is not installed")
    folder = tmp_path_factory.mktemp("redis")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = [
        program,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(folder),
    ]
    with (folder / "log").open("wb") as output:
        process = subprocess.Popen([*words, "--requirepass", "of-tests"], stdout=output)
    try:
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(WAIT_S)
