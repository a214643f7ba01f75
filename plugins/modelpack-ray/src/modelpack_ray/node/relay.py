"""Hands requests of Ray's proxy to the server on this node, and its answers back, byte for byte.

    scope, receive ──► method, path below the route, headers, body ──► server
    send ◄── status, headers, pieces as they come ◄──────────────────┘

What always holds: nothing is decoded or followed; an answer is never held back, so that streams stay
streams; a client that leaves takes its request to the server with it, so that the work ends there too.

Source: the ASGI specification, "HTTP & WebSocket ASGI Message Format", 2.4.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .child import Child

CHILD: Child | None = None
"""The server of this process; there is one replica in it."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_PIECE = 64 * 1024
_LINE = 64 * 1024
# Below the 75 s for which the server keeps a connection: one is never reused as it is closed.
_KEEP_S = 30.0

# Of one connection, not of the message (RFC 9110, 7.6.1).
_OF_THE_CONNECTION = {
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}


class Relay:
    """The ASGI application of a replica."""

    def __init__(self) -> None:
        self._session: Any = None

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown" and self._session is not None:
                await self._session.close()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def _answer(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        import aiohttp
        from yarl import URL

        if CHILD is None:
            await _refuse(send, "the server of this replica is not up")
            return
        url = URL(CHILD.url + _target(scope), encoded=True)
        has_answered = False
        try:
            async with self._client().request(
                scope["method"],
                url,
                headers=_forwarded(scope["headers"]),
                data=await _body(receive),
                allow_redirects=False,
            ) as answer:
                headers = [(k.lower(), v) for k, v in answer.raw_headers]
                kept = [pair for pair in headers if pair[0] not in _OF_THE_CONNECTION]
                start = {"type": "http.response.start", "status": answer.status, "headers": kept}
                await send(start)
                has_answered = True
                async for piece in answer.content.iter_any():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        except aiohttp.ClientError as error:
            if has_answered:
                raise  # the answer is cut off, and the client must see that
            await _refuse(send, f"the server of this replica does not answer: {error}")

    def _client(self) -> Any:
        """Return the connections to the server; made on the event loop that uses them."""
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                max_line_size=_LINE,
                max_field_size=_LINE,
                trust_env=False,
            )
        return self._session


def _target(scope: Mapping[str, Any]) -> str:
    """Return path and query below the route of the application, as the client wrote them."""
    raw = scope.get("raw_path") or scope["path"].encode()
    path = raw.decode("latin-1")
    root = scope.get("root_path", "").rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    query = scope.get("query_string", b"").decode("latin-1")
    return (path or "/") + (f"?{query}" if query else "")


def _forwarded(headers: Any) -> list[tuple[str, str]]:
    return [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in headers
        if name.lower() not in _OF_THE_CONNECTION and name.lower() != b"content-length"
    ]


async def _body(receive: Receive) -> Any:
    """Return the body: as bytes when it came in one message, else as a stream."""
    first = await receive()
    if first["type"] == "http.disconnect":
        return None
    if not first.get("more_body"):
        return first.get("body") or None
    return _pieces(first.get("body", b""), receive)


async def _pieces(first: bytes, receive: Receive) -> AsyncIterator[bytes]:
    if first:
        yield first
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client has left")
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


async def _refuse(send: Send, detail: str) -> None:
    """Answer 503 as the server itself does (RFC 9457)."""
    problem = {
        "type": "urn:modelpack:error:not-ready",
        "title": "Not ready",
        "status": 503,
        "detail": detail,
        "code": "not-ready",
    }
    headers = [(b"content-type", b"application/problem+json"), (b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(problem).encode()})
