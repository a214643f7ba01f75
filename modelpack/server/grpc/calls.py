"""What a call asks for in its metadata, and what it is told when it fails.

    metadata, deadline ──asked_of──► Asked(request_id, timeout_s, priority, trace)
    Problem ──abort──► a status of gRPC, with x-request-id, modelpack-code and retry hints behind it

The metadata has the names of the HTTP header: ``x-request-id``, ``x-request-timeout-ms``,
``modelpack-priority``, ``traceparent``.  The deadline of gRPC and the time-out of the metadata both
hold.  Codes: https://grpc.io/docs/guides/status-codes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from grpc import StatusCode

from modelpack.server.faces.face import error_text
from modelpack.server.grpc.serving import Calls
from modelpack.server.http.heads import RequestIds
from modelpack.server.observe.logs import log_internal
from modelpack.server.problems import Problem, RefusedRequest, problem_from
from modelpack.server.wishes import PRIORITY, TIMEOUT, priority_of, timeout_of

Context = Any
"""``grpc.aio.ServicerContext``, of which no type is known."""

REQUEST_ID = "x-request-id"
_TRACE = ("traceparent", "tracestate")

_STATUSES = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    409: StatusCode.ALREADY_EXISTS,
    413: StatusCode.RESOURCE_EXHAUSTED,
    415: StatusCode.INVALID_ARGUMENT,
    422: StatusCode.INVALID_ARGUMENT,
    429: StatusCode.RESOURCE_EXHAUSTED,
    499: StatusCode.CANCELLED,
    501: StatusCode.UNIMPLEMENTED,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
    507: StatusCode.RESOURCE_EXHAUSTED,
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known of a call beside its message."""

    request_id: bytes
    timeout_s: float | None
    """Longest that it may take; None: what the server allows."""
    priority: int
    """Who goes first: 0 before 1 before 2."""
    fields: dict[bytes, bytes]
    """Metadata that says to which trace it belongs; mostly empty."""


_WISHES = {REQUEST_ID, TIMEOUT.decode(), PRIORITY.decode(), *_TRACE}


def asked_of(context: Context, ids: RequestIds) -> Asked:
    """Return what a call asks for; raises RefusedRequest (400)."""
    fields: dict[bytes, bytes] = {}
    for key, value in context.invocation_metadata() or ():
        if key in _WISHES:
            fields[key.encode()] = value if isinstance(value, bytes) else value.encode()
    left_s = context.time_remaining()
    if not fields:
        return Asked(ids.new_id(), left_s, _NORMAL, fields)
    longest = _FOREVER_S if left_s is None else left_s
    timeout_s = timeout_of(fields, longest)
    return Asked(
        ids.id_for(fields.get(REQUEST_ID.encode())),
        None if timeout_s == _FOREVER_S else timeout_s,
        priority_of(fields),
        fields,
    )


_NORMAL = 1
_FOREVER_S = 1e9

Unary = Callable[[bytes, Asked], Coroutine[Any, Any, bytes]]
"""Answers the bytes of one message; raises RefusedRequest."""


Pieces = Callable[[bytes, Asked], AsyncIterator[bytes]]
"""Answers the bytes of one message with those of any number; raises RefusedRequest."""


def answering(
    run: Unary, ids: RequestIds, calls: Calls
) -> Callable[[bytes, Context], Coroutine[Any, Any, bytes]]:
    """Return the handler of a method with one message each way."""

    async def handle(body: bytes, context: Context) -> bytes:
        request_id = b""
        with calls:
            try:
                asked = asked_of(context, ids)
                request_id = asked.request_id
                answer = await run(body, asked)
            except Exception as error:  # whatever the bytes made fail is answered
                problem = told(error)
                if calls.released is not None:
                    await calls.released.wait()
                await abort(context, problem, request_id or ids.new_id())
            if calls.released is not None:
                await calls.released.wait()
        context.set_trailing_metadata(((REQUEST_ID, request_id.decode("latin-1")),))
        return answer

    return handle


def answering_in_pieces(
    run: Pieces, ids: RequestIds, calls: Calls
) -> Callable[[bytes, Context], AsyncIterator[bytes]]:
    """Return the handler of a method that answers one message with any number."""

    async def handle(body: bytes, context: Context) -> AsyncIterator[bytes]:
        request_id = b""
        with calls:
            try:
                asked = asked_of(context, ids)
                request_id = asked.request_id
                async for piece in run(body, asked):
                    yield piece
            except Exception as error:
                await abort(context, told(error), request_id or ids.new_id())
        context.set_trailing_metadata(((REQUEST_ID, request_id.decode("latin-1")),))

    return handle


def told(error: Exception) -> Problem:
    """Return what a client is told of an error; one that is ours is logged."""
    if isinstance(error, RefusedRequest):
        return error.problem
    problem = problem_from(error)
    if problem.status == 500:
        log_internal(error)
    return problem


def status_of(problem: Problem) -> StatusCode:
    """Return the status of gRPC that a problem has."""
    return _STATUSES.get(problem.status, StatusCode.INTERNAL)


async def abort(context: Context, problem: Problem, request_id: bytes) -> NoReturn:
    """End a call with a problem; raises what gRPC ends it with."""
    await context.abort(status_of(problem), error_text(problem), _trailers(problem, request_id))
    raise AssertionError("abort returns to nobody")


def _trailers(problem: Problem, request_id: bytes) -> Sequence[tuple[str, str]]:
    """Return the metadata behind a failed call; clients that try again read the last two."""
    trailers = [(REQUEST_ID, request_id.decode("latin-1")), ("modelpack-code", problem.code)]
    for name, value in problem.headers:
        if name == b"retry-after":
            trailers.append(("retry-after", value.decode()))
            trailers.append(("grpc-retry-pushback-ms", str(int(value) * 1000)))
    return tuple(trailers)
