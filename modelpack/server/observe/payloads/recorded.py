"""An ASGI application around another one that answers for an api by itself, such as in events.

receive ──► its messages pass through, their bytes are the request
send    ──► its messages pass through, their bytes are the answer
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelpack.server.endpoint import Endpoint
from modelpack.server.observe.payloads.record import Exchange, said_of
from modelpack.server.web.replies import REQUEST_ID, fields_of

_CLIENT_LEFT = 499


class Recorded:
    """Leaves a record of each call in the payload log of its api."""

    def __init__(self, app: ASGIApp, endpoint: Endpoint, face: str) -> None:
        """``face`` is the name of the contract that the application speaks."""
        self._app = app
        self._endpoint = endpoint
        self._face = face

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        payloads = self._endpoint.payloads
        if payloads is None:
            await self._app(scope, receive, send)
            return
        chunks: list[bytes] = []
        exchange: Exchange | None = None
        status = 0

        async def take() -> Message:
            nonlocal exchange
            message = await receive()
            if message["type"] == "http.request" and exchange is None:
                chunks.append(message.get("body", b""))
                if not message.get("more_body", False):
                    said = said_of(scope["path"], fields_of(scope), self._face)
                    exchange = payloads.begin(said, scope[REQUEST_ID], b"".join(chunks))
            return message

        async def pass_on(message: Message) -> None:
            nonlocal status
            if exchange is not None and message["type"] == "http.response.start":
                status = message["status"]
                exchange.content_type = dict(message["headers"]).get(b"content-type", b"")
            elif exchange is not None and (data := message.get("body", b"")):
                exchange.piece(data)
            await send(message)
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            if exchange is not None and is_last:
                exchange.end(status)

        try:
            await self._app(scope, take, pass_on)
        finally:
            if exchange is not None:
                exchange.end(_CLIENT_LEFT)
