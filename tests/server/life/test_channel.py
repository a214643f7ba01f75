"""The line between supervisor and worker: questions have answers, and an end is noticed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from modelpack.errors import ConfigError, ModelpackError, NotFoundError, UserCodeError
from modelpack.server.life.channel import Channel, ChannelClosedError, error_from, error_to


@asynccontextmanager
async def line(handlers: Mapping[str, Any]) -> AsyncIterator[tuple[Channel, Channel]]:
    """Two ends; the second one answers by the handlers."""
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    ours, theirs = await Channel.open(left), await Channel.open(right)
    serving = [asyncio.ensure_future(ours.serve({})), asyncio.ensure_future(theirs.serve(handlers))]
    try:
        yield ours, theirs
    finally:
        await ours.finish()
        await theirs.finish()
        await asyncio.gather(*serving)


async def _refuse(message: Mapping[str, Any]) -> None:
    raise NotFoundError(f"no '{message['name']}'", hint="look again")


def _fail(_message: Mapping[str, Any]) -> None:
    raise ZeroDivisionError("by zero")


def test_questions_are_answered_out_of_order() -> None:
    async def slow(message: Mapping[str, Any]) -> str:
        await asyncio.sleep(0.05)
        return f"slow {message['n']}"

    async def run() -> list[str]:
        async with line({"slow": slow, "fast": lambda m: f"fast {m['n']}"}) as (ours, _):
            return list(await asyncio.gather(ours.ask("slow", n=1), ours.ask("fast", n=2)))

    assert asyncio.run(run()) == ["slow 1", "fast 2"]


def test_an_error_of_ours_comes_back_as_its_class_with_its_words() -> None:
    async def run() -> None:
        async with line({"find": _refuse}) as (ours, _):
            await ours.ask("find", name="x")

    with pytest.raises(NotFoundError, match="no 'x'") as caught:
        asyncio.run(run())
    assert caught.value.hint == "look again"


def test_any_other_error_comes_back_too() -> None:
    async def run() -> None:
        async with line({"fail": _fail}) as (ours, _):
            await ours.ask("fail")

    with pytest.raises(ModelpackError, match="ZeroDivisionError: by zero"):
        asyncio.run(run())


def test_who_asks_hears_when_the_other_side_is_gone() -> None:
    async def run() -> None:
        async with line({"hang": lambda _: asyncio.sleep(60)}) as (ours, theirs):
            asking = asyncio.ensure_future(ours.ask("hang"))
            await asyncio.sleep(0.01)
            await theirs.finish()
            with pytest.raises(ChannelClosedError):
                await asking
            assert not ours.is_open
            with pytest.raises(ChannelClosedError):
                await ours.ask("hang")
            ours.tell("hang")  # nobody hears it, and nothing happens

    asyncio.run(run())


def test_a_question_can_have_a_limit() -> None:
    async def run() -> None:
        async with line({"hang": lambda _: asyncio.sleep(60)}) as (ours, _):
            await ours.ask("hang", 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(run())


def test_nonsense_ends_the_line() -> None:
    async def run() -> bool:
        left, right = socket.socketpair()
        right.setblocking(False)
        with left:
            channel = await Channel.open(right)
            left.sendall(b"this is no JSON\n")
            await channel.serve({})
        return channel.is_open

    assert not asyncio.run(run())


@pytest.mark.parametrize(
    "error",
    [UserCodeError("it failed", hint="mend it"), ConfigError([], hint="h"), ModelpackError("x")],
)
def test_errors_survive_the_way(error: ModelpackError) -> None:
    copy = error_from(error_to(error))

    assert type(copy) is type(error)
    assert (copy.message, copy.hint, copy.exit_code) == (error.message, error.hint, error.exit_code)
