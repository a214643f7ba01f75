"""Calls one method of the service in the place that suits it.

    async method                        a task on the event loop
    sync method, shorter than a hand-off     inline, on the event loop
    sync method, longer or not known yet     the api's own thread

A hand-off to a thread costs about 50 µs of processor time, so a shorter call is cheaper where it
is.  ``SyncRunner`` learns from the calls themselves: what turns slow moves to the thread, at once
when one call would be felt by others, and what proves fast comes back, each time after a longer
proof.  A single slow call means little, the kernel may have run somebody else meanwhile; so shares
of slow calls decide, not means.  One api has one thread: its method never runs twice at a time.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any

from modelpack.server.runners.base import Done

INLINE_S = 100e-6
"""A call that takes longer is slow: too slow for the event loop if many are."""

FELT_S = 50e-3
"""One call that takes longer moves the method to its thread at once."""

_SLOW_SHARE = 0.3
_SMOOTHING = 1 / 32
_PROOF_CALLS = 16
_LONGEST_PROOF = 4096

Method = Callable[..., Any]


class Worker:
    """A thread that makes one call after the other; a daemon, so that a hung call stops nobody."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Done] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._is_started = False

    def submit(self, job: Callable[[], Any], done: Done) -> None:
        """Make a call in the thread; ``done`` is called on the event loop."""
        if not self._is_started:
            self._is_started = True
            self._thread.start()
        self._jobs.put((job, done))

    async def run(self, job: Callable[[], Any]) -> Any:
        """Make a call in the thread and wait for what it returns."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def done(answer: Any, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(answer)
            else:
                future.set_exception(_sendable(error))

        self.submit(job, done)
        return await future

    def close(self) -> None:
        """Let the thread end after what it has."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, done = item
            answer, error = None, None
            try:
                answer = job()
            except BaseException as raised:  # a service may raise anything
                error = raised
            try:
                self._loop.call_soon_threadsafe(done, answer, error)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more
            del item, job, done, answer, error


class SyncRunner:
    """Runs a sync method inline or in a thread, whichever its own calls say is better."""

    def __init__(self, method: Method, worker: Worker) -> None:
        self._method = method
        self._worker = worker
        self._slow_share = 0.0
        self._proof = 0
        self._proof_needed = _PROOF_CALLS
        self.is_inline = False

    def run(self, values: Mapping[str, Any], done: Done) -> None:
        """Call the method; ``done`` is called on the event loop, now or later."""
        if not self.is_inline:
            self._worker.submit(partial(self._call_in_thread, values), done)
            return
        began = perf_counter()
        answer, error = None, None
        try:
            answer = self._method(**values)
        except (Exception, SystemExit) as raised:  # sys.exit() in a service ends a call, not us
            error = raised
        took = perf_counter() - began
        if took > INLINE_S:
            self._suspect(took)
        elif self._slow_share:
            self._slow_share *= 1 - _SMOOTHING
        done(answer, error)

    def give_up(self) -> None:
        """Do nothing: a thread cannot be ended from outside."""

    def _call_in_thread(self, values: Mapping[str, Any]) -> Any:
        began = perf_counter()
        try:
            return self._method(**values)
        finally:
            self._learn(perf_counter() - began)

    def measured(self, seconds: list[float]) -> None:
        """Decide by the calls of the warm-up, before there are others."""
        self.is_inline = sorted(seconds)[len(seconds) // 2] < INLINE_S

    def _suspect(self, took: float) -> None:
        """Leave the event loop when many calls are slow, or this one was too slow."""
        self._slow_share += (1 - self._slow_share) * _SMOOTHING
        if self._slow_share > _SLOW_SHARE or took > FELT_S:
            self.is_inline = False
            self._proof = 0
            self._slow_share = 0.0
            self._proof_needed = min(self._proof_needed * 8, _LONGEST_PROOF)

    def _learn(self, took: float) -> None:
        """Come back to the event loop when enough calls were clearly fast."""
        self._proof = self._proof + 1 if took < INLINE_S / 2 else max(0, self._proof - 4)
        if self._proof >= self._proof_needed:
            self.is_inline = True


class AsyncRunner:
    """Runs an async method as a task."""

    def __init__(self, method: Method, loop: asyncio.AbstractEventLoop) -> None:
        self._method = method
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None

    def run(self, values: Mapping[str, Any], done: Done) -> None:
        """Begin the task; ``done`` is called when it has ended."""
        self._task = self.task(values, done)

    def give_up(self) -> None:
        """Cancel the call that ``run`` began."""
        if self._task is not None:
            self._task.cancel()

    def task(self, values: Mapping[str, Any], done: Done) -> asyncio.Task[Any]:
        """As ``run``; returns the task, which may be cancelled."""
        task = self._loop.create_task(self._method(**values))
        task.add_done_callback(partial(_pass_on, done))
        return task


def _pass_on(done: Done, task: asyncio.Task[Any]) -> None:
    if task.cancelled():
        done(None, asyncio.CancelledError())
    elif (error := task.exception()) is not None:
        done(None, error)
    else:
        done(task.result(), None)


def _sendable(error: BaseException) -> BaseException:
    """Return what a future can hold: it refuses StopIteration."""
    if isinstance(error, StopIteration):
        return RuntimeError("the service raised StopIteration")
    return error
