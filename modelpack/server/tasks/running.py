"""Runs one task: the way of an HTTP request through the api's endpoint, without a connection.

    Claim ──asked(fields)──► read ──► the api's queue ──► write ──► Outcome(result)
                                                              └──► Outcome(None, delay_s): not now

The answer is byte for byte that of the api, problems too.  What says more about the moment than
about the task (429, 503) is no answer: it is tried again later.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace

from modelpack.server.endpoint import Asked, Endpoint
from modelpack.server.faces.inference import stream
from modelpack.server.observe.logs import log_failure
from modelpack.server.observe.payloads.record import noted, said_of
from modelpack.server.problems import (
    BadOutput,
    Headers,
    Problem,
    RefusedRequest,
    TimedOut,
    problem_from,
    write_problem,
)
from modelpack.server.tasks.record import FAILED, SUCCEEDED, Claim, Result
from modelpack.server.web.incoming import WaitingCall
from modelpack.server.web.replies import Reply
from modelpack.server.web.streams import NDJSON, SSE

_NOT_NOW = (429, 503)
_DELAY_S = 1.0
_LONGEST_DELAY_S = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run."""

    result: Result | None
    """What the api answered; None: it could not be asked now."""
    delay_s: float = 0.0
    """When it may be tried again."""

    @property
    def status(self) -> str:
        """Status of the task."""
        is_good = self.result is not None and self.result.status < 400
        return SUCCEEDED if is_good else FAILED


async def run_task(endpoint: Endpoint, claim: Claim) -> Outcome:
    """Return what became of a task; who is cancelled takes it out of the queue."""
    fields = {name.encode("latin-1"): v.encode("latin-1") for name, v in claim.fields.items()}
    call = _TaskCall(endpoint, claim.request_id.encode("latin-1"))
    try:
        asked = replace(endpoint.asked(fields), timeout_s=claim.timeout_s, face="tasks")
        if endpoint.payloads is not None:
            asked = replace(asked, said=said_of(f"/tasks/{claim.api}", fields, "tasks"))
    except RefusedRequest as refused:  # another version of the api reads other bodies
        endpoint.begin(call)
        call.refuse(refused.problem)
        return call.outcome(call.reply.result())
    if endpoint.api.is_stream:
        return await _run_stream(call, asked, claim, is_sse=SSE in fields.get(b"accept", b""))
    endpoint.accept(call, claim.body, asked)
    try:
        return call.outcome(await call.reply)
    except asyncio.CancelledError:
        endpoint.drop(call)
        raise


class _TaskCall(WaitingCall):
    """A call whose problem is remembered by its code."""

    __slots__ = ("code",)

    def __init__(self, endpoint: Endpoint, request_id: bytes) -> None:
        super().__init__(endpoint, request_id)
        self.code = ""

    def refuse(self, problem: Problem, error: BaseException | None = None) -> None:
        """Remember the code."""
        self.code = problem.code
        super().refuse(problem, error)

    def outcome(self, reply: Reply) -> Outcome:
        """Return what an answer means for the task."""
        return _outcome(reply.status, reply.content_type, reply.body, reply.headers, self.code)


async def _run_stream(call: _TaskCall, asked: Asked, claim: Claim, *, is_sse: bool) -> Outcome:
    """Gather all pieces of a stream; a failure on the way is the failure of the task."""
    endpoint = call.endpoint
    kept = noted(endpoint.payloads, asked.said, call.request_id, claim.body)
    try:
        arguments = await asyncio.to_thread(asked.read, claim.body)
        pieces: list[bytes] = []
        async with asyncio.timeout(claim.timeout_s):
            said = stream(endpoint, arguments, request_id=call.request_id, face=asked.face)
            async with aclosing(said):
                async for piece in said:
                    line = _dump(endpoint, piece)
                    pieces.append(b"data: " + line + b"\n\n" if is_sse else line + b"\n")
    except Exception as error:
        problem = problem_from(TimedOut() if isinstance(error, TimeoutError) else error)
        if problem.status == 500 and not isinstance(error, RefusedRequest):  # else it was said
            log_failure(problem.code, error, endpoint.api.name, call.request_id)
        kept.end(problem.status)
        return _refused(problem, call.request_id)
    kept.end(200, SSE if is_sse else NDJSON, b"".join(pieces))
    return _outcome(200, SSE if is_sse else NDJSON, b"".join(pieces), (), "")


def _dump(endpoint: Endpoint, piece: object) -> bytes:
    try:
        return endpoint.writer.dump(piece)
    except (TypeError, ValueError) as cause:
        raise BadOutput(f"{type(cause).__name__}: {cause}") from cause


def _refused(problem: Problem, request_id: bytes) -> Outcome:
    status, content_type, body, headers = write_problem(problem, request_id)
    return _outcome(status, content_type, body, headers, problem.code)


def _outcome(status: int, content_type: bytes, body: bytes, headers: Headers, code: str) -> Outcome:
    if status in _NOT_NOW:
        wait = dict(headers).get(b"retry-after", b"")
        delay_s = float(wait) if wait.isdigit() else _DELAY_S
        return Outcome(None, min(max(delay_s, _DELAY_S), _LONGEST_DELAY_S))
    pairs = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
    return Outcome(Result(status, content_type.decode("latin-1"), pairs, body, code))
