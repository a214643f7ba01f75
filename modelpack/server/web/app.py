"""The Starlette application: everything that the fast lane does not answer.

    POST /<api>       the same answers as the fast lane, and forms, files and streams
    GET  /livez       the process answers
    GET  /readyz      the service is warm and takes requests; 503 before, and while it stops
    GET  /metrics     Prometheus text
    GET  /docs …      see ``pages``
    /<mount>/ …       see ``mounts``
    OPTIONS           204 and which methods there are

``Guard`` stands around it: each request has its id, and nothing that goes wrong in here leaves
without an answer in our own form.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.utils import ClientDisconnected

from modelpack.server.door import Door
from modelpack.server.http.front import Front
from modelpack.server.observe.logs import log_internal
from modelpack.server.observe.metrics import CONTENT_TYPE, OPENMETRICS, Metrics, wants_openmetrics
from modelpack.server.observe.snapshot import Gather
from modelpack.server.problems import (
    INTERNAL,
    Problem,
    RefusedRequest,
    method_not_allowed,
    not_found,
    problem_from,
)
from modelpack.server.web.calls import ApiRoute
from modelpack.server.web.mounts import refuse
from modelpack.server.web.ready import Ready
from modelpack.server.web.replies import (
    REQUEST_ID,
    Reply,
    fields_of,
    json_reply,
    problem_reply,
    set_request_id,
)


def make_app(
    doors: Sequence[Door],
    front: Front,
    ready: Ready,
    metrics: MetricsPage | None,
    *,
    pages: Sequence[BaseRoute],
    mounted: Sequence[BaseRoute] = (),
) -> ASGIApp:
    """Return the application; ``metrics`` None: they are asked for elsewhere."""
    calls = [
        Route(door.path, ApiRoute(door, front.max_body_bytes), methods=["POST"]) for door in doors
    ]
    routes: list[BaseRoute] = [
        *calls,
        Route("/livez", json_reply({"status": "alive"}), methods=["GET"]),
        Route("/readyz", ready, methods=["GET"]),
        *([Route("/metrics", metrics, methods=["GET"])] if metrics is not None else []),
        *pages,
        *mounted,
    ]
    return _guarded(routes, front)


def metrics_app(page: ASGIApp, front: Front) -> ASGIApp:
    """Return the application of a listener that has the metrics alone."""
    return _guarded([Route("/metrics", page, methods=["GET"])], front)


def _guarded(routes: Sequence[BaseRoute], front: Front) -> ASGIApp:
    handlers: dict[Any, Any] = {
        HTTPException: _NoRoute(front), RefusedRequest: _Refused(front), Exception: _internal,
    }  # fmt: skip
    app = Starlette(routes=routes, exception_handlers=handlers)
    # A redirect would be made of the Host that the client claims.
    app.router.redirect_slashes = False
    return Guard(app, front)


class MetricsPage:
    """Answers scrapes: what ``gather`` finds in all parts of the server, as one page."""

    def __init__(self, metrics: Metrics, gather: Gather) -> None:
        self._metrics = metrics
        self._gather = gather

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Render the page, in the form that the scraper prefers."""
        found = await self._gather()
        is_openmetrics = wants_openmetrics(fields_of(scope).get(b"accept", b""))
        page = self._metrics.render(
            found.readings, found.pids, usage=found.usage, is_openmetrics=is_openmetrics
        )
        content_type = OPENMETRICS if is_openmetrics else CONTENT_TYPE
        await Reply(200, content_type, page)(scope, receive, send)


class Guard:
    """Gives each request an id, and an answer whatever happens."""

    def __init__(self, app: ASGIApp, front: Front) -> None:
        self._app = app
        self._front = front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application."""
        set_request_id(scope, self._front.ids)
        has_started = False

        async def watched(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnected:
            pass  # a WebSocket of which the client has left
        except Exception as error:
            log_internal(error)
            if not has_started:
                await refuse(INTERNAL, scope, receive, send)
            elif scope["type"] == "websocket":
                with suppress(ClientDisconnected, RuntimeError):  # it may be closed already
                    await send({"type": "websocket.close", "code": _INTERNAL_ERROR})


_INTERNAL_ERROR = 1011
"""Why a WebSocket is closed when its application failed (RFC 6455)."""


async def _internal(request: Request, _error: Exception) -> Any:
    return problem_reply(INTERNAL, request.scope)


class _NoRoute:
    """Says what the router found: no such path, or not with this method."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def __call__(self, request: Request, error: Exception) -> Any:
        """Return the answer, in the form of the contract that the path belongs to."""
        path = request.scope["path"]
        problem = _refusal(request, error)
        if isinstance(problem, Options):
            return problem
        return problem_reply(problem, request.scope, self._front.problem_writer(path))


class _Refused:
    """Says what a route refuses, in the form of the contract that the path belongs to."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def __call__(self, request: Request, error: Exception) -> Any:
        """Return the answer."""
        writer = self._front.problem_writer(request.scope["path"])
        return problem_reply(problem_from(error), request.scope, writer)


def _refusal(request: Request, error: Exception) -> Problem | Options:
    is_method = isinstance(error, HTTPException) and error.status_code == 405
    if is_method:
        headers = getattr(error, "headers", None) or {}
        allowed = {*headers.get("Allow", "").split(", "), "OPTIONS"} - {""}
    else:
        allowed = set(_METHODS)
    if request.method == "OPTIONS" and (is_method or request.scope["path"] == "*"):
        return Options(allowed)
    if is_method:
        return method_not_allowed(request.method, allowed)
    return not_found(request.scope["path"])


_METHODS = ("GET", "HEAD", "OPTIONS", "POST")


class Options:
    """Tells which methods a path answers to."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allow = ", ".join(sorted(allowed)).encode("latin-1")

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it; there is no body."""
        headers = [(b"allow", self._allow), (b"x-request-id", scope[REQUEST_ID])]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
