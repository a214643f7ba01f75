"""What a queue asks of the places where a service's methods run.

    Batcher / Crowd ──run(values, done)──► a Runs ──► the method ──encode──► done(plain, None)

``plain`` is the answer after ``ApiSpec.encode``: arrays, lists, mappings, tuples, text, numbers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

Done = Callable[[Any, BaseException | None], None]
"""Gets the answer, or None and the error; called on the event loop."""


class Runs(Protocol):
    """Makes one call of one method at a time."""

    def run(self, values: Mapping[str, Any], done: Done) -> None:
        """Make a call; ``done(answer, None)`` or ``done(None, error)`` follows, at once or later."""

    def give_up(self) -> None:
        """Nobody waits for the call that runs: end it, if that is possible."""


def pass_on(done: Done, task: asyncio.Future[Any]) -> None:
    """Tell ``done`` how a task ended: with an answer, with an error, or cancelled."""
    if task.cancelled():
        done(None, asyncio.CancelledError())
    elif (error := task.exception()) is not None:
        done(None, error)
    else:
        done(task.result(), None)
