"""Reads bodies in threads, so that the event loop has time for others meanwhile.

    begin(call, body, read) ──thread──► done(call, arguments or error), on the event loop

For pictures, compressed bodies and long JSON.  What always holds: a call that is not wanted any
more is not handed on; the bodies that wait for a thread or are in one have ``max_bytes`` together,
unless there is just one, and what comes beyond that is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from modelpack.sdk.api import Arguments
from modelpack.server.bodies.readers import Read
from modelpack.server.problems import Overloaded

RETRY_AFTER_S = 1

_Call = TypeVar("_Call")
Done = Callable[[_Call, Arguments | None, BaseException | None], None]


class Aside(Generic[_Call]):
    """The calls of one api whose bodies are being read in threads."""

    def __init__(self, done: Done[_Call], max_bytes: int) -> None:
        self._done = done
        self._max_bytes = max_bytes
        self._bytes = 0
        self._calls: set[_Call] = set()

    def begin(self, call: _Call, body: bytes, read: Read) -> None:
        """Read a body; raises Overloaded when too much is being read already."""
        if self._bytes and self._bytes + len(body) > self._max_bytes:
            raise Overloaded(RETRY_AFTER_S)
        self._bytes += len(body)
        self._calls.add(call)
        future = asyncio.get_running_loop().run_in_executor(None, read, body)
        future.add_done_callback(partial(self._finish, call, len(body)))

    def forget(self, call: _Call) -> bool:
        """Forget a call that nobody waits for any more; returns False when it is not here."""
        if call in self._calls:
            self._calls.remove(call)
            return True
        return False

    def calls(self) -> list[_Call]:
        """Return the calls whose bodies are being read."""
        return list(self._calls)

    def _finish(self, call: _Call, size: int, future: asyncio.Future[Arguments]) -> None:
        self._bytes -= size
        error = None if future.cancelled() else future.exception()
        if self.forget(call) and not future.cancelled():
            self._done(call, None if error else future.result(), error)
