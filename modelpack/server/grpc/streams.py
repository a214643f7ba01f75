"""``ModelStreamInfer``: any number of requests and answers on one call.

    requests ──reader──► [answers to 1][answers to 2] … ──► one after the other, in that order
                          │ an api with one answer: begun at once, so that they share batches
                          └ an api that streams: its pieces, begun when it is its turn

A request that fails is answered with its error and its id, and the call goes on.  To us it has the
id of the call and its own number.  What always holds:
at most ``AT_ONCE`` requests of a call are read ahead of the answers; when the client leaves, what it
still waits for is dropped.  Triton, grpc_service.proto; decoupled models.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from itertools import count

from modelpack.server.faces.face import error_text
from modelpack.server.faces.inference import stream
from modelpack.server.grpc import parameters
from modelpack.server.grpc.calls import Asked, Context, abort, asked_of, told
from modelpack.server.grpc.messages import Message, message, parsed
from modelpack.server.grpc.oip import take, write
from modelpack.server.grpc.serving import Serving
from modelpack.server.grpc.taking import FACE, answered
from modelpack.server.observe.payloads.notes import PROTOBUF, Note
from modelpack.server.observe.payloads.record import Said
from modelpack.server.problems import UNAVAILABLE, RefusedRequest

AT_ONCE = 64

_SAID = Said("/inference.GRPCInferenceService/ModelStreamInfer", PROTOBUF, (), "grpc")

_Request = message("inference.ModelInferRequest")
_Response = message("inference.ModelStreamInferResponse")

Answers = AsyncIterator[bytes]


class Streams:
    """The method with many messages each way."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def infer(self, requests: AsyncIterator[bytes], context: Context) -> Answers:
        """Answer the requests of one call."""
        try:
            asked = asked_of(context, self._serving.ids)
        except RefusedRequest as refused:
            await abort(context, refused.problem, self._serving.ids.new_id())
        waiting: asyncio.Queue[Answers | None] = asyncio.Queue(AT_ONCE)
        begun: set[asyncio.Task[bytes]] = set()

        numbers = count(1)

        def begin(body: bytes) -> Answers:
            own_id = b"%b.%d" % (asked.request_id, next(numbers))
            now = replace(asked, request_id=own_id, timeout_s=context.time_remaining())
            return self._begin(body, now, begun)

        reading = asyncio.ensure_future(_read(requests, begin, waiting))
        ending = asyncio.ensure_future(self._serving.ending.wait())
        ending.add_done_callback(lambda _: reading.cancel())
        try:
            while (answers := await waiting.get()) is not None:
                async for answer in answers:
                    yield answer
        finally:
            ending.cancel()
            reading.cancel()
            for task in begun:
                task.cancel()
        if self._serving.ending.is_set():
            await abort(context, UNAVAILABLE, asked.request_id)

    def _begin(self, body: bytes, asked: Asked, begun: set[asyncio.Task[bytes]]) -> Answers:
        """Begin what one request asks for; returns its answers."""
        request = _Request()
        try:
            request = parsed(_Request, body)
            catalog = self._serving.catalog()
            served = catalog.model(request.model_name, request.model_version)
        except Exception as error:
            return _only(_failure(request, error))
        if served.api.is_stream:
            return _pieces(self._serving, request, asked, body)
        task = asyncio.ensure_future(_answer(self._serving, request, asked, body))
        begun.add(task)
        task.add_done_callback(begun.discard)
        return _awaited(task)


async def _read(
    requests: AsyncIterator[bytes],
    begin: Callable[[bytes], Answers],
    waiting: asyncio.Queue[Answers | None],
) -> None:
    """Begin the requests as they come, until the client has no more."""
    try:
        async for body in requests:
            await waiting.put(begin(body))
    finally:
        await waiting.put(None)


async def _answer(serving: Serving, request: Message, asked: Asked, body: bytes) -> bytes:
    """Return the answer to a request, or its failure."""
    with serving.calls, Note(_SAID, asked.request_id, body) as note:
        try:
            answer = await _answered(serving, request, asked, len(body))
        except Exception as error:
            note.fail(error)
            return _failure(request, error)
        note.answer(answer)
        return answer


async def _answered(serving: Serving, request: Message, asked: Asked, size_bytes: int) -> bytes:
    """Return the answer to a request; raises what keeps it from one."""
    one = await take(serving, request, asked, size_bytes)

    def encoded(answer: object) -> bytes:
        response = _Response()
        response.infer_response.model_version = one.catalog.version
        write(response.infer_response, one.served, request, answer)
        if _says_last(request):
            _set_last(response, is_last=True)
        return _encoded(response)

    response: bytes = await answered(one, asked, size_bytes, encoded)
    return response


async def _pieces(serving: Serving, request: Message, asked: Asked, body: bytes) -> Answers:
    """Yield the answers of an api that streams, and what ended them early."""
    with serving.calls, Note(_SAID, asked.request_id, body) as note:
        try:
            async with aclosing(_yielded(serving, request, asked, len(body))) as answers:
                async for answer in answers:
                    note.piece(answer)
                    yield answer
        except Exception as error:
            note.fail(error)
            yield _failure(request, error)


async def _yielded(
    serving: Serving, request: Message, asked: Asked, size_bytes: int
) -> AsyncGenerator[bytes]:
    """Yield the answers of an api that streams; raises what ends them early."""
    says_last = _says_last(request)
    one = await take(serving, request, asked, size_bytes)
    pieces = stream(
        one.served.endpoint,
        one.arguments,
        request_id=asked.request_id,
        timeout_s=one.asked.timeout_s,
        fields=asked.fields,
        face=FACE,
    )
    async for piece in pieces:
        response = _Response()
        response.infer_response.model_version = one.catalog.version
        write(response.infer_response, one.served, request, piece)
        if says_last:
            _set_last(response, is_last=False)
        yield _encoded(response)
    if says_last:
        last = _Response()
        last.infer_response.model_name, last.infer_response.id = one.served.name, request.id
        last.infer_response.model_version = one.catalog.version
        _set_last(last, is_last=True)
        yield _encoded(last)


async def _only(answer: bytes) -> Answers:
    yield answer


async def _awaited(task: asyncio.Task[bytes]) -> Answers:
    yield await task


def _failure(request: Message, error: Exception) -> bytes:
    response = _Response(error_message=error_text(told(error)))
    response.infer_response.id = request.id
    response.infer_response.model_name = request.model_name
    return _encoded(response)


def _says_last(request: Message) -> bool:
    return bool(parameters.value_of(request.parameters, parameters.EMPTY_FINAL))


def _set_last(response: Message, *, is_last: bool) -> None:
    response.infer_response.parameters[parameters.FINAL].bool_param = is_last


def _encoded(response: Message) -> bytes:
    encoded: bytes = response.SerializeToString()
    return encoded
