"""One call of a run over many rows: the server's own, except that it keeps the service's words.

    ask(endpoint, arguments) ──► the queue, the counts ──► answer
                                                       └─► Refusal(status, code, what was said)

A client of the server is told little of why a model failed; whoever runs a batch job is its operator,
and reads the reason beside the row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from modelpack.errors import Issue
from modelpack.sdk.api import Arguments
from modelpack.server.endpoint import Asked, Endpoint, HttpCall
from modelpack.server.problems import (
    BadOutput,
    Headers,
    Problem,
    ServiceFailed,
    TimedOut,
    problem_from,
    write_problem,
)

_MAX_ISSUES = 5
_MAX_TEXT = 500


class Refusal(Exception):
    """Why there is no answer: ``code`` and ``detail`` for people, ``issues`` of its places."""

    def __init__(self, status: int, code: str, detail: str, issues: Iterable[Issue] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail[:_MAX_TEXT]
        self.issues = [[i.pointer, i.expected, i.got] for i in list(issues)[:_MAX_ISSUES]]

    @property
    def is_passing(self) -> bool:
        """True when the rows are not the reason: nothing can run them at the moment."""
        return self.status in (429, 503)


def refusal_of(error: BaseException, *, from_service: bool = False) -> Refusal:
    """Return what an exception means for the rows that it came of."""
    return _refusal(problem_from(error, from_service=from_service), error)


async def ask(endpoint: Endpoint, arguments: Arguments) -> Any:
    """Return the answer as plain values, a list of the pieces for a stream; raises Refusal."""
    if endpoint.api.is_stream:
        return await _pieces(endpoint, arguments)
    call = _Kept(endpoint)
    endpoint.begin(call, _asked(endpoint, call))
    endpoint.submit(call, arguments)
    try:
        return await call.answer
    except asyncio.CancelledError:
        endpoint.drop(call)
        raise


async def _pieces(endpoint: Endpoint, arguments: Arguments) -> list[Any]:
    call = _Kept(endpoint)
    endpoint.begin(call, _asked(endpoint, call))
    stream = endpoint.open_stream(arguments.values)
    pieces: list[Any] = []
    try:
        async with asyncio.timeout(endpoint.request_timeout_s) as clock:
            async for piece in stream:
                pieces.append(piece)  # noqa: PERF401  some are there when it fails, and are dropped
    except Exception as error:
        call.reject(TimedOut() if clock.expired() else error)
        await call.answer
    else:
        call.resolve(pieces)
    finally:
        await stream.aclose()
    return pieces


class _Kept(HttpCall):
    """A call whose answer, or the very error, is awaited."""

    __slots__ = ("answer",)

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint, b"")
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def resolve(self, answer: Any) -> None:
        """Hand the answer over."""
        self.is_done = True
        self.endpoint.count(self, 200)
        if not self.answer.done():  # the run was ended meanwhile
            self.answer.set_result(answer)

    def refuse(self, problem: Problem, error: BaseException | None = None) -> None:
        """Hand the reason over; nothing is logged, since it goes beside the row."""
        self.is_done = True
        self.endpoint.count(self, problem.status, problem.code)
        if not self.answer.done():
            self.answer.set_exception(_refusal(problem, error))

    def send(self, status: int, content_type: bytes, body: bytes, headers: Headers) -> None:
        """Do nothing: nobody reads bytes."""


def _asked(endpoint: Endpoint, call: HttpCall) -> Asked:
    limit_s = endpoint.request_timeout_s
    return Asked(_unread, call.write, -1, limit_s, write_problem=write_problem)


def _unread(_body: bytes) -> Arguments:
    raise BadOutput("a call without a body was read")


def _refusal(problem: Problem, error: BaseException | None) -> Refusal:
    detail = problem.detail or problem.title
    if problem.status == 500 and error is not None:
        said = error.said if isinstance(error, ServiceFailed) else _words(error)
        detail = said or detail
    return Refusal(problem.status, problem.code, detail, problem.issues)


def _words(error: BaseException) -> str:
    if isinstance(error, BadOutput):
        return str(error)
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # the service's own class may fail at it
        return type(error).__name__
