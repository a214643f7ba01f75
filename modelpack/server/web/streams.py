"""Sends the answer of a generator piece by piece.

    generator ──next──► encode ──► a line of JSON (application/x-ndjson)
                                   or an event (text/event-stream), when the client asks for it

A sync generator is advanced in the api's own thread, one piece at a time, so several streams take
turns there.  The next piece is asked for when the one before was taken: a slow client slows its
own generator down and nobody else's.  What always holds: the generator is closed, also when the
client leaves; an error before the first piece is an ordinary problem; a later one is a last piece
with the problem in it, after which the connection breaks off, so that nobody takes the stream for
a whole one.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

from starlette.types import Message, Receive, Scope, Send

from modelpack.server.observe.logs import log_failure
from modelpack.server.problems import BadOutput, TimedOut, problem_from
from modelpack.server.web.incoming import WaitingCall, client_gone
from modelpack.server.web.replies import Reply, fields_of

NDJSON = b"application/x-ndjson"
SSE = b"text/event-stream"

_END = object()


async def stream_answer(call: WaitingCall, scope: Scope, receive: Receive, send: Send) -> None:
    """Run the api's generator and send what it yields."""
    is_sse = SSE in fields_of(scope).get(b"accept", b"").lower()
    pieces = _Pieces(call)
    listener = asyncio.ensure_future(client_gone(receive))
    pump = asyncio.ensure_future(_pump(pieces, scope, receive, send, is_sse=is_sse))
    try:
        await asyncio.wait((pump, listener), return_when=asyncio.FIRST_COMPLETED)
        if not pump.done():
            call.endpoint.drop(call)
    finally:
        listener.cancel()
        pump.cancel()
        await asyncio.wait((pump,))
        await pieces.close()
    if not pump.cancelled():
        pump.result()


async def _pump(
    pieces: _Pieces, scope: Scope, receive: Receive, send: Send, *, is_sse: bool
) -> None:
    call = pieces.call
    try:
        async with asyncio.timeout(max(0.0, call.deadline - perf_counter())) as clock:
            piece = await pieces.next()
    except Exception as error:
        call.reject(TimedOut() if clock.expired() else error)
        await call.reply.result()(scope, receive, send)
        return
    content_type = SSE if is_sse else NDJSON
    headers = ((b"cache-control", b"no-store"),) if is_sse else ()
    await send(Reply(200, content_type, b"", headers).start(scope, length=None))
    kept = None if call.endpoint.payloads is None else call.payload
    while piece is not None:
        data = b"data: " + piece + b"\n\n" if is_sse else piece + b"\n"
        if kept is not None:
            kept.piece(data)
        await send(_body(data))
        try:
            piece = await pieces.next()
        except Exception as error:
            await send(_body(_last_words(call, error, is_sse=is_sse)))
            return  # without an end: the connection breaks off
    await send(_body(b"", more=False))
    call.is_done = True
    call.endpoint.count(call, 200, "", (content_type, b"", ()))


def _body(data: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def _last_words(call: WaitingCall, error: Exception, *, is_sse: bool) -> bytes:
    """Return the piece that says why the stream ends early."""
    problem = problem_from(error, from_service=True)
    call.is_done = True
    call.endpoint.count(call, problem.status, problem.code)
    if problem.status == 500:
        log_failure(problem.code, error, call.endpoint.api.name, call.request_id)
    body = problem.to_bytes(call.request_id)
    return b"event: error\ndata: " + body + b"\n\n" if is_sse else b'{"error":' + body + b"}\n"


class _Pieces:
    """The pieces of one stream, as JSON."""

    def __init__(self, call: WaitingCall) -> None:
        self.call = call
        self._pieces = call.endpoint.open_stream(call.values)
        self._dump = call.endpoint.writer.dump

    async def next(self) -> bytes | None:
        """Return the next piece, or None at the end; raises what the generator raises."""
        value = await anext(self._pieces, _END)
        if value is _END:
            return None
        try:
            return self._dump(value)
        except (TypeError, ValueError) as cause:
            raise BadOutput(f"{type(cause).__name__}: {cause}") from cause

    async def close(self) -> None:
        """Let the generator end where it stands."""
        try:
            await self._pieces.aclose()
        except Exception as error:  # its own clean-up failed; the client has its answer
            name = self.call.endpoint.api.name
            log_failure("model-error", error, name, self.call.request_id)
