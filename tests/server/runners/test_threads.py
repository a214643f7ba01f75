"""Where a method runs: it is learned from its own calls."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any

import pytest

from modelpack.sdk.placement import Placement, device, placed
from modelpack.server.problems import RunnerLost
from modelpack.server.runners import threads as runner_module
from modelpack.server.runners.threads import MAX_HUNG, AsyncRunner, SyncRunner, Worker


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


@pytest.mark.parametrize("mode", ["inline", "thread"])
def test_a_place_that_was_set_is_kept(
    loop: asyncio.AbstractEventLoop, worker: Worker, clock: Clock, mode: Any
) -> None:
    seconds = 1.0 if mode == "inline" else 1e-6

    def method() -> int:
        clock.now += seconds
        return threading.get_ident()

    runner = SyncRunner(method, worker, mode=mode)
    runner.measured([seconds])

    places = {call(runner, loop) == threading.get_ident() for _ in range(50)}

    assert places == {mode == "inline"}
    assert runner.kind == mode


class Hanging:
    """A method whose calls come back when they are told to, in the order of their numbers."""

    def __init__(self) -> None:
        self.gates: dict[int, threading.Event] = {}
        self.begun = threading.Semaphore(0)

    def __call__(self, number: int) -> int:
        gate = self.gates.setdefault(number, threading.Event())
        self.begun.release()
        assert gate.wait(20)
        return number


class Outcomes:
    """What the calls of a runner came to."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def done(self, answer: Any, error: BaseException | None) -> None:
        self.seen.append(answer if error is None else error)

    def turn_until(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        """Let the loop turn until so many calls have ended."""

        async def wait() -> None:
            while len(self.seen) < count:
                await asyncio.sleep(0.001)

        loop.run_until_complete(asyncio.wait_for(wait(), 20))


def test_beside_a_call_that_hangs_a_new_thread_goes_on(
    loop: asyncio.AbstractEventLoop, worker: Worker
) -> None:
    method, outcomes = Hanging(), Outcomes()
    runner = SyncRunner(method, worker)
    runner.run({"number": 1}, outcomes.done)
    assert method.begun.acquire(timeout=20)

    runner.give_up()
    runner.run({"number": 2}, outcomes.done)
    assert method.begun.acquire(timeout=20)
    method.gates[2].set()
    outcomes.turn_until(loop, 2)
    method.gates[1].set()  # it comes back after all, and nobody is told
    runner.run({"number": 3}, outcomes.done)
    assert method.begun.acquire(timeout=20)
    method.gates[3].set()
    outcomes.turn_until(loop, 3)

    assert isinstance(outcomes.seen[0], RunnerLost)
    assert outcomes.seen[1:] == [2, 3]
    assert runner.restarts == 1
    runner.close()


def test_only_so_many_threads_may_hang_and_one_that_returns_makes_room(
    loop: asyncio.AbstractEventLoop, worker: Worker
) -> None:
    method, outcomes = Hanging(), Outcomes()
    runner = SyncRunner(method, worker)
    for number in range(MAX_HUNG + 1):
        runner.run({"number": number}, outcomes.done)
        assert method.begun.acquire(timeout=20)
        runner.give_up()
    outcomes.turn_until(loop, MAX_HUNG)
    loop.run_until_complete(asyncio.sleep(0.01))
    assert not runner.is_idle
    assert len(outcomes.seen) == MAX_HUNG

    method.gates[0].set()
    outcomes.turn_until(loop, MAX_HUNG + 1)

    assert runner.is_idle
    assert all(isinstance(one, RunnerLost) for one in outcomes.seen)
    for gate in method.gates.values():
        gate.set()
    runner.close()


def test_a_call_that_ends_in_time_cannot_be_given_up(
    loop: asyncio.AbstractEventLoop, worker: Worker
) -> None:
    runner = SyncRunner(lambda: 1, worker)
    assert call(runner, loop) == 1

    runner.give_up()

    assert runner.restarts == 0
    assert call(runner, loop) == 1


def test_a_thread_runs_where_its_worker_was_made_and_is_prepared_once(
    loop: asyncio.AbstractEventLoop,
) -> None:
    prepared: list[int] = []
    with placed(Placement(device="cuda:7")):
        worker = Worker("test", loop, prepare=lambda: prepared.append(threading.get_ident()))
    other = worker.another()

    seen = [loop.run_until_complete(one.run(device)) for one in (worker, worker, other)]
    worker.close()
    other.close()

    assert seen == ["cuda:7"] * 3
    assert len(prepared) == len(set(prepared)) == 2


def test_an_inline_call_can_run_in_a_context_of_its_own(
    loop: asyncio.AbstractEventLoop, worker: Worker
) -> None:
    with placed(Placement(device="cuda:7")):
        context = copy_context()

    assert call(SyncRunner(device, worker, mode="inline", context=context), loop) == "cuda:7"
    assert call(AsyncRunner(device_async, loop, context=context), loop) == "cuda:7"
    assert call(AsyncRunner(device_async, loop), loop) == "cpu"


async def device_async() -> str:
    return device()


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
