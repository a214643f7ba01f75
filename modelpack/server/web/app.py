"""The Starlette application: everything that the fast lane does not answer.

    POST /<api>       the same answers as the fast lane, and forms, files and streams
    GET  /livez       the process answers
    GET  /readyz      the service is warm and takes requests; 503 before, and while it stops
    GET  /metrics     Prometheus text
    GET  /docs …      see ``pages``

``Guard`` stands around it: each request has its id, and nothing that goes wrong in here leaves
without an answer in our own form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelpack.server.endpoint import Endpoint
from modelpack.server.http.front import Front
from modelpack.server.observe.logs import log_internal
from modelpack.server.observe.metrics import CONTENT_TYPE, OPENMETRICS, Metrics, wants_openmetrics
from modelpack.server.observe.snapshot import Gather
from modelpack.server.problems import (
    INTERNAL,
    NO_RUNNER,
    NOT_READY,
    STUCK,
    UNAVAILABLE,
    Problem,
    Unavailable,
    method_not_allowed,
    not_found,
    problem_from,
)
from modelpack.server.web.calls import ApiRoute
from modelpack.server.web.replies import Reply, fields_of, json_reply, problem_reply, set_request_id


def make_app(
    endpoints: Sequence[Endpoint], front: Front, metrics: MetricsPage | None, pages: list[Route]
) -> ASGIApp:
    """Return the application; ``metrics`` None: they are asked for elsewhere."""
    calls = [
        Route(endpoint.api.route, ApiRoute(endpoint, front.max_body_bytes), methods=["POST"])
        for endpoint in endpoints
    ]
    routes = [
        *calls,
        Route("/livez", json_reply({"status": "alive"}), methods=["GET"]),
        Route("/readyz", Ready(front, endpoints), methods=["GET"]),
        *([Route("/metrics", metrics, methods=["GET"])] if metrics is not None else []),
        *pages,
    ]
    return _guarded(routes, front)


def metrics_app(page: ASGIApp, front: Front) -> ASGIApp:
    """Return the application of a listener that has the metrics alone."""
    return _guarded([Route("/metrics", page, methods=["GET"])], front)


def _guarded(routes: list[Route], front: Front) -> ASGIApp:
    app = Starlette(
        routes=routes, exception_handlers={HTTPException: _no_route, Exception: _internal}
    )
    # A redirect would be made of the Host that the client claims.
    app.router.redirect_slashes = False
    return Guard(app, front)


class Ready:
    """Answers readiness probes."""

    def __init__(self, front: Front, endpoints: Sequence[Endpoint]) -> None:
        self._front = front
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell the truth at this moment."""
        problem = None if self._front.is_ready else NOT_READY
        if self._front.is_draining:
            problem = UNAVAILABLE
        elif any(endpoint.is_stuck for endpoint in self._endpoints):
            problem = problem_from(Unavailable(STUCK))
        elif not all(endpoint.is_served() for endpoint in self._endpoints):
            problem = problem_from(Unavailable(NO_RUNNER))
        reply = problem_reply(problem, scope) if problem else json_reply({"status": "ready"})
        await reply(scope, receive, send)


class MetricsPage:
    """Answers scrapes: what ``gather`` finds in all parts of the server, as one page."""

    def __init__(self, metrics: Metrics, gather: Gather) -> None:
        self._metrics = metrics
        self._gather = gather

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Render the page, in the form that the scraper prefers."""
        found = await self._gather()
        is_openmetrics = wants_openmetrics(fields_of(scope).get(b"accept", b""))
        page = self._metrics.render(found.readings, found.pids, is_openmetrics=is_openmetrics)
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
        except Exception as error:
            log_internal(error)
            if not has_started:
                await problem_reply(INTERNAL, scope)(scope, receive, send)


async def _internal(request: Request, _error: Exception) -> Any:
    return problem_reply(INTERNAL, request.scope)


async def _no_route(request: Request, error: Exception) -> Any:
    """Say in our own form what the router found: no such path, or not with this method."""
    problem: Problem
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "").split(", ")
        problem = method_not_allowed(request.method, allowed)
    else:
        problem = not_found(request.url.path)
    return problem_reply(problem, request.scope)
