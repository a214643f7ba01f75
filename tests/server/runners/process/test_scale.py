"""More and fewer runners while requests come; the end of the server and of its parent."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

Serve = Callable[..., Any]
Pids = Callable[[Any], list[int]]
WAIT_S = 20.0

STEADY = """
@modelpack.service
class Steady:
    @modelpack.api(batch=True, max_batch_size=4)
    def double(self, x: Tensor["float32", "batch"]) -> Tensor["float32", "batch"]:
        time.sleep(0.002)
        return x * 2

    @modelpack.api
    async def later(self, n: int) -> int:
        await asyncio.sleep(0.02)
        return n + 1

    @modelpack.api
    def sleep(self, s: float) -> float:
        time.sleep(s)
        return s
"""


def scale(server: Any, count: int) -> None:
    coroutine = server.server.place.scale(count)
    asyncio.run_coroutine_threadsafe(coroutine, server.loop).result(WAIT_S)


@contextmanager
def load(server: Any) -> Iterator[list[int]]:
    """Send requests to both apis from eight clients meanwhile; yields the statuses."""
    statuses: list[int] = []
    is_over = threading.Event()

    def work(path: str, body: dict[str, Any]) -> None:
        with server.fresh_client() as client:
            while not is_over.is_set():
                statuses.append(client.post(path, json=body).status_code)

    asked: list[tuple[str, dict[str, Any]]] = [("/double", {"x": [1, 2]}), ("/later", {"n": 1})]
    threads = [threading.Thread(target=work, args=one) for one in asked * 4]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def test_a_changed_number_of_runners_loses_no_request(serve: Serve, pids: Pids) -> None:
    server = serve(STEADY)

    with load(server) as statuses:
        for count in (3, 1, 2, 1):
            before = len(statuses)
            scale(server, count)
            server.wait_until(lambda before=before: len(statuses) > before + 20)
            assert len(pids(server)) == count

    assert set(statuses) == {200}


def test_a_runner_that_has_to_go_finishes_what_it_has(serve: Serve, pids: Pids) -> None:
    server = serve(STEADY, replicas=2)
    answers: list[Any] = []

    def ask() -> None:
        with server.fresh_client() as client:
            answers.append(client.post("/sleep", json={"s": 1.0}))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    links = server.server.place._links
    server.wait_until(lambda: sum(link.busy for link in list(links.values())) == 2)
    scale(server, 1)
    for thread in threads:
        thread.join()

    assert [answer.json() for answer in answers] == [1.0, 1.0]
    assert len(pids(server)) == 1


def test_sockets_are_for_this_user_alone_and_pickles_do_nothing(
    serve: Serve, pids: Pids, tmp_path: Path
) -> None:
    canary = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> Any:
            return open, (str(canary), "w")

    server = serve(STEADY)
    (link,) = server.server.place._links.values()
    path = Path(link.info.socket)
    bomb = pickle.dumps(Bomb())

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for data in (bomb, b"\x6d\x50" + bomb, link_frame(bomb)):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(WAIT_S)
            connection.connect(str(path))
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass  # a welcome, and then the end
    assert not canary.exists()
    assert server.post("/double", {"x": [1]}).json() == [2]
    assert pids(server) == [link.info.pid]


def link_frame(body: bytes) -> bytes:
    from modelpack.server.runners.process.frames import Head, Kind

    return Head(Kind.RUN, api=0, call=1, size=len(body)).to_bytes() + body


MAIN = """
import sys
from modelpack.config.settings import ServerSettings
from modelpack.frameworks.source import Source
from modelpack.server import run

source = Source("code", "", sys.argv[1])
settings = ServerSettings(port=0, runner="process", replicas=2, grace_s=float(sys.argv[2]))
status = run(source.open(), settings, source=source, on_ready=lambda url: print(url, flush=True))
sys.exit(status)
"""


@contextmanager
def main_process(write: Any, text: str, grace_s: float = 5.0) -> Iterator[Any]:
    folder = write(text).folder
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, folder, str(grace_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        url = process.stdout.readline().strip()  # type: ignore[union-attr]
        assert url
        yield process, url
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def children_of(pid: int) -> list[int]:
    found = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(word) for word in thread.read_text().split()]
    return found


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(holds: Callable[[], bool], limit_s: float = WAIT_S) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def test_nothing_outlives_a_main_process_that_is_killed(write: Any) -> None:
    import httpx

    with main_process(write, STEADY) as (process, url):
        runners = children_of(process.pid)
        hung = threading.Thread(target=ask_in_vain, args=(url, {"s": 60.0}))
        hung.start()
        assert httpx.post(f"{url}/double", json={"x": [1]}).json() == [2]

        process.kill()
        wait_until(lambda: not any(lives(pid) for pid in runners), 5.0)
        hung.join()

    assert len(runners) == 2


def ask_in_vain(url: str, body: dict[str, Any]) -> None:
    import httpx

    with pytest.raises(httpx.TransportError):
        httpx.post(f"{url}/sleep", json=body, timeout=WAIT_S)


def test_a_call_that_hangs_does_not_hold_up_the_end(write: Any) -> None:
    import httpx

    statuses = []

    def ask() -> None:
        statuses.append(httpx.post(f"{url}/sleep", json={"s": 60.0}, timeout=WAIT_S).status_code)

    with main_process(write, STEADY, grace_s=1.0) as (process, url):
        runners = children_of(process.pid)
        hung = threading.Thread(target=ask)
        hung.start()
        httpx.post(f"{url}/double", json={"x": [1]})
        time.sleep(0.2)  # the call is on its way; if it were not, it would be refused: also 503

        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(WAIT_S)
        took = time.monotonic() - began
        hung.join()

    assert took < 1.0 + 2.0 + 1.0  # grace, and two seconds; one more for a busy machine
    assert statuses == [503]
    assert not any(lives(pid) for pid in runners)


def test_a_signal_to_the_whole_group_ends_cleanly(write: Any) -> None:
    with main_process(write, STEADY) as (process, _):
        runners = children_of(process.pid)
        for pid in (process.pid, *runners):
            os.kill(pid, signal.SIGTERM)

        assert process.wait(WAIT_S) == 0
        assert not any(lives(pid) for pid in runners)
