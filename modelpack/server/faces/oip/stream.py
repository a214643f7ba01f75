"""Answers that come piece by piece, and apis that stream where one answer is asked for.

    POST …/generate_stream   text/event-stream: "data: {…}" for each piece     any api
    POST …/generate          the pieces of a stream, joined                    apis that stream
    POST …/infer_stream      "data: {an inference response}" for each piece    any api (MLServer)

What fails before the first piece is an ordinary error; later it is a last event ``{"error": …}``
under status 200, as the generate extension has it.  The generator is closed when the client leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import orjson
from starlette.types import Message, Receive, Scope, Send

from modelpack.sdk.api import Arguments
from modelpack.server.bodies.writers import Write
from modelpack.server.endpoint import Endpoint
from modelpack.server.faces.face import JSON, error_text
from modelpack.server.faces.inference import infer, refuse, stream
from modelpack.server.faces.oip.generate import joined
from modelpack.server.observe.logs import log_failure
from modelpack.server.problems import (
    Problem,
    RefusedRequest,
    TimedOut,
    WriteProblem,
    problem_from,
)
from modelpack.server.web.incoming import ClientLeft, client_gone, read_body
from modelpack.server.web.replies import REQUEST_ID, Reply, fields_of, problem_reply
from modelpack.server.wishes import timeout_of

EVENTS = b"text/event-stream; charset=utf-8"

MOST_JOINED = 100_000
"""Most pieces of a stream that are joined into one answer."""

ReadBody = Callable[[Mapping[bytes, bytes], bytes], Arguments]
"""Returns the arguments, whose ``write`` writes each piece; raises as ``bodies.readers.Read``."""

_END = object()
_FAILED = 500


class Streamed:
    """The ASGI application behind a path whose answers are gathered or sent piece by piece."""

    def __init__(
        self,
        endpoint: Endpoint,
        read: ReadBody,
        write_problem: WriteProblem,
        *,
        max_body_bytes: int,
        as_events: bool,
    ) -> None:
        """``as_events``: one event for each piece; else all of them are one answer."""
        self._endpoint = endpoint
        self._read = read
        self._write_problem = write_problem
        self._max_body_bytes = max_body_bytes
        self._as_events = as_events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            fields = fields_of(scope)
            timeout_s = timeout_of(fields, self._endpoint.request_timeout_s)
            body = await read_body(receive, self._max_body_bytes)
            arguments = await asyncio.to_thread(self._read, fields, body)
        except ClientLeft:
            return
        except Exception as error:  # whatever the bytes made fail is counted and answered
            refused = refuse(self._endpoint, error, request_id=scope[REQUEST_ID], face="oip")
            await self._refuse(refused.problem, scope, receive, send)
            return
        if arguments.timeout_s is not None:
            timeout_s = min(timeout_s, arguments.timeout_s)
        listener = asyncio.ensure_future(client_gone(receive))
        answering = asyncio.ensure_future(self._answer(arguments, timeout_s, scope, receive, send))
        try:
            await asyncio.wait((answering, listener), return_when=asyncio.FIRST_COMPLETED)
        finally:
            listener.cancel()
            answering.cancel()
            await asyncio.wait((answering,))
        if not answering.cancelled():
            answering.result()

    async def _answer(
        self, arguments: Arguments, timeout_s: float, scope: Scope, receive: Receive, send: Send
    ) -> None:
        pieces = self._pieces(arguments, timeout_s, scope[REQUEST_ID])
        async with aclosing(pieces):
            try:
                if self._as_events:
                    await self._send_events(pieces, arguments, scope, send)
                    return
                async with asyncio.timeout(timeout_s) as clock:
                    answer = joined(await _all(pieces))
                body = self._text(arguments.write, answer, scope)
            except RefusedRequest as refused:
                await self._refuse(refused.problem, scope, receive, send)
                return
            except TimeoutError:
                if not clock.expired():
                    raise
                await self._refuse(problem_from(TimedOut()), scope, receive, send)
                return
        await Reply(200, JSON, body)(scope, receive, send)

    async def _send_events(
        self, pieces: AsyncIterator[Any], arguments: Arguments, scope: Scope, send: Send
    ) -> None:
        """Send the pieces; raises RefusedRequest when not even the first one can be sent."""
        write = arguments.write
        piece = await anext(pieces, _END)
        text = b"" if piece is _END else self._text(write, piece, scope)
        headers = ((b"cache-control", b"no-store"),)
        await send(Reply(200, EVENTS, b"", headers).start(scope, length=None))
        try:
            while piece is not _END:
                await send(_event(text))
                piece = await anext(pieces, _END)
                text = b"" if piece is _END else self._text(write, piece, scope)
        except RefusedRequest as refused:
            await send(_event(orjson.dumps({"error": error_text(refused.problem)})))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pieces(
        self, arguments: Arguments, timeout_s: float, request_id: bytes
    ) -> AsyncGenerator[Any]:
        """Yield what the api yields, or its one answer."""
        endpoint = self._endpoint
        if endpoint.api.is_stream:
            pieces = stream(
                endpoint, arguments, request_id=request_id, timeout_s=timeout_s, face="oip"
            )
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece
            return
        yield await infer(
            endpoint, arguments, request_id=request_id, timeout_s=timeout_s, face="oip"
        )

    def _text(self, write: Write, piece: Any, scope: Scope) -> bytes:
        """Return the JSON of an answer or a piece; raises RefusedRequest."""
        try:
            content_type, text, _ = write(piece)
        except Exception as error:  # a piece may hold anything
            problem = problem_from(error, from_service=True)
            if problem.status == _FAILED:
                log_failure(problem.code, error, self._endpoint.api.name, scope[REQUEST_ID])
            raise RefusedRequest(problem) from error
        if content_type != JSON:
            detail = "events are text: ask for the outputs without binary data"
            raise RefusedRequest(Problem(400, "bad-request", "bad request", detail))
        return text

    async def _refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        await problem_reply(problem, scope, self._write_problem)(scope, receive, send)


async def _all(pieces: AsyncIterator[Any]) -> list[Any]:
    found = []
    async for piece in pieces:
        found.append(piece)
        if len(found) > MOST_JOINED:
            detail = "the stream is too long for one answer: ask for generate_stream"
            raise RefusedRequest(Problem(400, "bad-request", "bad request", detail))
    return found


def _event(text: bytes) -> Message:
    return {"type": "http.response.body", "body": b"data: " + text + b"\n\n", "more_body": True}
