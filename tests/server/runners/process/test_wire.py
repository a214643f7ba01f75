"""Frames over a socket: small, large, in pieces, with descriptors, and bytes that are none."""

from __future__ import annotations

import array
import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from modelpack.server.runners.process.frames import (
    HAS_DESCRIPTOR,
    MAX_INLINE,
    TO_FRONT,
    TO_RUNNER,
    Head,
    Kind,
)
from modelpack.server.runners.process.packing import pack
from modelpack.server.runners.process.wire import INLINE_BYTES, Wire

WAIT_S = 20.0


class Side:
    """One end: what it got, and why it ended."""

    def __init__(self, end: socket.socket, reads: frozenset[Kind]) -> None:
        self.got: list[tuple[Kind, int, int, Any]] = []
        self.files: list[int] = []
        self.lost: list[str] = []
        self.wire = Wire(
            end,
            asyncio.get_running_loop(),
            reads=reads,
            on_frame=self._take,
            on_lost=self.lost.append,
        )

    def _take(self, head: Head, value: Any, descriptor: int) -> None:
        self.got.append((head.kind, head.api, head.call, value))
        if descriptor >= 0:
            self.files.append(os.fstat(descriptor).st_ino)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not holds():
                await asyncio.sleep(0.001)


def run(test: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())  # type: ignore[arg-type]


@contextmanager
def pair() -> Iterator[tuple[Side, Side]]:
    """Return a front and a runner that are connected."""
    ours, theirs = socket.socketpair()
    front, runner = Side(ours, TO_FRONT), Side(theirs, TO_RUNNER)
    try:
        yield front, runner
    finally:
        front.wire.close()
        runner.wire.close()


def test_frames_come_in_order_whatever_their_size() -> None:
    sizes = [1, 100, INLINE_BYTES // 4, 0, 10, INLINE_BYTES, 3, 2_000_000, 5]

    async def test() -> None:
        with pair() as (front, runner):
            for number, size in enumerate(sizes):
                values = {"x": np.full(size, number, np.uint8)}
                front.wire.send(Kind.RUN, api=2, call=number, packed=pack(values))
            await runner.until(lambda: len(runner.got) == len(sizes))
            for number, (kind, api, call, value) in enumerate(runner.got):
                assert (kind, api, call) == (Kind.RUN, 2, number)
                assert value["x"].tolist() == [number] * sizes[number]

    run(test)


def test_more_than_the_socket_takes_is_written_later() -> None:
    async def test() -> None:
        with pair() as (front, runner):
            for number in range(100):
                front.wire.send(Kind.RUN, call=number, packed=pack(b"z" * 50_000))
            await runner.until(lambda: len(runner.got) == 100)
            assert [call for _, _, call, _ in runner.got] == list(range(100))

    run(test)


def test_shared_memory_is_handed_back_and_used_again() -> None:
    async def test() -> None:
        with pair() as (front, runner):
            addresses = set()
            for number in range(6):
                front.wire.send(Kind.RUN, call=number, packed=pack(np.full(100_000, number)))
                await runner.until(lambda: bool(runner.got))
                (_, _, _, value) = runner.got.pop()
                addresses.add(value.ctypes.data)
                assert value[-1] == number
                del value
                lender = front.wire._lender
                await front.until(lambda lender=lender: bool(lender._free))
            assert len(addresses) == 1

    run(test)


def test_a_descriptor_comes_with_its_frame(tmp_path: Any) -> None:
    file = tmp_path / "file"
    file.write_text("x")

    async def test() -> None:
        with pair() as (front, runner), file.open() as opened:
            runner.wire.send(Kind.ANSWER, call=1, packed=pack("before"))
            runner.wire.send(Kind.WELCOME, api=7, descriptor=opened.fileno())
            runner.wire.send(Kind.ANSWER, call=2)
            await front.until(lambda: len(front.got) == 3)
            assert [call for _, _, call, _ in front.got] == [1, 0, 2]
            assert front.files == [file.stat().st_ino]

    run(test)


@pytest.mark.parametrize("has_unread", [False, True])
def test_what_was_written_before_the_end_is_read(has_unread: bool) -> None:
    """A process that dies with something unread leaves an error on the socket of the other."""

    async def test() -> None:
        with pair() as (front, runner):
            if has_unread:
                front.wire.send(Kind.RUN, call=1, packed=pack("unread"))
            for number in range(20):
                runner.wire.send(Kind.ANSWER, call=number, packed=pack("y" * 1000))
            runner.wire.close()
            await front.until(lambda: bool(front.lost))
            assert len(front.got) == 20
            assert not front.wire.is_open
            front.wire.send(Kind.RUN, call=2)  # too late: nothing happens

    run(test)


def test_the_end_is_noticed_with_much_to_write() -> None:
    async def test() -> None:
        ours, theirs = socket.socketpair()
        front = Side(ours, TO_FRONT)
        for number in range(100):
            front.wire.send(Kind.RUN, call=number, packed=pack(b"z" * 50_000))
        await asyncio.sleep(0.01)
        theirs.close()
        await front.until(lambda: bool(front.lost))
        assert not front.wire.is_open

    run(test)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + b" " * 40,
        Head(Kind.ANSWER).to_bytes(),  # not for a runner
        Head(Kind.RUN, size=MAX_INLINE + 1).to_bytes(),
        Head(Kind.RUN, size=2**63).to_bytes(),
        Head(Kind.RUN, size=10, segment=1).to_bytes(),  # no such segment
        Head(Kind.RUN, flags=2).to_bytes(),
        Head(Kind.RUN, flags=HAS_DESCRIPTOR).to_bytes(),  # none comes along
        Head(Kind.RUN, size=5).to_bytes() + b"\x00\x00\x00\x00\xff",
    ],
)
def test_bytes_that_are_no_frames_end_the_connection(data: bytes) -> None:
    async def test() -> None:
        ours, theirs = socket.socketpair()
        with ours:
            runner = Side(theirs, TO_RUNNER)
            ours.sendall(data)
            await runner.until(lambda: bool(runner.lost))
            assert runner.got == []
            assert len(runner.lost) == 1

    run(test)


@given(st.binary(min_size=1, max_size=200), st.booleans())
def test_any_bytes_are_read_or_refused(data: bytes, has_head: bool) -> None:
    head = Head(Kind.RUN, size=len(data)).to_bytes() if has_head else b""

    async def test() -> None:
        ours, theirs = socket.socketpair()
        runner = Side(theirs, TO_RUNNER)
        with ours:
            for at in range(0, len(head + data), 50):
                ours.send((head + data)[at : at + 50])
                await asyncio.sleep(0)
        await runner.until(lambda: bool(runner.lost))

    run(test)


def test_descriptors_that_nobody_asked_for_are_closed(descriptors: Callable[[], int]) -> None:
    async def test() -> None:
        before = descriptors()
        ours, theirs = socket.socketpair()
        runner = Side(theirs, TO_RUNNER)
        with ours:
            rights = array.array("i", [ours.fileno()] * 6)
            for _ in range(3):
                ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            await runner.until(lambda: bool(runner.lost))
        assert descriptors() == before

    run(test)
