"""A runner's server: takes calls from any number of fronts and runs them on its replica.

    front ──RUN──► the api's lane, first come first served ──► SyncRunner / AsyncRunner ──► ANSWER, FAIL
    front ──OPEN, NEXT, CLOSE──► a generator, one piece for each NEXT

Each api runs one batch at a time, whoever sent it; an async api without batching runs all that come.
What a front that is gone has asked for is dropped, what of it can be ended is ended.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
from collections.abc import Sequence
from typing import Any

import orjson

from modelpack.sdk.api import ApiSpec
from modelpack.server.observe.logs import event
from modelpack.server.problems import BadOutput
from modelpack.server.runners.process.failures import facts_of
from modelpack.server.runners.process.frames import TO_RUNNER, FrameError, Head, Kind
from modelpack.server.runners.process.lanes import Stream, StreamLane, make_lane
from modelpack.server.runners.process.packing import pack
from modelpack.server.runners.process.page import MAX_FRONTS, Page
from modelpack.server.runners.process.wire import Wire
from modelpack.server.runners.replica import Replica


class RunnerServer:
    """What a runner process serves."""

    def __init__(self, apis: Sequence[ApiSpec], replica: Replica) -> None:
        self.apis = apis
        self.replica = replica
        self.page = Page(len(apis))
        self.lanes = [make_lane(number, api, replica, self.page) for number, api in enumerate(apis)]
        self.ended = asyncio.Event()
        """Set when every front has closed its connection after ``drain``."""
        self._fronts: dict[int, Front] = {}
        self._loop = asyncio.get_running_loop()
        self._listener: socket.socket | None = None
        self._is_draining = False

    def listen(self, listener: socket.socket) -> None:
        """Take connections from now on."""
        self._listener = listener
        self._loop.add_reader(listener, self._accept, listener)

    def drain(self) -> None:
        """Ask every front to send no more; ``ended`` follows when all have closed."""
        self._is_draining = True
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for front in list(self._fronts.values()):
            front.wire.send(Kind.LEAVING)
        self._check_end()

    def forget(self, front: Front) -> None:
        """Let go of a front that is gone."""
        self._fronts.pop(front.number, None)
        for lane in self.lanes:
            lane.forget(front)
        self.page.clear(front.number)
        self._check_end()

    def _check_end(self) -> None:
        if self._is_draining and not self._fronts:
            self.ended.set()

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # it went again, or there are no descriptors left: it is asked again
            return
        number = next((n for n in range(MAX_FRONTS) if n not in self._fronts), None)
        if number is None:
            connection.close()
            return
        front = self._fronts[number] = Front(self, number, connection, self._loop)
        front.wire.send(Kind.WELCOME, api=number, descriptor=self.page.descriptor)


class Front:
    """A connection from a front process."""

    def __init__(
        self,
        server: RunnerServer,
        number: int,
        connection: socket.socket,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.number = number
        self._server = server
        self._streams: dict[int, Stream] = {}
        self.wire = Wire(
            connection, loop, reads=TO_RUNNER, on_frame=self._on_frame, on_lost=self._on_lost
        )

    def answer(self, call: int, plain: Any) -> None:
        """Send an answer."""
        try:
            self.wire.send(Kind.ANSWER, call=call, packed=pack(plain, plain=plain_of))
        except (ValueError, TypeError, OSError) as error:
            self.fail(call, BadOutput(f"{type(error).__name__}: {error}"))

    def fail(self, call: int, error: BaseException, *, is_decoding: bool = False) -> None:
        """Send what went wrong."""
        facts = facts_of(error, is_decoding=is_decoding)
        self.wire.send(Kind.FAIL, call=call, packed=pack(facts))

    def end(self, call: int) -> None:
        """Send that a stream has no more pieces."""
        self.wire.send(Kind.END, call=call)

    def forget(self, call: int) -> None:
        """Let go of a stream that is closed."""
        self._streams.pop(call, None)

    def _on_frame(self, head: Head, value: Any, descriptor: int) -> None:
        if descriptor >= 0:
            raise FrameError("a descriptor that nobody asked for")
        if head.kind in (Kind.RUN, Kind.OPEN):
            if head.api >= len(self._server.apis) or not isinstance(value, dict):
                raise FrameError("no call of an api")
            if head.kind is Kind.RUN:
                self._server.lanes[head.api].submit(self, head.call, value)
            else:
                lane = self._server.lanes[head.api]
                if not isinstance(lane, StreamLane) or head.call in self._streams:
                    raise FrameError("no stream can be opened")
                self._streams[head.call] = Stream(self, head.call, lane, value)
        elif head.kind is Kind.CANCEL:
            for lane in self._server.lanes:
                lane.cancel(self, head.call)
        elif (stream := self._streams.get(head.call)) is not None:
            stream.next() if head.kind is Kind.NEXT else stream.close()

    def _on_lost(self, why: str) -> None:
        event("front-gone", level=logging.DEBUG, front=self.number, reason=why)
        for stream in list(self._streams.values()):
            stream.close()
        self._server.forget(self)


def plain_of(value: Any) -> Any:
    """Return what the JSON writer makes of a value that is not plain; raises TypeError."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # Its fields may be columns of rows, so arrays in it stay arrays.
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return orjson.loads(orjson.dumps(value))
