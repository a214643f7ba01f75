"""Where a method runs: it is learned from its own calls."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from modelpack.server.runners import threads as runner_module
from modelpack.server.runners.threads import AsyncRunner, SyncRunner, Worker


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def worker(loop: asyncio.AbstractEventLoop) -> Iterator[Worker]:
    worker = Worker("test-worker", loop)
    yield worker
    worker.close()


class Clock:
    """Stands for ``perf_counter``; a method moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(runner_module, "perf_counter", clock)
    return clock


def call(runner: SyncRunner | AsyncRunner, loop: asyncio.AbstractEventLoop, **values: Any) -> Any:
    """Make one call and wait for it; returns the answer or raises."""

    async def run() -> Any:
        future: asyncio.Future[Any] = loop.create_future()
        runner.run(
            values,
            lambda answer, error: (
                future.set_exception(error) if error else future.set_result(answer)
            ),
        )
        return await asyncio.wait_for(future, 10)

    return loop.run_until_complete(run())


def where() -> int:
    return threading.get_ident()


def timed(clock: Clock, seconds: float) -> Callable[[], int]:
    def method() -> int:
        clock.now += seconds
        return threading.get_ident()

    return method


def test_an_unknown_method_runs_in_the_thread(
    loop: asyncio.AbstractEventLoop, worker: Worker
) -> None:
    assert call(SyncRunner(where, worker), loop) != threading.get_ident()


def test_a_method_that_warmed_up_fast_runs_inline(
    loop: asyncio.AbstractEventLoop, worker: Worker
) -> None:
    runner = SyncRunner(where, worker)
    runner.measured([20e-6, 5e-3, 30e-6])

    assert call(runner, loop) == threading.get_ident()


def test_a_method_that_warmed_up_slowly_does_not(
    loop: asyncio.AbstractEventLoop, worker: Worker
) -> None:
    runner = SyncRunner(where, worker)
    runner.measured([20e-6, 5e-3, 6e-3])

    assert call(runner, loop) != threading.get_ident()


def test_a_method_that_proves_fast_comes_to_the_event_loop(
    loop: asyncio.AbstractEventLoop, worker: Worker, clock: Clock
) -> None:
    runner = SyncRunner(timed(clock, 10e-6), worker)

    places = [call(runner, loop) for _ in range(40)]

    assert places[0] != threading.get_ident()
    assert places[-1] == threading.get_ident()


def test_a_method_that_turns_slow_leaves_the_event_loop(
    loop: asyncio.AbstractEventLoop, worker: Worker, clock: Clock
) -> None:
    runner = SyncRunner(timed(clock, 500e-6), worker)
    runner.measured([1e-6])

    places = [call(runner, loop) for _ in range(40)]

    assert places[0] == threading.get_ident()
    assert places[-1] != threading.get_ident()


def test_one_call_that_others_would_feel_is_enough(
    loop: asyncio.AbstractEventLoop, worker: Worker, clock: Clock
) -> None:
    runner = SyncRunner(timed(clock, 0.2), worker)
    runner.measured([1e-6])

    places = [call(runner, loop) for _ in range(2)]

    assert [place == threading.get_ident() for place in places] == [True, False]


def test_a_few_slow_calls_among_many_change_nothing(
    loop: asyncio.AbstractEventLoop, worker: Worker, clock: Clock
) -> None:
    """The kernel ran somebody else: it says nothing about the method."""
    count = 0

    def method() -> int:
        nonlocal count
        count += 1
        clock.now += 4e-3 if count % 20 == 0 else 10e-6
        return threading.get_ident()

    runner = SyncRunner(method, worker)
    runner.measured([1e-6])

    assert {call(runner, loop) for _ in range(500)} == {threading.get_ident()}


def test_each_way_back_takes_a_longer_proof(
    loop: asyncio.AbstractEventLoop, worker: Worker, clock: Clock
) -> None:
    seconds = 10e-6

    def method() -> int:
        clock.now += seconds
        return threading.get_ident()

    runner = SyncRunner(method, worker)
    proofs = []
    for _ in range(2):
        calls = 0
        seconds = 10e-6
        while not runner.is_inline:
            call(runner, loop)
            calls += 1
        proofs.append(calls)
        seconds = 1.0
        call(runner, loop)

    assert proofs[1] > 4 * proofs[0]


@pytest.mark.parametrize("is_inline", [True, False])
def test_what_the_method_raises_comes_back(
    loop: asyncio.AbstractEventLoop, worker: Worker, is_inline: bool
) -> None:
    def method(error: BaseException) -> None:
        raise error

    runner = SyncRunner(method, worker)
    runner.is_inline = is_inline

    with pytest.raises(KeyError):
        call(runner, loop, error=KeyError("a"))
    with pytest.raises(SystemExit):
        call(runner, loop, error=SystemExit(3))


def test_a_worker_makes_one_call_after_the_other(
    loop: asyncio.AbstractEventLoop, worker: Worker
) -> None:
    running, most = 0, 0

    def job() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.001)
        running -= 1

    async def all_at_once() -> None:
        await asyncio.gather(*(worker.run(job) for _ in range(10)))

    loop.run_until_complete(all_at_once())

    assert most == 1


def test_a_worker_can_pass_on_a_stop_iteration(
    loop: asyncio.AbstractEventLoop, worker: Worker
) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        loop.run_until_complete(worker.run(lambda: next(iter(()))))


def test_a_worker_that_ends_after_its_loop_says_nothing() -> None:
    loop = asyncio.new_event_loop()
    worker = Worker("late", loop)
    gate = threading.Event()
    worker.submit(gate.wait, lambda *_: None)
    loop.close()
    gate.set()
    worker.close()

    worker._thread.join(20)  # what it raised would fail the test as a warning
    assert not worker._thread.is_alive()


def test_an_async_method_is_awaited_on_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    async def method(x: int) -> tuple[int, int]:
        await asyncio.sleep(0)
        return x, threading.get_ident()

    assert call(AsyncRunner(method, loop), loop, x=3) == (3, threading.get_ident())


def test_what_an_async_method_raises_comes_back(loop: asyncio.AbstractEventLoop) -> None:
    async def method() -> None:
        raise KeyError("a")

    with pytest.raises(KeyError):
        call(AsyncRunner(method, loop), loop)
