"""Runs the calls of an async api without batching: all at once, each a task of its own.

    submit(call) ──► the runner with the fewest calls ──► task ──► resolve / reject

The same face as a ``Batcher``; a call that is dropped or late is cancelled.
"""

from __future__ import annotations

import asyncio
from functools import partial
from time import perf_counter
from typing import Any, Protocol

from modelpack.config.serving import ServerSettings
from modelpack.server.batching.call import Call
from modelpack.server.problems import STOPPING, Overloaded, TimedOut, Unavailable
from modelpack.server.runners.base import Done

NO_RUNNER = "nothing can run it now"


class Tasks(Protocol):
    """Makes any number of calls at a time, each one that can be cancelled."""

    running: int
    """Calls that have not ended."""

    def task(self, values: dict[str, Any], done: Done) -> asyncio.Future[Any]:
        """Begin a call; ``done`` is called once it has ended.  Cancelling the future ends it."""


class Crowd:
    """The calls that an async api is busy with."""

    def __init__(self, max_calls: int, max_bytes: int = 256 * 1024 * 1024) -> None:
        """Takes so many calls at a time, and so many bytes of bodies."""
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._runners: list[Tasks] = []
        self._tasks: dict[Call, asyncio.Future[Any]] = {}
        self._is_closed = False
        self._size_bytes = 0
        self.waiting_rows = 0
        self.is_stuck = False  # a call that takes too long is cancelled

    @classmethod
    def of(cls, settings: ServerSettings) -> Crowd:
        """Return the crowd that the settings of the server ask for."""
        return cls(settings.max_queue_rows, settings.max_queue_bytes)

    def add_runner(self, runner: Tasks) -> None:
        """Give calls to that one too."""
        self._runners.append(runner)

    def remove_runner(self, runner: Tasks) -> None:
        """Give no more calls to it; those that it has go on."""
        self._runners.remove(runner)

    def submit(self, call: Call) -> None:
        """Begin a call, or reject it at once."""
        if self._is_closed or not self._runners:
            call.is_done = True
            call.reject(Unavailable(STOPPING if self._is_closed else NO_RUNNER))
        elif self._tasks and (
            len(self._tasks) >= self._max_calls
            or self._size_bytes + call.size_bytes > self._max_bytes
        ):
            call.is_done = True
            call.reject(Overloaded(1))
        else:
            self._size_bytes += call.size_bytes
            call.queue_s = perf_counter() - call.started
            runners = self._runners
            runner = runners[0] if len(runners) == 1 else min(runners, key=_calls_of)
            self._tasks[call] = runner.task(call.values, partial(self._finish, call))

    def drop(self, call: Call) -> None:
        """Cancel a call: nobody waits for its answer."""
        call.is_done = True
        if (task := self._tasks.pop(call, None)) is not None:
            self._size_bytes -= call.size_bytes
            task.cancel()

    def expire(self, now: float) -> None:
        """Reject and cancel every call whose deadline has passed at ``now``."""
        for call in [call for call in self._tasks if call.deadline <= now]:
            self.drop(call)
            call.reject(TimedOut())

    def close(self) -> None:
        """Reject and cancel what runs, and whatever comes."""
        self._is_closed = True
        for call in list(self._tasks):
            self.drop(call)
            call.reject(Unavailable(STOPPING))

    @property
    def is_idle(self) -> bool:
        """True when no call runs."""
        return not self._tasks

    def _finish(self, call: Call, answer: Any, error: BaseException | None) -> None:
        if self._tasks.pop(call, None) is not None:
            self._size_bytes -= call.size_bytes
        if call.is_done:
            return
        call.is_done = True
        call.run_s = perf_counter() - call.started - call.queue_s
        if error is None:
            call.resolve(answer)
        else:
            call.reject(error)


def _calls_of(runner: Tasks) -> int:
    return runner.running
