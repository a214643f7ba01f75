"""Azure Machine Learning: a managed online endpoint with an image of one's own.

GET  /livez, /readyz     the server's own, which the deployment names as its routes
POST /score              {"input_data": …}, {"data": …}, or what the api's own path reads

    {"input_data": {"columns": [...], "index": [...], "data": [[...]]}, "params": {...}}
    {"input_data": [[...]]}     {"input_data": {"x": [[...]]}}     {"data": [[...]]}

Those are the forms of the platform's own scoring of MLflow models and of its scoring scripts; the
answer is the method's return value, with nothing around it.  ``x-ms-client-request-id`` comes back.
Sources: Azure Machine Learning documentation, "Deploy a model in a custom container", "Deploy MLflow
models to online endpoints", "Azure Machine Learning inference HTTP server"; Microsoft REST API
guidelines (``x-ms-client-request-id``).
"""

from __future__ import annotations

from typing import Any, ClassVar

import orjson

from modelpack.server.endpoint import Endpoint
from modelpack.server.faces import frames
from modelpack.server.faces import openapi_parts as parts
from modelpack.server.faces.catalog import Catalog
from modelpack.server.faces.dialects import Answer, Dialect, Fields
from modelpack.server.faces.face import JSON, Face
from modelpack.server.faces.invocations import message_of
from modelpack.server.faces.rows import Given
from modelpack.server.faces.scoring import Scoring
from modelpack.server.problems import Headers, Problem

PATH = "/score"

_CLIENT_ID = b"x-ms-client-request-id"

_CODES = {
    404: "NotFound", 413: "PayloadTooLarge", 415: "UnsupportedMediaType", 429: "TooManyRequests",
    500: "InternalServerError", 503: "ServiceUnavailable", 504: "GatewayTimeout",
}  # fmt: skip
"""Words for statuses as Azure's REST guidelines have them."""


def input_data(endpoint: Endpoint, raw: Any, at: str, common: frames.Common) -> Given:
    """Return arguments for any of the forms that ``input_data`` has."""
    if isinstance(raw, dict) and "data" in raw and raw.keys() <= {"columns", "index", "data"}:
        return frames.split(endpoint, raw, at, common)
    return frames.columns(endpoint, raw, at, common)


def answered(fields: Fields) -> Headers:
    """Return the header lines of an answer: the client's own id for the request."""
    given = fields.get(_CLIENT_ID)
    return () if given is None else ((_CLIENT_ID, given),)


def wrap(answer: Answer) -> Any:
    """Make the JSON of an answer: nothing is put around it."""
    return answer.whole


def write_error(problem: Problem, _request_id: bytes) -> tuple[int, bytes, bytes, Headers]:
    """Write an error as Azure's apis have it (a ``WriteProblem``)."""
    code = _CODES.get(problem.status, "BadRequest")
    body = orjson.dumps({"error": {"code": code, "message": message_of(problem)}})
    return problem.status, JSON, body, problem.headers


class AzuremlFace(Face):
    """The contract of Azure Machine Learning's online endpoints."""

    name: ClassVar[str] = "azureml"
    prefixes = (PATH,)

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        forms: dict[str, frames.Arrange] = {"input_data": input_data, "data": frames.columns}
        dialect = Dialect(forms, "params", wrap, headers=answered)
        self.doors = [Scoring(PATH, catalog.default.endpoint, dialect, write_error)]

    def write_problem(
        self, problem: Problem, request_id: bytes
    ) -> tuple[int, bytes, bytes, Headers]:
        """Say what went wrong as Azure's apis do."""
        return write_error(problem, request_id)

    def openapi(self) -> dict[str, Any]:
        """Return its path items."""
        error = parts.record({"error": parts.record({"code": parts.TEXT, "message": parts.TEXT})})
        example = {"input_data": self.catalog.default.api.sample()}
        schema = parts.record({}, {"input_data": {}, "data": {}, "params": {"type": "object"}})
        score = parts.operation(
            "Score",
            body=parts.json_body(schema, example),
            answers={
                "200": parts.said(
                    "What the method returned.",
                    {},
                    example=parts.example_whole(self.catalog.default),
                )
            },
            refused=parts.INFERENCE,
            error=error,
        )
        return {PATH: {"post": score}}
