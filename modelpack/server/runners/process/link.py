"""The front's side of one runner.

    Batcher ──run(values, done)──► LinkRuns ──RUN──► runner ──ANSWER, FAIL──► done(plain, error)
    RemoteStream ──OPEN, NEXT──► runner ──ANSWER, END, FAIL──► the next piece

A link is ready when the runner has welcomed it.  When the runner is gone, every call that waits for it
gets ``RunnerLost``, and the runner's page, which outlives it, says whether the call had begun.  When
the runner wants to leave, the link takes no more calls and closes after the last answer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from modelpack.server.life.sockets import short_path
from modelpack.server.problems import RunnerLost
from modelpack.server.runners.base import Done
from modelpack.server.runners.process.codes import PackingError
from modelpack.server.runners.process.failures import error_from
from modelpack.server.runners.process.frames import TO_FRONT, FrameError, Head, Kind
from modelpack.server.runners.process.packing import pack
from modelpack.server.runners.process.page import PageView
from modelpack.server.runners.process.wire import Wire

_RETRY_S = 0.02


@dataclass(frozen=True, slots=True)
class RunnerInfo:
    """A runner process that takes calls."""

    id: int
    """Its number; never used again."""
    pid: int
    socket: str
    """Path of the socket that it listens on."""


class Watches(Protocol):
    """Hears what becomes of a link."""

    def on_ready(self, link: Link) -> None:
        """It takes calls now."""

    def on_leaving(self, link: Link) -> None:
        """It takes no more; those that it has are still answered."""

    def on_lost(self, link: Link, why: str) -> None:
        """The runner is gone; what waits for it hears so next."""

    def on_hung(self, link: Link, why: str) -> None:
        """The runner has to be ended."""


class Link:
    """A connection to one runner."""

    def __init__(self, info: RunnerInfo, loop: asyncio.AbstractEventLoop, watcher: Watches) -> None:
        self.info = info
        self.loop = loop
        self.is_ready = False
        """True while it takes calls."""
        self._watcher = watcher
        self._wire: Wire | None = None
        self._page: PageView | None = None
        self._front = 0
        self._last_call = 0
        self._waiting: dict[int, tuple[int, Done]] = {}
        self._streams: set[int] = set()
        self._is_leaving = self._is_closed = False

    def connect(self) -> None:
        """Begin; ``on_ready`` or ``on_lost`` follows."""
        if self._is_closed:
            return
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            with short_path(Path(self.info.socket)) as address:
                connection.connect(address)
        except BlockingIOError:  # as many as it takes at a time are waiting there
            connection.close()
            self.loop.call_later(_RETRY_S, self.connect)
            return
        except OSError as error:
            connection.close()
            self._is_closed = True
            self.loop.call_soon(self._watcher.on_lost, self, str(error))
            return
        self._wire = Wire(
            connection, self.loop, reads=TO_FRONT, on_frame=self._on_frame, on_lost=self._on_lost
        )

    @property
    def is_open(self) -> bool:
        """False once it was closed or lost."""
        return not self._is_closed

    @property
    def is_coming(self) -> bool:
        """True until it takes calls or is lost."""
        return self._page is None and not self._is_closed

    @property
    def busy(self) -> int:
        """Calls that wait for their answer, and open streams."""
        return len(self._waiting) + len(self._streams)

    def ask(self, api: int, values: Mapping[str, Any], done: Done) -> int:
        """Send a call; returns its id, which ``done`` ends.  0: it could not be sent."""
        if self._wire is None or not self._wire.is_open:
            self.loop.call_soon(done, None, RunnerLost(False))
            return 0
        call = self._last_call = self._last_call + 1
        try:
            self._wire.send(Kind.RUN, api=api, call=call, packed=pack(dict(values)))
        except (PackingError, OSError) as error:  # no bytes for it, or no memory
            self.loop.call_soon(done, None, error)
            return 0
        self._waiting[call] = (api, done)
        return call

    def open(self, api: int, values: Mapping[str, Any]) -> int:
        """Open a stream; returns its id.  Raises PackingError, OSError and RunnerLost."""
        if self._wire is None or not self._wire.is_open:
            raise RunnerLost(False)
        call = self._last_call = self._last_call + 1
        self._wire.send(Kind.OPEN, api=api, call=call, packed=pack(dict(values)))
        self._streams.add(call)
        return call

    def ask_stream(self, kind: Kind, api: int, stream: int, done: Done) -> None:
        """Send NEXT or CLOSE; ``done`` gets the piece, or StopAsyncIteration at the end."""
        if self._wire is None or not self._wire.is_open:
            self.loop.call_soon(done, None, RunnerLost(True))
            return
        self._waiting[stream] = (api, done)
        self._wire.send(kind, call=stream)

    def forget_stream(self, stream: int) -> None:
        """Let go of a stream that is closed."""
        self._waiting.pop(stream, None)
        self._streams.discard(stream)
        self._close_if_left()

    def forget(self, call: int) -> None:
        """Nobody waits for that call any more: it is ended if that is possible."""
        if self._waiting.pop(call, None) is not None and self._wire is not None:
            self._wire.send(Kind.CANCEL, call=call)
            self._close_if_left()

    def hung(self, why: str) -> None:
        """Have the runner ended."""
        if not self._is_closed:
            self._watcher.on_hung(self, why)

    def close(self) -> None:
        """Close the connection; what waits is forgotten."""
        self._is_closed = True
        self.is_ready = False
        self._waiting.clear()
        self._streams.clear()
        page, self._page = self._page, None
        if page is not None:
            page.close()
        if self._wire is not None:
            self._wire.close()

    def _on_frame(self, head: Head, value: Any, descriptor: int) -> None:
        if head.kind is Kind.WELCOME:
            if descriptor < 0 or self._page is not None:
                raise FrameError("no welcome")
            try:
                self._page, self._front = PageView(descriptor), head.api
            except OSError as cause:
                raise FrameError(f"no page: {cause}") from cause
            self.is_ready = True
            self._watcher.on_ready(self)
        elif head.kind is Kind.LEAVING:
            self._is_leaving = True
            self.is_ready = False
            self._watcher.on_leaving(self)
            self._close_if_left()
        else:
            self._take(head, value)

    def _take(self, head: Head, value: Any) -> None:
        """Hand an answer to whom it belongs; nobody may want it any more."""
        waiting = self._waiting.pop(head.call, None)
        if waiting is None:
            return
        _, done = waiting
        if head.kind is Kind.FAIL:
            done(None, error_from(value))
        elif head.kind is Kind.END:
            done(None, StopAsyncIteration())
        else:
            done(value, None)
        self._close_if_left()

    def _close_if_left(self) -> None:
        if self._is_leaving and not self.busy and not self._is_closed:
            self.close()

    def _on_lost(self, why: str) -> None:
        self._is_closed = True
        self.is_ready = False
        waiting, self._waiting = self._waiting, {}
        self._streams.clear()
        page, self._page = self._page, None
        lost = {
            call: RunnerLost(page is not None and page.has_begun(self._front, api, call))
            for call, (api, _) in waiting.items()
        }
        if page is not None:
            page.close()
        self._watcher.on_lost(self, why)
        for call, (_, done) in waiting.items():
            done(None, lost[call])


class LinkRuns:
    """One api of one runner, for the queue: a batch at a time."""

    def __init__(self, link: Link, api: int) -> None:
        self.link = link
        self._api = api

    def run(self, values: Mapping[str, Any], done: Done) -> None:
        """Send a batch; ``done`` is called on the event loop, later."""
        self.link.ask(self._api, values, done)

    def give_up(self) -> None:
        """Have the runner ended: its call takes longer than any may."""
        self.link.hung("a call takes too long")
