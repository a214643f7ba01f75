"""Runners that crash, hang or are killed, and what becomes of the requests."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

Serve = Callable[..., Any]
Pids = Callable[[Any], list[int]]

FRAGILE = """
@modelpack.service
class Fragile:
    @modelpack.api(batch=True, max_batch_size=8)
    def double(self, x: Tensor["float32", "batch"]) -> Tensor["float32", "batch"]:
        if (x == -1).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if (x == -2).any():
            import ctypes
            ctypes.string_at(0)
        if (x == -3).any():
            time.sleep(1000)
        time.sleep(0.002)
        return x * 2

    @modelpack.api
    async def later(self, n: int) -> int:
        await asyncio.sleep(0.05)
        if n == -1:
            os.kill(os.getpid(), signal.SIGKILL)
        if n == -3:
            time.sleep(1000)
        return n + 1

    @modelpack.api
    def pid(self) -> int:
        return os.getpid()
"""


@contextmanager
def load(server: Any, path: str, bodies: list[dict[str, Any]]) -> Iterator[list[int]]:
    """Send bodies again and again from eight clients meanwhile; yields the statuses."""
    statuses: list[int] = []
    is_over = threading.Event()

    def work(number: int) -> None:
        with server.fresh_client() as client:
            while not is_over.is_set():
                body = bodies[number % len(bodies)]
                statuses.append(client.post(path, json=body).status_code)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def at_once(server: Any, path: str, bodies: list[dict[str, Any]]) -> list[Any]:
    """Send all bodies at the same time; returns the answers."""

    def send(body: dict[str, Any]) -> Any:
        with server.fresh_client() as client:
            return client.post(path, json=body)

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(send, bodies))


@pytest.mark.parametrize("poison", [-1, -2], ids=["SIGKILL", "SIGSEGV"])
def test_a_row_that_kills_its_runner_fails_alone(serve: Serve, poison: int) -> None:
    server = serve(FRAGILE, replicas=2)
    rows = [1, 2, 3, poison, 4, 5, 6, 7]

    answers = at_once(server, "/double", [{"x": [row]} for row in rows])

    problem = answers[3].json()
    assert (answers[3].status_code, problem["code"]) == (500, "runner-crashed")
    good = [(a.status_code, a.json()) for a in answers if a is not answers[3]]
    assert good == [(200, [row * 2]) for row in rows if row != poison]


def test_an_async_call_that_kills_its_runner_fails_alone(serve: Serve) -> None:
    server = serve(FRAGILE)
    numbers = [1, 2, -1, 3, 4]

    answers = at_once(server, "/later", [{"n": number} for number in numbers])

    assert [a.status_code for a in answers] == [200, 200, 500, 200, 200]
    assert answers[2].json()["code"] == "runner-crashed"
    assert [a.json() for a in answers if a.status_code == 200] == [2, 3, 4, 5]


@pytest.mark.parametrize(("path", "body"), [("/double", {"x": [1, 2]}), ("/later", {"n": 1})])
def test_no_request_fails_when_runners_are_killed_under_load(
    serve: Serve, pids: Pids, path: str, body: dict[str, Any]
) -> None:
    server = serve(FRAGILE, replicas=2)

    with load(server, path, [body]) as statuses:
        for _ in range(3):
            server.wait_until(lambda: len(pids(server)) == 2)
            doomed, _ = pids(server)
            before = len(statuses)
            server.wait_until(lambda before=before: len(statuses) > before + 20)
            os.kill(doomed, signal.SIGKILL)
            assert server.client.get("/readyz").status_code == 200  # the other one lives
            # Else the one that is gone would still be counted, and the last one killed next.
            server.wait_until(lambda doomed=doomed: doomed not in pids(server))
        server.wait_until(lambda: len(pids(server)) == 2)

    assert set(statuses) == {200}


def test_the_only_runner_may_be_killed_under_load(serve: Serve, pids: Pids) -> None:
    server = serve(FRAGILE)

    with load(server, "/double", [{"x": [1]}]) as statuses:
        for _ in range(3):
            server.wait_until(lambda: len(pids(server)) == 1)
            (doomed,) = pids(server)
            before = len(statuses)
            server.wait_until(lambda before=before: len(statuses) > before + 20)
            os.kill(doomed, signal.SIGKILL)
            server.wait_until(lambda doomed=doomed: doomed not in pids(server))
        server.wait_until(lambda: len(pids(server)) == 1)

    assert set(statuses) == {200}


@pytest.mark.parametrize(("path", "body"), [("/double", {"x": [-3]}), ("/later", {"n": -3})])
def test_a_call_that_hangs_costs_its_runner_and_nobody_else(
    serve: Serve, pids: Pids, path: str, body: dict[str, Any]
) -> None:
    server = serve(FRAGILE, replicas=2, request_timeout_s=1.0)
    before = set(pids(server))

    with load(server, "/pid", [{}]) as statuses:
        hung = server.post(path, body)
        server.wait_until(lambda: len(set(pids(server)) - before) == 1)

    assert (hung.status_code, hung.json()["code"]) == (504, "timeout")
    assert len(statuses) > 20
    # Only what the hung event loop itself had taken may have run out of time.
    assert set(statuses) <= {200, 504}
    assert statuses.count(504) <= (8 if path == "/later" else 0)


def test_without_hope_what_waits_is_refused_until_a_runner_is_up_again(
    serve: Serve, pids: Pids, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    server = serve(
        f"""
        @modelpack.service
        class Sometimes:
            def __init__(self):
                if os.path.exists({str(broken)!r}):
                    raise RuntimeError("cannot load")

            @modelpack.api
            def ask(self) -> int:
                return 1

            @modelpack.api
            async def later(self) -> int:
                return 2
        """
    )

    broken.touch()
    os.kill(pids(server)[0], signal.SIGKILL)
    refused = [server.post(path, {}) for path in ("/ask", "/later")]
    unready = server.client.get("/readyz")
    broken.unlink()
    server.wait_until(lambda: bool(pids(server)))

    assert [(a.status_code, a.json()["code"]) for a in refused] == [(503, "unavailable")] * 2
    assert unready.status_code == 503
    assert server.post("/ask", {}).json() == 1
    assert server.client.get("/readyz").status_code == 200


def zombies() -> int:
    """Children of this process that nobody has waited for."""
    count = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        count += fields[0] == "Z" and int(fields[1]) == os.getpid()
    return count


@pytest.mark.slow
def test_fifty_crashes_leave_nothing_behind(
    serve: Serve, pids: Pids, descriptors: Callable[[], int]
) -> None:
    server = serve(FRAGILE, replicas=3)
    server.post("/double", {"x": [1]})
    open_before = descriptors()

    for _ in range(50):
        answer = server.post("/pid", {})
        assert answer.status_code == 200
        pid = answer.json()
        os.kill(pid, signal.SIGKILL)  # it has answered: it is replaced at once
        server.wait_until(lambda pid=pid: pid not in pids(server))

    server.wait_until(lambda: len(pids(server)) == 3)
    server.wait_until(lambda: zombies() == 0)
    assert descriptors() == open_before
    folder = Path(next(iter(server.server.place._links.values())).info.socket).parent
    assert len(list(folder.iterdir())) == 3


def test_a_runner_that_is_stopped_is_seen_and_replaced(serve: Serve, pids: Pids) -> None:
    server = serve(FRAGILE, request_timeout_s=1.0)
    (before,) = pids(server)

    os.kill(before, signal.SIGSTOP)
    began = time.monotonic()
    server.wait_until(lambda: pids(server) not in ([], [before]))

    assert time.monotonic() - began < 10
    assert server.post("/double", {"x": [2]}).json() == [4]
