"""A request as the application hears of it.

ASGI receive ──read_body──► bytes, or 413, or ClientLeft
             ──client_gone──► returns when nobody waits for an answer any more
WaitingCall   the request as the queue sees it; its task awaits ``reply``
"""

from __future__ import annotations

import asyncio

from starlette.types import Receive

from modelpack.server.endpoint import Endpoint, HttpCall
from modelpack.server.problems import Headers, RefusedRequest, body_too_large
from modelpack.server.web.replies import Reply


class ClientLeft(Exception):
    """The client closed its connection before it had sent everything."""


class WaitingCall(HttpCall):
    """A call whose answer is awaited."""

    __slots__ = ("reply",)

    def __init__(self, endpoint: Endpoint, request_id: bytes) -> None:
        super().__init__(endpoint, request_id)
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def send(self, status: int, content_type: bytes, body: bytes, headers: Headers) -> None:
        """Let the waiting task go on."""
        if not self.reply.done():
            self.reply.set_result(Reply(status, content_type, body, headers))


async def client_gone(receive: Receive) -> None:
    """Wait until the client has left, or has its answer."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def read_body(receive: Receive, limit: int) -> bytes:
    """Return the whole body; raises RefusedRequest (413) or ClientLeft."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise RefusedRequest(body_too_large(limit))
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
