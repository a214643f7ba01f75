"""The one call behind every contract, for those that are no HTTP requests of their own.

    infer(endpoint, arguments, deadline …) ──► the same queue, limits and counts ──► answer
                                                                               └──► Refused(problem)
    stream(endpoint, arguments) ──► the pieces of an api that streams

gRPC, tasks and calls that one request makes several of come in here; HTTP bodies go through
``Endpoint.accept``, which does the same without a future.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from time import perf_counter
from typing import Any

from modelpack.sdk.api import Arguments
from modelpack.server.endpoint import Asked, Endpoint, HttpCall
from modelpack.server.observe.logs import log_failure
from modelpack.server.observe.payloads.notes import asked_of
from modelpack.server.problems import (
    NOT_READY,
    BadOutput,
    Headers,
    Problem,
    RefusedRequest,
    TimedOut,
    problem_from,
)

_NO_FIELDS: Mapping[bytes, bytes] = {}

NORMAL = 1
"""Priority of a call that asks for none: 0 goes before it, 2 behind."""


Finish = Callable[[Any], Any]
"""Makes of an answer what is wanted; what it raises is the call's failure, and counted so."""


def _as_it_is(answer: Any) -> Any:
    return answer


class _Awaited(HttpCall):
    """A call whose answer is wanted as it is, not as bytes."""

    __slots__ = ("answer", "finish")

    def __init__(self, endpoint: Endpoint, request_id: bytes, finish: Finish = _as_it_is) -> None:
        super().__init__(endpoint, request_id)
        self.finish = finish
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.write_problem = self._keep

    def resolve(self, answer: Any) -> None:
        """Hand the answer over."""
        try:
            finished = self.finish(answer)
        except Exception as error:  # an answer may hold anything
            self.reject(error)
            return
        self.endpoint.count(self, 200)
        if not self.answer.done():
            self.answer.set_result(finished)

    def _keep(self, problem: Problem, _request_id: bytes) -> tuple[int, bytes, bytes, Headers]:
        if not self.answer.done():
            self.answer.set_exception(RefusedRequest(problem))
        return problem.status, b"", b"", ()

    def send(self, status: int, content_type: bytes, body: bytes, headers: Headers) -> None:
        """Do nothing: nobody reads bytes."""


async def infer(
    endpoint: Endpoint,
    arguments: Arguments,
    *,
    request_id: bytes,
    timeout_s: float | None = None,
    priority: int = NORMAL,
    size_bytes: int = 0,
    fields: Mapping[bytes, bytes] = _NO_FIELDS,
    face: str = "",
    finish: Finish = _as_it_is,
) -> Any:
    """Return the answer of an api as plain values, or what ``finish`` makes of it; arrays stay arrays.

    timeout_s   longest that it may take; None, or more than the server allows: what it allows
    priority    0 goes before 1 before 2
    size_bytes  how long the request was, for the limit of the queue
    fields      those of its head, by lower-case name, for the trace that it is part of
    face        name of the contract in which it is asked

    A caller that is cancelled takes its waiting rows with it.  Raises RefusedRequest with the
    problem when there is no answer.
    """
    call = _Awaited(endpoint, request_id, finish)
    _begin(call, timeout_s, priority, fields, face)
    call.size_bytes = size_bytes
    endpoint.submit(call, arguments)
    try:
        return await call.answer
    except asyncio.CancelledError:
        endpoint.drop(call)
        raise


async def stream(
    endpoint: Endpoint,
    arguments: Arguments,
    *,
    request_id: bytes,
    timeout_s: float | None = None,
    fields: Mapping[bytes, bytes] = _NO_FIELDS,
    face: str = "",
) -> AsyncGenerator[Any, None]:
    """Yield the pieces of an api that streams; raises as ``infer``.

    ``timeout_s`` is how long the first piece may take.
    """
    call = _Awaited(endpoint, request_id)
    _begin(call, timeout_s, NORMAL, fields, face)
    if not endpoint.is_bound:
        call.refuse(NOT_READY)
        call.answer.result()
    call.values = arguments.values
    pieces = endpoint.open_stream(call.values)
    try:
        async with asyncio.timeout(max(0.0, call.deadline - perf_counter())) as clock:
            piece = await anext(pieces, _END)
        while piece is not _END:
            yield piece
            piece = await anext(pieces, _END)
        call.is_done = True
        endpoint.count(call, 200)
    except (asyncio.CancelledError, GeneratorExit):
        endpoint.drop(call)
        raise
    except Exception as error:
        call.reject(TimedOut() if clock.expired() else error)
        call.answer.result()
    finally:
        await _end(pieces, endpoint, request_id)


_END = object()


def refuse(
    endpoint: Endpoint, error: Exception, *, request_id: bytes, face: str = ""
) -> RefusedRequest:
    """Count a call whose arguments cannot be had; returns what to raise for its client."""
    call = _Awaited(endpoint, request_id)
    _begin(call, None, NORMAL, face=face)
    call.refuse(problem_from(error), error)
    refused = call.answer.exception()
    assert isinstance(refused, RefusedRequest)  # noqa: S101 - what ``refuse`` leaves there
    return refused


def _begin(
    call: HttpCall,
    timeout_s: float | None,
    priority: int,
    fields: Mapping[bytes, bytes] = _NO_FIELDS,
    face: str = "",
) -> None:
    endpoint = call.endpoint
    limit_s = endpoint.request_timeout_s
    wanted_s = limit_s if timeout_s is None else min(timeout_s, limit_s)
    trace = None if endpoint.watch is None else endpoint.watch.trace_of(fields)
    asked = Asked(_unread, call.write, -1, wanted_s, priority, trace, call.write_problem, face)
    if endpoint.payloads is not None:
        asked_of(endpoint.payloads)
    endpoint.begin(call, asked)


def _unread(_body: bytes) -> Arguments:
    raise BadOutput("a call without a body was read")


async def _end(pieces: Any, endpoint: Endpoint, request_id: bytes) -> None:
    """Let a generator end where it stands."""
    try:
        await pieces.aclose()
    except Exception as error:  # its own clean-up failed; the client has its answer
        problem = problem_from(error, from_service=True)
        log_failure(problem.code, error, endpoint.api.name, request_id)
