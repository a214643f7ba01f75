"""Calls one method of the service in the place that suits it.

    async method                        a task on the event loop
    sync method, shorter than a hand-off     inline, on the event loop
    sync method, longer or not known yet     the api's own thread

A hand-off to a thread and back costs more than a short call, so such a call is cheaper where it is.
``SyncRunner`` learns from the calls themselves: what turns slow moves to the thread, at once when one
call would be felt by others, and what proves fast comes back, each time after a longer proof.  A
single slow call means little, the kernel may have run somebody else meanwhile; so shares of slow
calls decide, not means.

A runner has one thread, so its method never runs twice at a time; only when a call hangs, and has
been given up, a new thread goes on beside it, a few times at the most.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from time import perf_counter
from typing import Any, Literal
from weakref import WeakSet

from modelpack.server.problems import RunnerLost
from modelpack.server.runners.base import Done, pass_on

INLINE_S = 100e-6
"""A call that takes longer is slow: too slow for the event loop if many are."""

FELT_S = 50e-3
"""One call that takes longer moves the method to its thread at once."""

MAX_HUNG = 3
"""Threads of one runner that may hang at a time while another one goes on."""

_SLOW_SHARE = 0.3
_SMOOTHING = 1 / 32
_PROOF_CALLS = 16
_LONGEST_PROOF = 4096

Method = Callable[..., Any]
Mode = Literal["auto", "inline", "thread"]


_workers: WeakSet[Worker] = WeakSet()


def calls_are_running() -> bool:
    """Say whether some thread has a call that has not come back."""
    return any(worker.is_busy for worker in list(_workers))


class Worker:
    """A thread that makes one call after the other; a daemon, so that a hung call stops nobody.

    It runs in a copy of the context of whoever makes it.  ``prepare`` is called in it first.
    """

    def __init__(
        self,
        name: str,
        loop: asyncio.AbstractEventLoop,
        *,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self._name = name
        self._loop = loop
        self._prepare = prepare
        self._context: Context = copy_context()
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Done] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._context.run, args=(self._work,), name=name, daemon=True
        )
        self._is_started = False
        self.is_busy = False
        """True while a call runs."""

    def another(self) -> Worker:
        """Return a new one with the same name in the same context."""
        return self._context.copy().run(Worker, self._name, self._loop, prepare=self._prepare)

    def submit(self, job: Callable[[], Any], done: Done) -> None:
        """Make a call in the thread; ``done`` is called on the event loop."""
        if not self._is_started:
            self._is_started = True
            _workers.add(self)
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
        if self._prepare is not None:
            with suppress(Exception):  # better a thread that is not prepared than none
                self._prepare()
        while (item := self._jobs.get()) is not None:
            job, done = item
            answer, error = None, None
            self.is_busy = True
            try:
                answer = job()
            except BaseException as raised:  # a service may raise anything
                error = raised
            self.is_busy = False
            try:
                self._loop.call_soon_threadsafe(done, answer, error)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more
            del item, job, done, answer, error


class SyncRunner:
    """Runs a sync method inline or in a thread, whichever its own calls say is better."""

    def __init__(
        self,
        method: Method,
        worker: Worker,
        *,
        mode: Mode = "auto",
        inline_s: float = INLINE_S,
        context: Context | None = None,
    ) -> None:
        """``mode`` other than ``auto`` settles where calls run.

        ``inline_s`` is how long a call may take that is better off on the event loop; ``context``
        is what it runs in there, None: whatever is there.
        """
        self._method = method
        self._inline_method = method if context is None else partial(context.run, method)
        self.worker = worker
        self._is_auto = mode == "auto"
        self._inline_s = inline_s
        self._slow_share = 0.0
        self._proof = 0
        self._proof_needed = _PROOF_CALLS
        self._done: Done | None = None  # of the call that runs in the thread
        self._is_given_up = False  # that call, and no thread may be added
        self._hung = 0
        self.is_inline = mode == "inline"
        self.restarts = 0
        """Threads that were started in place of one that hung."""

    @property
    def kind(self) -> str:
        """``inline`` or ``thread``: where the next call runs."""
        return "inline" if self.is_inline else "thread"

    @property
    def is_idle(self) -> bool:
        """True when no call runs that somebody waits for."""
        return self._done is None

    def run(self, values: Mapping[str, Any], done: Done) -> None:
        """Call the method; ``done`` is called on the event loop, now or later."""
        if not self.is_inline:
            self._done = done
            self.worker.submit(partial(self._call_in_thread, values), partial(self._end, done))
            return
        began = perf_counter()
        answer, error = None, None
        try:
            answer = self._inline_method(**values)
        except (Exception, SystemExit) as raised:  # sys.exit() in a service ends a call, not us
            error = raised
        took = perf_counter() - began
        if took > self._inline_s:
            self._suspect(took)
        elif self._slow_share:
            self._slow_share *= 1 - _SMOOTHING
        done(answer, error)

    def give_up(self) -> None:
        """Leave the call that runs to its thread, and go on in a new one.

        A thread cannot be ended from outside.  After ``MAX_HUNG`` of them nothing is done until one
        comes back.
        """
        done = self._done
        if done is None:
            return
        if self._hung >= MAX_HUNG:
            self._is_given_up = True
            return
        self._done, self._is_given_up = None, False
        self._hung += 1
        self.restarts += 1
        self.worker.close()
        self.worker = self.worker.another()
        done(None, RunnerLost(has_begun=True))

    def close(self) -> None:
        """Let the thread end after what it has."""
        self.worker.close()

    def _end(self, done: Done, answer: Any, error: BaseException | None) -> None:
        if done is self._done:
            self._done, self._is_given_up = None, False
            done(answer, error)
            return
        self._hung -= 1  # a call that was given up came back after all
        if self._is_given_up:
            self.give_up()

    def _call_in_thread(self, values: Mapping[str, Any]) -> Any:
        began = perf_counter()
        try:
            return self._method(**values)
        finally:
            self._learn(perf_counter() - began)

    def measured(self, seconds: Sequence[float]) -> None:
        """Decide by the calls of the warm-up, before there are others."""
        if self._is_auto and seconds:
            self.is_inline = sorted(seconds)[len(seconds) // 2] < self._inline_s

    def _suspect(self, took: float) -> None:
        """Leave the event loop when many calls are slow, or this one was too slow."""
        self._slow_share += (1 - self._slow_share) * _SMOOTHING
        if self._is_auto and (self._slow_share > _SLOW_SHARE or took > FELT_S):
            self.is_inline = False
            self._proof = 0
            self._slow_share = 0.0
            self._proof_needed = min(self._proof_needed * 8, _LONGEST_PROOF)

    def _learn(self, took: float) -> None:
        """Come back to the event loop when enough calls were clearly fast."""
        self._proof = self._proof + 1 if took < self._inline_s / 2 else max(0, self._proof - 4)
        if self._is_auto and self._proof >= self._proof_needed:
            self.is_inline = True


class AsyncRunner:
    """Runs an async method as a task; in ``context``, None: in whatever is there."""

    kind = "inline"

    def __init__(
        self, method: Method, loop: asyncio.AbstractEventLoop, *, context: Context | None = None
    ) -> None:
        self._method = method
        self._loop = loop
        self._context = context
        self._task: asyncio.Task[Any] | None = None
        self.running = 0
        """Calls that have not ended."""

    @property
    def is_idle(self) -> bool:
        """True when no call runs."""
        return not self.running

    def run(self, values: Mapping[str, Any], done: Done) -> None:
        """Begin the task; ``done`` is called when it has ended."""
        self._task = self.task(values, done)

    def give_up(self) -> None:
        """Cancel the call that ``run`` began."""
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """Do nothing: there is no thread."""

    def task(self, values: Mapping[str, Any], done: Done) -> asyncio.Task[Any]:
        """As ``run``; returns the task, which may be cancelled."""
        context = None if self._context is None else self._context.copy()
        task = self._loop.create_task(self._method(**values), context=context)
        self.running += 1
        task.add_done_callback(partial(self._pass_on, done))
        return task

    def _pass_on(self, done: Done, task: asyncio.Task[Any]) -> None:
        self.running -= 1
        pass_on(done, task)


def _sendable(error: BaseException) -> BaseException:
    """Return what a future can hold: it refuses StopIteration."""
    if isinstance(error, StopIteration):
        return RuntimeError("the service raised StopIteration")
    return error
