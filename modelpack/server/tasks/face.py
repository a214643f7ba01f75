"""The paths of tasks; the words are our own, so are the problems.

    POST   /tasks/API          the body that API itself takes ─► 202, Location: /tasks/ID
    GET    /tasks/ID           how it stands
    GET    /tasks/ID/result    the answer of the api, byte for byte; 202 while there is none yet
    POST   /tasks/ID/cancel    end it, keep the record
    POST   /tasks/ID/retry     queue it anew, when it failed or was cancelled
    DELETE /tasks/ID           end it and throw away what there is of it
    GET    /tasks              all of them, where the operator allows it

A body that does not fit the api is refused at once, as the api would do it.  The pages are made for
each version of the service; what they ask, the engine, is the process's.
"""

from __future__ import annotations

from urllib.parse import urlencode

import orjson
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from modelpack.errors import did_you_mean
from modelpack.sdk.service import ServiceSpec
from modelpack.server.faces.catalog import Catalog
from modelpack.server.faces.face import Face
from modelpack.server.problems import (
    Headers,
    Problem,
    RefusedRequest,
    bad_query,
    write_problem,
)
from modelpack.server.tasks.asking import query_of, wait_of
from modelpack.server.tasks.bento import bento_routes
from modelpack.server.tasks.describing import task_paths
from modelpack.server.tasks.desk import NO_CACHE, SOON, Answer, Desk, Page, known
from modelpack.server.tasks.documents import task_document
from modelpack.server.tasks.engine import Tasks
from modelpack.server.tasks.record import CANCELLED, FAILED, STATUSES, Task
from modelpack.server.web.replies import REQUEST_ID, Reply, fields_of

MAX_LISTED = 1000
_LISTED = 100
_JSON = b"application/json"


class TasksFace(Face):
    """Calls that are answered later."""

    name = "tasks"

    def __init__(self, catalog: Catalog, tasks: Tasks, spec: ServiceSpec) -> None:
        super().__init__(catalog)
        self.tasks = tasks
        self._spec = spec
        self._desk = Desk(catalog, tasks)
        self.routes = [
            _route("/tasks", {"GET": self._list}),
            _route(
                "/tasks/{name}",
                {"POST": self._submit, "GET": self._show, "DELETE": self._forget},
            ),
            _route("/tasks/{name}/result", {"GET": self._result}),
            _route("/tasks/{name}/cancel", {"POST": self._cancel}),
            _route("/tasks/{name}/retry", {"POST": self._retry}),
            *bento_routes(self._desk),
        ]

    def write_problem(
        self, problem: Problem, request_id: bytes
    ) -> tuple[int, bytes, bytes, Headers]:
        """Say what went wrong, as the service's own paths do."""
        return write_problem(problem, request_id)

    def openapi(self) -> dict[str, object]:
        """Return the path items."""
        return task_paths(self._spec, lists=self.catalog.settings.tasks_list)

    # Taking in

    async def _submit(self, scope: Scope, receive: Receive) -> Reply:
        name = scope["path_params"]["name"]
        served = self.catalog.api(name)
        if served is None:
            raise RefusedRequest(_unknown_api(name, self.catalog))
        new = await self._desk.read(served.endpoint, scope, receive)
        task, _ = await self.tasks.submit(new)
        return _task_reply(task, 202, (b"location", f"/tasks/{task.id}".encode()))

    # Looking at

    async def _show(self, scope: Scope, _receive: Receive) -> Reply:
        task = await self._waited_for(scope)
        return _task_reply(task, 200, *(() if task.is_over else (SOON,)))

    async def _result(self, scope: Scope, _receive: Receive) -> Reply:
        task = await self._waited_for(scope)
        if not task.is_over:
            return _task_reply(task, 202, SOON)
        return await self._desk.result_of(task, scope)

    async def _waited_for(self, scope: Scope) -> Task:
        """Return the task of a path, when it is over or the client would not wait any longer."""
        settings = self.catalog.settings
        seconds = wait_of(fields_of(scope), settings.request_timeout_s)
        return known(await self.tasks.wait(scope["path_params"]["name"], seconds))

    async def _list(self, scope: Scope, _receive: Receive) -> Reply:
        if not self.catalog.settings.tasks_list:
            raise RefusedRequest(_LIST_OFF)
        asked = query_of(scope)
        status, limit = asked.get("status"), _number(asked, "limit", _LISTED)
        before = _number(asked, "before", 0) or None
        if status is not None and status not in STATUSES:
            raise RefusedRequest(bad_query(f"one of {', '.join(STATUSES)}", "status"))
        limit = min(max(limit, 1), MAX_LISTED)
        found = await self.tasks.store.read(
            lambda store: store.find(
                api=asked.get("api"), status=status, before=before, limit=limit
            )
        )
        more = None
        if len(found) == limit:
            more = f"/tasks?{urlencode({**asked, 'before': found[-1].number})}"
        body = {"tasks": [task_document(one) for one in found], "next": more}
        return Reply(200, _JSON, orjson.dumps(body), (NO_CACHE,))

    # Ending

    async def _cancel(self, scope: Scope, _receive: Receive) -> Reply:
        task = known(await self.tasks.cancel(scope["path_params"]["name"]))
        if task.status != CANCELLED:
            raise RefusedRequest(_wrong_state(f"it has {task.status} already"))
        return _task_reply(task, 200)

    async def _retry(self, scope: Scope, _receive: Receive) -> Reply:
        before = known(await self.tasks.wait(scope["path_params"]["name"], 0))
        if before.status not in (FAILED, CANCELLED):
            raise RefusedRequest(
                _wrong_state(f"only what failed or was cancelled, it {_is(before)}")
            )
        task = known(await self.tasks.again(before.id))
        return _task_reply(task, 202, (b"location", f"/tasks/{task.id}".encode()))

    async def _forget(self, scope: Scope, _receive: Receive) -> ASGIApp:
        task_id = scope["path_params"]["name"]
        known(await self.tasks.wait(task_id, 0))
        await self.tasks.forget(task_id)
        return _nothing


_LIST_OFF = Problem(
    403, "list-refused", "list refused", "tasks are not listed here; the operator sets tasks_list"
)


async def _nothing(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer 204, which has neither body nor length (RFC 9110, 8.6)."""
    headers = [(b"x-request-id", scope[REQUEST_ID])]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _unknown_api(name: str, catalog: Catalog) -> Problem:
    names = [one.api.name for one in catalog.models.values()]
    near = did_you_mean(name, names)
    meant = f"did you mean '{near}'?" if near else f"only {', '.join(names[:10])}"
    return Problem(404, "not-found", "not found", f"no api '{name[:100]}', {meant}")


def _wrong_state(detail: str) -> Problem:
    return Problem(409, "task-state", "not in this state", detail)


def _is(task: Task) -> str:
    return f"is {task.status}" if not task.is_over else "succeeded"


def _task_reply(task: Task, status: int, *headers: tuple[bytes, bytes]) -> Reply:
    return Reply(status, _JSON, orjson.dumps(task_document(task)), (*headers, NO_CACHE))


def _number(asked: dict[str, str], name: str, default: int) -> int:
    text = asked.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise RefusedRequest(bad_query("a whole number", name))
    return int(text)


def _route(path: str, answers: dict[str, Answer]) -> Route:
    return Route(path, Page(answers), methods=list(answers))
