"""Runs the calls of one api in a runner process, in the order in which they came.

    submit(front, call, values) ──arrive──► arguments ──► SyncRunner / AsyncRunner ──► front.answer, fail

``SerialLane`` runs one call at a time, whoever sent it; ``CrowdLane``, for async apis without
batching, all that come; a ``Stream`` is a generator that a front draws from, piece by piece.  The
page says of each call that it begins before anything of the service's is run for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from modelpack.sdk.api import ApiSpec
from modelpack.server.runners.methods import MethodStream
from modelpack.server.runners.process.arguments import arriving
from modelpack.server.runners.process.frames import FrameError
from modelpack.server.runners.process.page import Page
from modelpack.server.runners.replica import Replica
from modelpack.server.runners.threads import AsyncRunner, SyncRunner

_END = object()


class Asks(Protocol):
    """A front, as its calls see it."""

    number: int

    def answer(self, call: int, plain: Any) -> None:
        """Send an answer."""

    def fail(self, call: int, error: BaseException, *, is_decoding: bool = False) -> None:
        """Send what went wrong."""

    def end(self, call: int) -> None:
        """Send that a stream has no more pieces."""

    def forget(self, call: int) -> None:
        """Let go of a stream that is closed."""


class Lane:
    """The calls of one api."""

    def __init__(self, number: int, api: ApiSpec, page: Page) -> None:
        self.api = api
        self.number = number
        self.page = page
        self.arrive = arriving(api)

    def submit(self, front: Asks, call: int, values: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Take a call; raises FrameError when the api has none."""
        raise FrameError(f"'{self.api.name}' streams, it has no calls")

    def cancel(self, front: Asks, call: int) -> None:
        """Forget a call that nobody waits for."""

    def forget(self, front: Asks) -> None:
        """Forget every call of a front that is gone."""


class SerialLane(Lane):
    """One call at a time, in the order in which they came."""

    def __init__(
        self, number: int, api: ApiSpec, page: Page, runner: SyncRunner | AsyncRunner
    ) -> None:
        super().__init__(number, api, page)
        self._runner = runner
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Asks, int, Mapping[str, Any]]] = deque()
        self._is_running = False

    def submit(self, front: Asks, call: int, values: Mapping[str, Any]) -> None:
        """Run a call now or after those that wait."""
        if self._is_running or self._waiting:
            self._waiting.append((front, call, values))
        else:
            self._run(front, call, values)

    def cancel(self, front: Asks, call: int) -> None:
        """Forget a call that waits; one that runs goes on."""
        self._waiting = deque(one for one in self._waiting if one[:2] != (front, call))

    def forget(self, front: Asks) -> None:
        """Forget what waits of a front."""
        self._waiting = deque(one for one in self._waiting if one[0] is not front)

    def _run(self, front: Asks, call: int, values: Mapping[str, Any]) -> None:
        self._is_running = True
        self.page.begin(front.number, self.number, call)
        try:
            arguments = self.arrive(values)
        except Exception as error:  # classes of the service take part
            self._end(front, call, None, error, is_decoding=True)
            return
        del values
        self._runner.run(arguments, partial(self._end, front, call))

    def _end(
        self,
        front: Asks,
        call: int,
        plain: Any,
        error: BaseException | None,
        *,
        is_decoding: bool = False,
    ) -> None:
        self.page.end(front.number, self.number)
        self._is_running = False
        if error is None:
            front.answer(call, plain)
        else:
            front.fail(call, error, is_decoding=is_decoding)
        if self._waiting:
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        if self._waiting and not self._is_running:
            self._run(*self._waiting.popleft())


class CrowdLane(Lane):
    """All calls at once, each a task."""

    def __init__(self, number: int, api: ApiSpec, page: Page, runner: AsyncRunner) -> None:
        super().__init__(number, api, page)
        self._runner = runner
        self._tasks: dict[tuple[Asks, int], asyncio.Task[Any]] = {}

    def submit(self, front: Asks, call: int, values: Mapping[str, Any]) -> None:
        """Begin a call."""
        self.page.begin(front.number, self.number, call)
        try:
            arguments = self.arrive(values)
        except Exception as error:  # classes of the service take part
            self.page.end(front.number, self.number)
            front.fail(call, error, is_decoding=True)
            return
        task = self._runner.task(arguments, partial(self._end, front, call))
        self._tasks[front, call] = task

    def cancel(self, front: Asks, call: int) -> None:
        """Cancel a call."""
        if (task := self._tasks.get((front, call))) is not None:
            task.cancel()

    def forget(self, front: Asks) -> None:
        """Cancel every call of a front."""
        for (one, _), task in list(self._tasks.items()):
            if one is front:
                task.cancel()

    def _end(self, front: Asks, call: int, plain: Any, error: BaseException | None) -> None:
        self._tasks.pop((front, call), None)
        self.page.end(front.number, self.number)
        if error is None:
            front.answer(call, plain)
        else:
            front.fail(call, error)


def make_lane(number: int, api: ApiSpec, replica: Replica, page: Page) -> Lane:
    """Return the lane that suits the api."""
    if api.is_stream:
        return StreamLane(number, api, page, replica)
    runner = replica.runners[api.name]
    if api.batch is None and isinstance(runner, AsyncRunner):
        return CrowdLane(number, api, page, runner)
    return SerialLane(number, api, page, runner)


class StreamLane(Lane):
    """The generators of one api."""

    def __init__(self, number: int, api: ApiSpec, page: Page, replica: Replica) -> None:
        super().__init__(number, api, page)
        self._replica = replica

    def open(self, values: Mapping[str, Any]) -> MethodStream:
        """Return the pieces for arguments that have crossed; raises InputError."""
        return self._replica.open_stream(self.api, self.arrive(values))


class Stream:
    """A generator that a front draws from."""

    def __init__(
        self, front: Asks, number: int, lane: StreamLane, values: Mapping[str, Any]
    ) -> None:
        self._front = front
        self._number = number
        self._lane = lane
        self._values = values
        self._pieces: MethodStream | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def next(self) -> None:
        """Ask the generator for one more piece."""
        if self._task is None and self._closing is None:
            self._lane.page.begin(self._front.number, self._lane.number, self._number)
            self._task = asyncio.ensure_future(self._advance())

    def close(self) -> None:
        """Let the generator end where it stands."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())

    async def _advance(self) -> None:
        front, number = self._front, self._number
        try:
            pieces = self._pieces
            if pieces is None:
                try:
                    pieces = self._pieces = self._lane.open(self._values)
                except Exception as error:  # classes of the service take part
                    front.fail(number, error, is_decoding=True)
                    return
                self._values = {}
            piece = await anext(pieces, _END)
            if piece is _END:
                front.end(number)
            else:
                front.answer(number, piece)
        except Exception as error:  # a service may raise anything
            front.fail(number, error)
        finally:
            self._task = None
            self._lane.page.end(front.number, self._lane.number)

    async def _close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        try:
            if self._pieces is not None:
                await self._pieces.aclose()
        except Exception as error:  # its own clean-up failed
            self._front.fail(self._number, error)
        else:
            self._front.end(self._number)
        self._front.forget(self._number)
