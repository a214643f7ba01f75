"""Signals: which count, when they come, and that they are given back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
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


LEAVING = """
import asyncio, threading
from modelpack.server.life.stopping import leave
from modelpack.server.runners.threads import Worker

worker = Worker("hangs", asyncio.new_event_loop())
begun = threading.Event()
def hang():
    begun.set()
    threading.Event().wait(60)
if {hangs}:
    worker.submit(hang, lambda *_: None)
    begun.wait()
print("last words", end="")
leave(7)
"""


def test_a_process_leaves_with_its_status_also_when_a_call_hangs() -> None:
    for hangs in (True, False):
        done = subprocess.run(
            [sys.executable, "-c", LEAVING.format(hangs=hangs)],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (7, "last words")
        assert "terminate" not in done.stderr
