"""MLflow's scoring server: what ``mlflow models serve`` answers.

GET  /ping, /health     200 with a line feed when requests are taken
GET  /version           the version of MLflow whose forms these are
POST /invocations       see ``invocations``

A body with ``messages``, ``prompt`` or ``input`` is the own one of an api with such a parameter, and
is answered unwrapped, as MLflow does.  Source: MLflow's documentation of "mlflow models serve", and
its ``pyfunc.scoring_server``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from modelpack.server.faces import openapi_parts as parts
from modelpack.server.faces.catalog import Catalog
from modelpack.server.faces.dialects import Dialect
from modelpack.server.faces.face import Face
from modelpack.server.faces.invocations import ERROR, FORMS, PATH, described, wrap, write_error
from modelpack.server.faces.scoring import Scoring
from modelpack.server.problems import Headers, Problem
from modelpack.server.web.replies import Reply, problem_reply

SPOKEN = "3.17.2"
"""Version of MLflow whose client is known to be content; the forms are those of 2.0."""


class _Health:
    def __init__(self, face: MlflowFace) -> None:
        self._face = face

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._face.catalog.problem()
        if problem is None:
            reply = Reply(200, b"application/json", b"\n")
        else:
            reply = problem_reply(problem, scope, self._face.write_problem)
        await reply(scope, receive, send)


class MlflowFace(Face):
    """The contract of MLflow's scoring server."""

    name: ClassVar[str] = "mlflow"
    prefixes = (PATH, "/ping", "/health", "/version")

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        dialect = Dialect(FORMS, "params", wrap, has_always_header=True)
        self.doors = [Scoring(PATH, catalog.default.endpoint, dialect, write_error)]
        health = _Health(self)
        version = Reply(200, b"text/plain; charset=utf-8", SPOKEN.encode())
        self.routes = [
            Route("/ping", health, methods=["GET"]),
            Route("/health", health, methods=["GET"]),
            Route("/version", version, methods=["GET"]),
        ]

    def write_problem(
        self, problem: Problem, request_id: bytes
    ) -> tuple[int, bytes, bytes, Headers]:
        """Say what went wrong as the scoring server does."""
        return write_error(problem, request_id)

    def openapi(self) -> dict[str, Any]:
        """Return its path items."""
        up = parts.said("Requests are taken; the body is a line feed.")
        health = parts.operation("Health", answers={"200": up}, refused=(503,), error=ERROR)
        text = parts.said("Version of MLflow.", parts.TEXT, media_type="text/plain")
        version = parts.operation("Version", answers={"200": text})
        return {
            PATH: described(self.catalog.default, ERROR),
            "/ping": {"get": health},
            "/health": {"get": health},
            "/version": {"get": version},
        }
