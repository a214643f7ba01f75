"""Inference calls that come through the application instead of the fast lane.

    body ──reader for its content type──► Arguments ──► Endpoint ──► answer
                                                   └──► stream_answer (generators)

The answers are those of the fast lane.  What is more here: chunked bodies, forms, raw files and
streams.  A client that leaves is noticed by listening for it.
"""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope, Send

from modelpack.server.door import Door
from modelpack.server.problems import NOT_READY, RefusedRequest, problem_from
from modelpack.server.web.incoming import ClientLeft, WaitingCall, client_gone, read_body
from modelpack.server.web.replies import REQUEST_ID, Reply, fields_of, problem_reply
from modelpack.server.web.streams import stream_answer


class ApiRoute:
    """The ASGI application behind one door of an api."""

    def __init__(self, door: Door, max_body_bytes: int) -> None:
        self._door = door
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        endpoint = self._door.endpoint
        if not endpoint.is_bound:
            await problem_reply(NOT_READY, scope, self._door.write_problem)(scope, receive, send)
            return
        call = WaitingCall(endpoint, scope[REQUEST_ID])
        call.write_problem, call.face = self._door.write_problem, self._door.face
        try:
            await self._begin(call, scope, receive)
        except ClientLeft:
            return
        if endpoint.api.is_stream and not call.is_done:
            await stream_answer(call, scope, receive, send)
        elif (reply := await _wait(call, receive)) is not None:
            await reply(scope, receive, send)

    async def _begin(self, call: WaitingCall, scope: Scope, receive: Receive) -> None:
        """Read the body and queue the call; a stream only gets its arguments."""
        endpoint = self._door.endpoint
        try:
            asked = self._door.ask(fields_of(scope))
            body = await read_body(receive, self._max_body_bytes)
        except RefusedRequest as refused:
            endpoint.begin(call)
            call.refuse(refused.problem)
            return
        if not endpoint.api.is_stream:
            endpoint.accept(call, body, asked)
            return
        endpoint.begin(call, asked, body)
        try:
            # Pictures take long to decode: the event loop must not wait for them.
            heavy = len(body) > asked.light_bytes
            arguments = await asyncio.to_thread(asked.read, body) if heavy else asked.read(body)
        except Exception as error:  # whatever the bytes made fail is answered
            call.refuse(problem_from(error), error)
        else:
            call.values = arguments.values


async def _wait(call: WaitingCall, receive: Receive) -> Reply | None:
    """Return the answer, or None when the client leaves before."""
    reply = call.reply
    if reply.done():
        return reply.result()
    listener = asyncio.ensure_future(client_gone(receive))
    try:
        await asyncio.wait((reply, listener), return_when=asyncio.FIRST_COMPLETED)
        if reply.done():
            return reply.result()
        call.endpoint.drop(call)
        return None
    finally:
        listener.cancel()
