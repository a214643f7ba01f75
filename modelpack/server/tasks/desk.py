"""What all paths of tasks have in common, ours and those of other clients.

a request ──Desk.read──► NewTask          the body is read once, as the api will, and refused at once
a task that is over ──Desk.result_of──► its answer
whatever goes wrong ──problem_of──► Problem, said in the form of the path (``Page``)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from starlette.types import ASGIApp, Receive, Scope, Send

from modelpack.server.endpoint import Asked, Endpoint
from modelpack.server.faces.catalog import Catalog
from modelpack.server.observe.logs import event, log_internal
from modelpack.server.problems import (
    Problem,
    RefusedRequest,
    WriteProblem,
    problem_from,
    write_problem,
)
from modelpack.server.tasks.asking import fingerprint, kept_fields, key_of, webhook_of
from modelpack.server.tasks.engine import Tasks
from modelpack.server.tasks.record import CANCELLED, GONE, NewTask, Task, new_id
from modelpack.server.tasks.store import EXPIRED, LOST, KeyReused, StoreFailed, StoreFull
from modelpack.server.web.incoming import ClientLeft, read_body
from modelpack.server.web.replies import REQUEST_ID, Reply, fields_of, problem_reply
from modelpack.server.wishes import PRIORITY, timeout_of

_BEHIND = 2
"""Priority of a task that asks for none: requests that somebody waits for go first."""

NO_CACHE = (b"cache-control", b"no-store")
SOON = (b"retry-after", b"1")

Answer = Callable[[Scope, Receive], Awaitable[ASGIApp]]


class Desk:
    """Takes tasks in, and hands results out, for one version of the service."""

    def __init__(self, catalog: Catalog, tasks: Tasks) -> None:
        self.catalog = catalog
        self.tasks = tasks

    async def read(self, endpoint: Endpoint, scope: Scope, receive: Receive) -> NewTask:
        """Return the task that a request brings; raises RefusedRequest, and ClientLeft."""
        fields = fields_of(scope)
        asked = endpoint.asked(fields)
        key, webhook = key_of(fields), webhook_of(fields, self.tasks.hosts)
        body = await read_body(receive, self.catalog.settings.max_body_bytes)
        await _check(asked, body)
        kept, api = kept_fields(fields), endpoint.api.name
        return NewTask(
            id=new_id(),
            api=api,
            fields=kept,
            body=body,
            request_id=scope[REQUEST_ID].decode("latin-1"),
            priority=asked.priority if PRIORITY in fields else _BEHIND,
            timeout_s=timeout_of(fields, self.catalog.settings.tasks_timeout_s),
            key=key,
            fingerprint=fingerprint(api, kept, body) if key is not None else "",
            webhook=webhook,
        )

    async def result_of(self, task: Task, scope: Scope) -> Reply:
        """Return what came of a task that is over; raises RefusedRequest (410) for one cancelled."""
        if task.status == CANCELLED:
            raise RefusedRequest(_CANCELLED)
        result = await self.tasks.store.read(lambda store: store.result(task.id))
        if result is None:
            return problem_reply(_WITHOUT_RESULT.get(task.code, _GONE), scope)
        pairs = ((name.encode("latin-1"), v.encode("latin-1")) for name, v in result.headers)
        headers = (*pairs, NO_CACHE)
        return Reply(result.status, result.content_type.encode("latin-1"), result.body, headers)


def known(task: Task | None) -> Task:
    """Return a task that is there; raises RefusedRequest: 404, or 410 when it was."""
    if task is None:
        raise RefusedRequest(_UNKNOWN)
    if task.status == GONE:
        raise RefusedRequest(_GONE)
    return task


_UNKNOWN = Problem(404, "unknown-task", "unknown task", "no task has that id, or has it any longer")
_GONE = Problem(410, "task-gone", "task gone", "its result was kept for its time, or thrown away")
_CANCELLED = Problem(410, "task-cancelled", "task cancelled", "it was cancelled and has no result")
_FULL = Problem(
    429, "tasks-full", "too many tasks", "there is no room for one more, try again later"
)
_REUSED = Problem(
    422, "idempotency-key-reused", "key reused", "the key is that of a task with other content"
)
_UNAVAILABLE = Problem(
    503, "tasks-unavailable", "tasks unavailable", "tasks cannot be kept or looked up now",
    headers=(SOON,),
)  # fmt: skip
_WITHOUT_RESULT = {
    EXPIRED: Problem(504, "task-expired", "task expired", "no server ran it in its time"),
    LOST: Problem(
        500, "task-lost", "task lost", "the processes that ran it were lost, several times"
    ),
}


async def _check(asked: Asked, body: bytes) -> None:
    """Read a body as the api will; raises what that raises."""
    if len(body) > asked.light_bytes:
        await asyncio.to_thread(asked.read, body)
    else:
        asked.read(body)


class Page:
    """The answers of one path, by method; whatever goes wrong has the form of that path."""

    def __init__(self, answers: Mapping[str, Answer], write: WriteProblem = write_problem) -> None:
        self._answers = answers
        self._write = write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        try:
            reply = await self._answers[method](scope, receive)
        except ClientLeft:
            return
        except Exception as error:
            reply = problem_reply(problem_of(error), scope, self._write)
        await reply(scope, receive, send)


def problem_of(error: Exception) -> Problem:
    """Return what a client is told of an error."""
    if isinstance(error, StoreFull):
        return replace(_FULL, headers=((b"retry-after", b"%d" % error.retry_after_s),))
    if isinstance(error, KeyReused):
        return _REUSED
    if isinstance(error, StoreFailed):
        event("tasks-unavailable", error=str(error))
        return _UNAVAILABLE
    problem = problem_from(error)
    if problem.status == 500:
        log_internal(error)
    return problem
