"""The paths that clients of BentoML's tasks know, beside our own.

    POST /API/submit            ─► {"task_id", "status": "in_progress"}
    GET  /API/status?task_id=   ─► {"task_id", "status", "created_at", "executed_at"}
    GET  /API/get?task_id=      ─► the answer of the api; 400 while there is none
    POST /API/retry?task_id=    ─► as submit; the task keeps its id here
    PUT  /API/cancel?task_id=

Paths, words and statuses are those of BentoML 1.4 (its ``_bentoml_impl``: server/app.py,
tasks/result.py); refusals are ``{"error": ...}`` as there.
"""

from __future__ import annotations

from functools import partial

import orjson
from starlette.routing import Route
from starlette.types import Receive, Scope

from modelpack.server.endpoint import Endpoint
from modelpack.server.faces.face import write_error
from modelpack.server.problems import Problem, RefusedRequest
from modelpack.server.tasks.asking import query_of
from modelpack.server.tasks.desk import Answer, Desk, Page, known
from modelpack.server.tasks.documents import moment
from modelpack.server.tasks.record import CANCELLED, FAILED, QUEUED, RUNNING, SUCCEEDED, Task
from modelpack.server.web.replies import Reply

WORDS = {
    QUEUED: "pending",
    RUNNING: "in_progress",
    SUCCEEDED: "completed",
    FAILED: "failed",
    CANCELLED: "canceled",
}

_NO_ID = Problem(400, "task-id-missing", "task_id is required")
_NOT_YET = Problem(400, "task-not-over", "the task is not completed yet")
_NOT_AGAIN = Problem(400, "task-not-failed", "the task neither failed nor was canceled")


def bento_routes(desk: Desk) -> list[Route]:
    """Return the routes for one version of the service."""
    clerk = _Clerk(desk)
    routes = []
    for endpoint in desk.catalog.endpoints:
        answers: dict[tuple[str, str], Answer] = {
            ("submit", "POST"): partial(clerk.submit, endpoint),
            ("status", "GET"): clerk.status,
            ("get", "GET"): clerk.get,
            ("retry", "POST"): clerk.retry,
            ("cancel", "PUT"): clerk.cancel,
        }
        for (word, method), answer in answers.items():
            page = Page({method: answer}, write_error)
            routes.append(Route(f"{endpoint.api.route}/{word}", page, methods=[method]))
    return routes


class _Clerk:
    """Answers as BentoML would."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._tasks = desk.tasks

    async def submit(self, endpoint: Endpoint, scope: Scope, receive: Receive) -> Reply:
        """Take a task in."""
        task, _ = await self._tasks.submit(await self._desk.read(endpoint, scope, receive))
        return _json({"task_id": task.id, "status": WORDS[RUNNING]})

    async def status(self, scope: Scope, _receive: Receive) -> Reply:
        """Say how a task stands."""
        task = await self._task(scope)
        return _json(
            {
                "task_id": task.id,
                "status": WORDS[task.status],
                "created_at": moment(task.created),
                "executed_at": moment(task.started),
            }
        )

    async def get(self, scope: Scope, _receive: Receive) -> Reply:
        """Hand the answer out."""
        task = await self._task(scope)
        if not task.is_over:
            raise RefusedRequest(_NOT_YET)
        return await self._desk.result_of(task, scope)

    async def retry(self, scope: Scope, _receive: Receive) -> Reply:
        """Queue a task anew."""
        before = await self._task(scope)
        if before.status not in (FAILED, CANCELLED):
            raise RefusedRequest(_NOT_AGAIN)
        task = known(await self._tasks.again(before.id))
        return _json({"task_id": task.id, "status": WORDS[RUNNING]})

    async def cancel(self, scope: Scope, _receive: Receive) -> Reply:
        """Cancel a task."""
        task = known(await self._tasks.cancel((await self._task(scope)).id))
        return _json({"task_id": task.id, "status": WORDS[task.status]})

    async def _task(self, scope: Scope) -> Task:
        asked = query_of(scope)
        if "task_id" not in asked:
            raise RefusedRequest(_NO_ID)
        return known(await self._tasks.wait(asked["task_id"], 0))


def _json(value: object) -> Reply:
    return Reply(200, b"application/json", orjson.dumps(value))
