"""Runs the calls of an async api without batching: all at once, each a task of its own.

    submit(call) ──► task ──► resolve / reject

The same face as a ``Batcher``; a call that is dropped or late is cancelled.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from modelpack.server.batching.call import Call
from modelpack.server.problems import STOPPING, Overloaded, TimedOut, Unavailable
from modelpack.server.runners.threads import AsyncRunner


class Crowd:
    """The calls that an async api is busy with."""

    def __init__(self, runner: AsyncRunner, max_calls: int) -> None:
        self._runner = runner
        self._max_calls = max_calls
        self._tasks: dict[Call, asyncio.Task[Any]] = {}
        self._is_closed = False
        self.waiting_rows = 0
        self.is_stuck = False  # a call that takes too long is cancelled

    def submit(self, call: Call) -> None:
        """Begin a call, or reject it at once."""
        if self._is_closed:
            call.is_done = True
            call.reject(Unavailable(STOPPING))
        elif len(self._tasks) >= self._max_calls:
            call.is_done = True
            call.reject(Overloaded(1))
        else:
            self._tasks[call] = self._runner.task(call.values, partial(self._finish, call))

    def drop(self, call: Call) -> None:
        """Cancel a call: nobody waits for its answer."""
        call.is_done = True
        if (task := self._tasks.pop(call, None)) is not None:
            task.cancel()

    def expire(self, before: float) -> None:
        """Reject and cancel every call that started ``before`` that moment."""
        for call in [call for call in self._tasks if call.started < before]:
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
        self._tasks.pop(call, None)
        if call.is_done:
            return
        call.is_done = True
        if error is None:
            call.resolve(answer)
        else:
            call.reject(error)
