"""Signals: which count, when they come, and that they are given back."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

from modelpack.server.life.stopping import StopSignals


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def stops_after(*numbers: int) -> int:
    """How often the server is told to stop after these signals."""
    stops: list[int] = []

    async def run() -> None:
        signals.call(asyncio.get_running_loop(), lambda: stops.append(1))
        send(*numbers)
        await asyncio.sleep(0.01)

    with StopSignals(grace_s=60) as signals:
        asyncio.run(run())
    return len(stops)


def test_one_signal_stops_and_only_a_second_interrupt_hurries() -> None:
    assert stops_after(signal.SIGTERM) == 1
    assert stops_after(signal.SIGTERM, signal.SIGTERM) == 1
    assert stops_after(signal.SIGTERM, signal.SIGINT) == 2
    assert stops_after(signal.SIGINT, signal.SIGINT) == 2


def test_a_signal_that_comes_before_the_event_loop_is_not_lost() -> None:
    stops: list[int] = []

    async def run() -> None:
        signals.call(asyncio.get_running_loop(), lambda: stops.append(1))
        await asyncio.sleep(0.01)

    with StopSignals(grace_s=60) as signals:
        send(signal.SIGTERM)
        asyncio.run(run())

    assert stops == [1]


def test_afterwards_the_handlers_are_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopSignals(grace_s=60):
        assert signal.getsignal(signal.SIGTERM) != before[0]

    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_in_another_thread_the_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with StopSignals(grace_s=60):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [before]
