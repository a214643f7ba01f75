"""Calls of async apis, and generators, that run in other processes.

    Crowd ──task(values, done)──► RemoteTasks ──► the least busy runner ──► done(plain, error)
    anext ──OPEN, NEXT──► runner ──ANSWER──► piece            aclose ──CLOSE──► runner ──END──►

A runner that dies takes everything along that it was busy with, and only one of that may be to blame.
All calls are made again on other runners; one that has lost two is a suspect and made once more with
no other call beside it, and only if its runner dies then, too, it has crashed.

A stream begins again when its runner dies before the first piece, once; later its client has seen
something of it, and it breaks off.  Each piece is asked for when it is wanted, as of a generator here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from modelpack.server.problems import RunnerCrashed, RunnerLost
from modelpack.server.runners.base import Done, pass_on
from modelpack.server.runners.process.frames import Kind
from modelpack.server.runners.process.link import Link

Choose = Callable[[], Awaitable[Link]]
"""Returns the least busy runner, once there is one; raises Unavailable."""

_MOST_LOSSES = 2


class RemoteTasks:
    """Makes the calls of one async api, any number at a time, in whichever runners there are."""

    def __init__(self, choose: Choose, api: int) -> None:
        self._choose = choose
        self._api = api
        self._suspects = 0
        self._is_alone = asyncio.Lock()
        self._change = asyncio.Condition()
        self._in_flight = 0
        self.running = 0
        """Calls that have not ended."""

    def task(self, values: Mapping[str, Any], done: Done) -> asyncio.Future[Any]:
        """Begin a call; ``done`` is called once it has ended.  Cancelling the future ends it."""
        self.running += 1
        task = asyncio.ensure_future(self._call(values))
        task.add_done_callback(partial(self._pass_on, done))
        return task

    def _pass_on(self, done: Done, task: asyncio.Future[Any]) -> None:
        self.running -= 1
        pass_on(done, task)

    async def _call(self, values: Mapping[str, Any]) -> Any:
        losses = 0
        while losses < _MOST_LOSSES:
            if self._suspects:
                async with self._change:
                    await self._change.wait_for(lambda: not self._suspects)
            try:
                return await self._make(values)
            except RunnerLost as lost:
                losses += lost.has_begun
        try:
            return await self._make_alone(values)
        except RunnerLost as lost:
            raise RunnerCrashed from lost

    async def _make_alone(self, values: Mapping[str, Any]) -> Any:
        """Make the call of a suspect, with all others out of the way."""
        self._suspects += 1
        try:
            async with self._is_alone:
                async with self._change:
                    await self._change.wait_for(lambda: not self._in_flight)
                while True:
                    try:
                        return await self._make(values)
                    except RunnerLost as lost:
                        if lost.has_begun:
                            raise
        finally:
            self._suspects -= 1
            await self._tell()

    async def _make(self, values: Mapping[str, Any]) -> Any:
        self._in_flight += 1
        try:
            link = await self._choose()
            answer: asyncio.Future[tuple[Any, BaseException | None]] = link.loop.create_future()
            call = link.ask(self._api, values, partial(_answered, answer))
            try:
                plain, error = await answer
            except asyncio.CancelledError:
                link.forget(call)
                raise
        finally:
            self._in_flight -= 1
            if self._suspects:
                await self._tell()
        if error is not None:
            raise error
        return plain

    async def _tell(self) -> None:
        async with self._change:
            self._change.notify_all()


class RemoteStream:
    """A generator in a runner, drawn from here."""

    def __init__(
        self, choose: Choose, api: int, values: Mapping[str, Any], *, patience_s: float
    ) -> None:
        """``patience_s`` is how long the generator may take to end when it is closed."""
        self._choose = choose
        self._api = api
        self._values = values
        self._patience_s = patience_s
        self._link: Link | None = None
        self._stream = 0
        self._losses = 0
        self._has_pieces = self._is_over = False

    def __aiter__(self) -> RemoteStream:
        return self

    async def __anext__(self) -> Any:
        """Return the next piece; raises as the generator does, RunnerCrashed or Unavailable."""
        while not self._is_over:
            try:
                link = self._link or await self._open()
                piece = await self._ask(link, Kind.NEXT)
            except RunnerLost as lost:
                self._lose(lost)
            except Exception:  # also StopAsyncIteration
                self._is_over = True
                raise
            else:
                self._has_pieces = True
                return piece
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Let the generator end where it stands; raises what its clean-up raises."""
        self._is_over = True
        link, self._link = self._link, None
        if link is None:
            return
        try:
            async with asyncio.timeout(self._patience_s):
                await self._ask(link, Kind.CLOSE)
        except TimeoutError:
            link.hung("a stream does not end")
        except (StopAsyncIteration, RunnerLost):
            pass
        finally:
            link.forget_stream(self._stream)

    async def _open(self) -> Link:
        link = await self._choose()
        self._stream = link.open(self._api, self._values)
        self._link = link
        return link

    def _lose(self, lost: RunnerLost) -> None:
        """Begin again, if nobody can tell."""
        self._link = None
        self._losses += lost.has_begun
        if self._has_pieces or self._losses >= _MOST_LOSSES:
            self._is_over = True
            raise RunnerCrashed from lost

    async def _ask(self, link: Link, kind: Kind) -> Any:
        answer: asyncio.Future[tuple[Any, BaseException | None]] = link.loop.create_future()
        link.ask_stream(kind, self._api, self._stream, partial(_answered, answer))
        piece, error = await answer
        if error is not None:
            raise error
        return piece


def _answered(
    answer: asyncio.Future[tuple[Any, BaseException | None]],
    plain: Any,
    error: BaseException | None,
) -> None:
    if not answer.done():
        answer.set_result((plain, error))
