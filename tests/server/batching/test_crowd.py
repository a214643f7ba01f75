"""Calls of an async api: all at once, each cancelled when nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from modelpack.server.batching.call import Call
from modelpack.server.batching.crowd import Crowd
from modelpack.server.problems import BadOutput, Overloaded, TimedOut, Unavailable
from modelpack.server.runners.threads import AsyncRunner


class Recorded(Call):
    def __init__(self, deadline: float = 1e9, size_bytes: int = 0, **values: Any) -> None:
        super().__init__()
        self.values = values
        self.deadline = deadline
        self.size_bytes = size_bytes
        self.answers: list[Any] = []

    def resolve(self, answer: Any) -> None:
        self.answers.append(answer)

    def reject(self, error: BaseException) -> None:
        self.answers.append(error)


class Service:
    """Waits for the gate; counts what began, ended and was cancelled."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun = self.cancelled = 0

    async def method(self, x: int) -> int:
        self.begun += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if x < 0:
            raise ValueError("negative")
        if x == 13:
            raise BadOutput("thirteen")
        return x * 2


def run(
    test: Callable[[Service, Crowd], Awaitable[None]], *, limit: int = 10, max_bytes: int = 1000
) -> None:
    async def inside() -> None:
        service = Service()
        crowd = Crowd(limit, max_bytes)
        crowd.add_runner(AsyncRunner(service.method, asyncio.get_running_loop()))
        await test(service, crowd)

    asyncio.run(inside())


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_calls_run_at_once_and_get_their_own_answers() -> None:
    async def inside(service: Service, crowd: Crowd) -> None:
        calls = [Recorded(x=x) for x in (1, 2, -3, 13)]
        for call in calls:
            crowd.submit(call)
        await turns()
        assert service.begun == 4
        service.gate.set()
        await turns()
        assert [call.answers[0] for call in calls[:2]] == [2, 4]
        assert isinstance(calls[2].answers[0], ValueError)
        assert isinstance(calls[3].answers[0], BadOutput)
        assert crowd.is_idle

    run(inside)


@pytest.mark.parametrize("how", ["drop", "expire", "close"])
def test_a_call_that_nobody_waits_for_is_cancelled(how: str) -> None:
    async def inside(service: Service, crowd: Crowd) -> None:
        call, other = Recorded(x=1, deadline=1.0), Recorded(x=2, deadline=5.0)
        crowd.submit(call)
        crowd.submit(other)
        await turns()
        if how == "drop":
            crowd.drop(call)
        elif how == "expire":
            crowd.expire(now=2.0)
        else:
            crowd.close()
        await turns()
        assert service.cancelled == (2 if how == "close" else 1)
        service.gate.set()
        await turns()
        expected = {"drop": [], "expire": [TimedOut], "close": [Unavailable]}[how]
        assert [type(answer) for answer in call.answers] == expected
        assert len(other.answers) == 1
        assert crowd.is_idle

    run(inside)


def test_more_than_the_limit_is_refused() -> None:
    async def inside(service: Service, crowd: Crowd) -> None:
        calls = [Recorded(x=x) for x in range(3)]
        for call in calls:
            crowd.submit(call)
        await turns()
        assert isinstance(calls[2].answers[0], Overloaded)
        service.gate.set()
        await turns()
        assert [calls[0].answers, calls[1].answers] == [[0], [2]]

    run(inside, limit=2)


def test_more_bytes_than_the_limit_are_refused_and_room_comes_back() -> None:
    async def inside(service: Service, crowd: Crowd) -> None:
        calls = [Recorded(x=x, size_bytes=60) for x in range(2)]
        for call in calls:
            crowd.submit(call)
        assert isinstance(calls[1].answers[0], Overloaded)
        crowd.drop(calls[0])
        later = Recorded(x=5, size_bytes=60)
        crowd.submit(later)
        service.gate.set()
        await turns()
        assert later.answers == [10]

    run(inside, max_bytes=100)


def test_a_call_larger_than_the_limit_is_taken_when_it_is_alone() -> None:
    async def inside(service: Service, crowd: Crowd) -> None:
        call = Recorded(x=5, size_bytes=5000)
        crowd.submit(call)
        service.gate.set()
        await turns()
        assert call.answers == [10]

    run(inside)


def test_several_runners_share_the_calls() -> None:
    async def inside(service: Service, crowd: Crowd) -> None:
        other = Service()
        crowd.add_runner(AsyncRunner(other.method, asyncio.get_running_loop()))
        calls = [Recorded(x=x) for x in range(4)]
        for call in calls:
            crowd.submit(call)
        await turns()
        assert (service.begun, other.begun) == (2, 2)
        for one in (service, other):
            one.gate.set()
        await turns()
        assert [call.answers for call in calls] == [[0], [2], [4], [6]]

    run(inside)


def test_a_runner_that_was_taken_away_ends_its_calls_and_gets_no_more() -> None:
    async def inside(service: Service, crowd: Crowd) -> None:
        runner = AsyncRunner(service.method, asyncio.get_running_loop())
        lone = Crowd(10)
        lone.add_runner(runner)
        first, second = Recorded(x=1), Recorded(x=2)
        lone.submit(first)
        lone.remove_runner(runner)
        lone.submit(second)
        assert isinstance(second.answers[0], Unavailable)
        assert not runner.is_idle
        service.gate.set()
        await turns()
        assert first.answers == [2]
        assert runner.is_idle

    run(inside)


def test_after_closing_nothing_is_taken() -> None:
    async def inside(service: Service, crowd: Crowd) -> None:
        crowd.close()
        call = Recorded(x=1)
        crowd.submit(call)
        assert isinstance(call.answers[0], Unavailable)
        assert service.begun == 0

    run(inside)
