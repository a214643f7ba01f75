"""One request to the application in this process, without a socket.

    Request ──exchange(app, …)──► status, headers, then pieces of the body as they are made

The application sees a client that waits, and that leaves when the exchange is left: what runs for
it is then cancelled as it would be for a closed connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.types import ASGIApp, Message, Scope

from modelpack.server.lambda_.events import Answered, Lines, Request, raw_path


class BrokenOffError(Exception):
    """The application ended before its answer did."""


class Exchange:
    """An answer of which the head is there."""

    def __init__(self, messages: asyncio.Queue[Message], running: asyncio.Future[None]) -> None:
        self.status = 0
        self.headers: Lines = []
        self._messages = messages
        self._running = running

    async def begin(self) -> None:
        """Wait for the head; raises BrokenOffError when there is none."""
        message = await self._next()
        self.status, self.headers = message["status"], list(message["headers"])

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body; raises BrokenOffError when it has no end."""
        while True:
            message = await self._next()
            if piece := message.get("body", b""):
                yield piece
            if not message.get("more_body", False):
                return

    async def whole(self) -> Answered:
        """Return the whole answer; raises BrokenOffError."""
        pieces = [piece async for piece in self.pieces()]
        return Answered(self.status, self.headers, b"".join(pieces))

    async def _next(self) -> Message:
        getting = asyncio.ensure_future(self._messages.get())
        await asyncio.wait((getting, self._running), return_when=asyncio.FIRST_COMPLETED)
        if getting.done():
            return getting.result()
        getting.cancel()
        if self._messages.empty():
            raise BrokenOffError("the application ended before its answer")
        return self._messages.get_nowait()


@asynccontextmanager
async def exchange(app: ASGIApp, request: Request) -> AsyncIterator[Exchange]:
    """Send a request and yield its answer; raises BrokenOffError when there is none."""
    messages: asyncio.Queue[Message] = asyncio.Queue(maxsize=_AHEAD)
    has_left = asyncio.Event()
    bodies = [request.body]

    async def receive() -> Message:
        if bodies:
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}
        await has_left.wait()
        return {"type": "http.disconnect"}

    async def run() -> None:
        await app(_scope(request), receive, messages.put)

    running = asyncio.ensure_future(run())
    try:
        answer = Exchange(messages, running)
        await answer.begin()
        yield answer
    finally:
        has_left.set()
        if not running.done():
            await asyncio.wait((running,), timeout=_LEAVE_S)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


_AHEAD = 16
"""Pieces that may be made before the first of them is taken."""
_LEAVE_S = 1.0
"""How long the application may take to notice that its client has left."""


def _scope(request: Request) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "https",
        "path": request.path,
        "raw_path": raw_path(request.path),
        "query_string": request.query,
        "root_path": "",
        "headers": request.headers,
        "client": (request.client, 0),
        "server": ("lambda", 443),
        "state": {},
    }
