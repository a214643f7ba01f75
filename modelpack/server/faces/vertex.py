"""Vertex AI: the contract of a custom container for prediction.

GET  $AIP_HEALTH_ROUTE      200 when requests are taken
POST $AIP_PREDICT_ROUTE     {"instances": [...], "parameters": {...}} ──► {"predictions": [...]}

One prediction an instance; ``parameters`` are arguments for all of them.  What comes through
``rawPredict`` may have any content type: everything that the api's own path reads, CSV and JSON
lines are taken here too.  Where the platform was told to use the path of an api, this contract has
it: it answers the api's own body as the api would.  The health route may be ``/``, where a browser
gets the service's page all the same.

Without the variables the paths are those that the platform takes when a model names none, and
``/health`` and ``/vertex/predict`` where it does not even say which endpoint this is.  Source:
Vertex AI documentation, "Custom container requirements for prediction".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

import orjson
from starlette.routing import Route

from modelpack.server.faces import frames
from modelpack.server.faces import openapi_parts as parts
from modelpack.server.faces.catalog import Catalog
from modelpack.server.faces.dialects import Answer, Dialect
from modelpack.server.faces.face import JSON, Face
from modelpack.server.faces.invocations import Ping, described_ping, message_of
from modelpack.server.faces.scoring import Scoring
from modelpack.server.problems import Headers, Problem

_STATUSES = {
    400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL",
    503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
"""Google's words for statuses (google.rpc.Code); any other is the fault of the request."""


def routes_of(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the paths for health and prediction."""
    endpoint, deployed = environ.get("AIP_ENDPOINT_ID"), environ.get("AIP_DEPLOYED_MODEL_ID")
    health, predict = "/health", "/vertex/predict"
    if endpoint and deployed:
        health = f"/v1/endpoints/{endpoint}/deployedModels/{deployed}"
        predict = f"{health}:predict"
    return environ.get("AIP_HEALTH_ROUTE") or health, environ.get("AIP_PREDICT_ROUTE") or predict


def wrap(answer: Answer) -> Any:
    """Make the JSON of an answer: one prediction an instance."""
    return {"predictions": answer.rows}


def write_error(problem: Problem, _request_id: bytes) -> tuple[int, bytes, bytes, Headers]:
    """Write an error as Google's apis have it (a ``WriteProblem``)."""
    status = _STATUSES.get(problem.status, "INVALID_ARGUMENT")
    error = {"code": problem.status, "message": message_of(problem), "status": status}
    return problem.status, JSON, orjson.dumps({"error": error}), problem.headers


class VertexFace(Face):
    """The contract of Vertex AI."""

    name: ClassVar[str] = "vertex"

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        self._health, self._predict = self.prefixes = routes_of(os.environ)
        if "AIP_PREDICT_ROUTE" in os.environ:
            self.claims = frozenset((self._predict,))
        dialect = Dialect({"instances": frames.instances}, "parameters", wrap)
        self.doors = [Scoring(self._predict, catalog.default.endpoint, dialect, write_error)]
        ping = Ping(catalog, write_error)
        self.routes = [Route(self._health, ping, methods=["GET"])]
        if self._health == "/":
            self.home, self.claims = ping, self.claims | {"/"}

    def write_problem(
        self, problem: Problem, request_id: bytes
    ) -> tuple[int, bytes, bytes, Headers]:
        """Say what went wrong as Google's apis do."""
        return write_error(problem, request_id)

    def openapi(self) -> dict[str, Any]:
        """Return its path items."""
        inner = {"code": parts.INTEGER, "message": parts.TEXT, "status": parts.TEXT}
        error = parts.record({"error": parts.record(inner)})
        example = {"instances": parts.example_rows(self.catalog.default)}
        schema = parts.record({}, {"instances": parts.array({}), "parameters": {"type": "object"}})
        predict = parts.operation(
            "Predict",
            body=parts.json_body(schema, example),
            answers={
                "200": parts.said(
                    "One prediction an instance.",
                    {},
                    example=parts.within(
                        "predictions", parts.example_predictions(self.catalog.default)
                    ),
                )
            },
            refused=parts.INFERENCE,
            error=error,
        )
        return {self._predict: {"post": predict}, self._health: described_ping(error)}
