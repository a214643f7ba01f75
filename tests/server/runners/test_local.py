"""Replicas in this process: each an instance of its own, more or fewer of them under load."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import modelpack
from modelpack.errors import DeviceMissingError, UserCodeError
from modelpack.sdk.placement import placement
from modelpack.server.runners.local import LocalPlace

Start = Callable[..., Any]

ROW_S = 0.05


@modelpack.service
class Demo:
    made: list[Demo] = []
    ended: list[Demo] = []
    meeting = threading.Barrier(3)

    def __init__(self) -> None:
        self.made.append(self)
        self.number = len(self.made)
        self.where = placement()
        self.running = 0
        self.most_running = 0
        self.watch: Callable[[], None] = lambda: None

    @modelpack.on_shutdown
    def end(self) -> None:
        self.watch()
        self.ended.append(self)

    @modelpack.api
    def who(self, wait_s: float = 0.0) -> int:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        time.sleep(wait_s)
        self.running -= 1
        return self.number

    @modelpack.api
    def meet(self) -> int:
        """Come back when as many calls run as are to meet."""
        self.meeting.wait(20)
        return self.number

    @modelpack.api
    async def who_async(self, wait_s: float = 0.0) -> int:
        await asyncio.sleep(wait_s)
        return self.number

    @modelpack.api
    def count(self, to: int) -> Iterator[int]:
        yield from [self.number] * to

    @modelpack.api
    async def count_async(self, to: int) -> AsyncIterator[int]:
        for _ in range(to):
            yield self.number

    @modelpack.api
    def threads(self) -> int:
        return placement().threads


@modelpack.service
class Calm:
    @modelpack.api
    def echo(self, x: int) -> int:
        return x

    @modelpack.api
    async def echo_async(self, x: int) -> int:
        return x


@pytest.fixture(autouse=True)
def _nobody_yet() -> None:
    Demo.made.clear()
    Demo.ended.clear()


def place_of(server: Any) -> LocalPlace:
    place: LocalPlace = server.server.place
    return place


def scale(server: Any, replicas: int) -> None:
    future = asyncio.run_coroutine_threadsafe(place_of(server).scale(replicas), server.loop)
    future.result(20)


def at_once(server: Any, count: int, path: str = "/who", **body: float) -> list[int]:
    """Ask so many times at the same time; returns which instances answered."""
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(server.post, path, body) for _ in range(count)]
        answers = [one.result(20) for one in asked]
    assert [answer.status_code for answer in answers] == [200] * count
    return [answer.json() for answer in answers]


def test_each_replica_is_an_instance_of_its_own(start: Start) -> None:
    server = start(Demo, replicas=3)

    assert [one.where.number for one in Demo.made] == [0, 1, 2]
    assert set(at_once(server, 3, "/meet")) == {1, 2, 3}


def test_a_method_never_runs_twice_at_a_time_in_one_replica(start: Start) -> None:
    at_once(start(Demo, replicas=2), 8, wait_s=0.01)

    assert {one.most_running for one in Demo.made} <= {0, 1}


@pytest.mark.flaky(reruns=3, reruns_delay=2)  # on a machine that has no time for it
def test_batches_of_one_api_run_at_once_in_several_replicas(start: Start) -> None:
    """Six calls of 50 ms: one after the other in one replica, in two turns in three."""
    took = {}
    for replicas in (1, 3):
        server = start(Demo, replicas=replicas)
        at_once(server, replicas)
        began = time.perf_counter()
        at_once(server, 6, wait_s=ROW_S)
        took[replicas] = time.perf_counter() - began

    assert took[1] > 6 * ROW_S
    assert took[3] < took[1] * 0.7


def test_async_calls_are_spread_too(start: Start) -> None:
    assert set(at_once(start(Demo, replicas=2), 8, "/who_async", wait_s=0.2)) == {1, 2}


def test_streams_are_spread_and_counted(start: Start) -> None:
    server = start(Demo, replicas=2)
    for path in ("/count", "/count_async"):
        for _ in range(3):
            assert set(server.post(path, {"to": 3}).text.split()) <= {"1", "2"}

    server.wait_until(lambda: all(one.streams == 0 for one in place_of(server).replicas))


def test_replicas_come_and_go_under_load_and_no_request_fails(start: Start) -> None:
    server = start(Demo)
    statuses: list[int] = []
    is_over = threading.Event()

    def ask() -> None:
        with server.fresh_client() as client:
            while not is_over.is_set():
                answer = client.post("/who", json={"wait_s": 0.002})
                statuses.append(answer.status_code)

    clients = [threading.Thread(target=ask) for _ in range(6)]
    for client in clients:
        client.start()
    for replicas in (4, 1, 3, 2, 1):
        scale(server, replicas)
        seen = len(statuses)
        server.wait_until(lambda seen=seen: len(statuses) > seen + 20)
        assert len(place_of(server).replicas) == replicas
    is_over.set()
    for client in clients:
        client.join(20)

    assert set(statuses) == {200}
    assert len(Demo.made) == 1 + 3 + 2
    assert len(Demo.ended) == len(Demo.made) - 1
    assert Demo.made[0] not in Demo.ended


def test_a_replica_finishes_what_it_has_before_its_hook_runs(start: Start) -> None:
    server = start(Demo, replicas=2)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(server.post, "/who", {"wait_s": 0.4}) for _ in range(2)]
        server.wait_until(lambda: sum(one.running for one in Demo.made) == 2)
        scale(server, 1)
        assert Demo.made[1].running == 0
        assert sorted(one.result(20).json() for one in asked) == [1, 2]

    assert Demo.ended == [Demo.made[1]]


def test_at_the_end_every_replica_runs_its_hook(start: Start) -> None:
    assert start(Demo, replicas=3).stop() == 0

    assert sorted(one.number for one in Demo.ended) == [1, 2, 3]


def test_hooks_wait_for_a_call_that_runs_for_nobody(start: Start) -> None:
    """Its client left, so nothing is under way for the server; the service is still in it."""
    server = start(Demo)
    body = b'{"wait_s": 0.5}'
    with server.connect() as connection:
        connection.sendall(
            b"POST /who HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        server.wait_until(lambda: Demo.made[0].running == 1)
    running_at_end: list[int] = []
    Demo.made[0].watch = lambda: running_at_end.append(Demo.made[0].running)

    assert server.stop() == 0

    assert Demo.ended == [Demo.made[0]]
    assert running_at_end == [0]


def test_a_replica_that_cannot_be_made_leaves_the_others_alone(start: Start) -> None:
    @modelpack.service
    class Single:
        made = 0

        def __init__(self) -> None:
            type(self).made += 1
            if self.made > 1:
                raise MemoryError("no more room")

        @modelpack.api
        def echo(self, x: int) -> int:
            return x

    server = start(Single)
    with pytest.raises(UserCodeError, match="no more room"):
        scale(server, 2)

    assert len(place_of(server).replicas) == 1
    assert server.post("/echo", {"x": 3}).json() == 3
    with pytest.raises(UserCodeError, match="no more room"):
        start(Single, replicas=2)


def test_threads_are_shared_out(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelpack.frameworks.machine.processors", lambda: 8)

    assert start(Demo).post("/threads", {}).json() == 8
    assert start(Demo, replicas=2).post("/threads", {}).json() == 4
    assert start(Demo, replicas=2, threads=3).post("/threads", {}).json() == 3


def test_libraries_use_no_more_threads_than_their_replica_may() -> None:
    """In a process of its own: what is loaded there must not have been told anything yet."""
    code = """
import sys
from threadpoolctl import threadpool_info
import modelpack
from modelpack.config.settings import ServerSettings
from modelpack.sdk.service import spec_of
from modelpack.server import run

@modelpack.service
class Libraries:
    def __init__(self) -> None:
        import sklearn.linear_model  # loads OpenBLAS and OpenMP

    @modelpack.api(batch=True)
    def pools(self, x: modelpack.Tensor["float32", "batch"]) -> list[float]:
        print([pool["num_threads"] for pool in threadpool_info()], flush=True)
        return [0.0] * len(x)

def stop(url):
    import os, signal
    os.kill(os.getpid(), signal.SIGTERM)

settings = ServerSettings(port=0, threads=1, runner="thread")
sys.exit(run(spec_of(Libraries), settings, on_ready=stop))
"""
    clean = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean, timeout=60
    )

    assert done.returncode == 0, done.stderr
    pools = [json.loads(line) for line in done.stdout.splitlines()]
    assert pools
    assert {count for pool in pools for count in pool} == {1}


def test_a_gpu_that_was_asked_for_and_is_not_there_ends_the_start(start: Start) -> None:
    with pytest.raises(DeviceMissingError, match="'cuda:40' was asked for, and the NVIDIA driver"):
        start(Demo, devices="cuda:40")
    assert Demo.made == []


def test_what_runs_is_counted_by_kind(start: Start) -> None:
    server = start(Demo, replicas=2, runner="thread")

    assert place_of(server).kind == "thread"
    assert place_of(server).stats.running == {"thread": 2}
    assert start(Calm, runner="inline").server.place.stats.running == {"inline": 1}
    assert start(Demo, runner="inline").server.place.kind == "thread"  # it streams from one
