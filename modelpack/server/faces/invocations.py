"""What SageMaker and MLflow have in common: ``/ping``, and rows sent to ``/invocations``.

    {"instances": [...]}  {"inputs": ...}  {"dataframe_split": {...}}  {"dataframe_records": [...]}
        ──► {"predictions": ...}            params: arguments for all rows
    CSV, JSON lines, and everything that the api's own path reads

MLflow's scoring server took its paths from SageMaker, so that either client finds its form behind
the same path: content type and keys tell.  Source: MLflow's documentation of "mlflow models serve"
(accepted formats), the SageMaker developer guide, "Custom inference code with hosting services".

Errors are ``{"error_code": "BAD_REQUEST", "message": "..."}`` as MLflow's; SageMaker prescribes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from modelpack.server.faces import frames
from modelpack.server.faces import openapi_parts as parts
from modelpack.server.faces.catalog import Catalog, Served
from modelpack.server.faces.dialects import Answer
from modelpack.server.faces.face import JSON, error_text
from modelpack.server.problems import Headers, Problem, WriteProblem
from modelpack.server.web.replies import json_reply, problem_reply

PATH = "/invocations"

FORMS = {
    "dataframe_split": frames.split,
    "dataframe_records": frames.records,
    "instances": frames.instances,
    "inputs": frames.columns,
}
"""How rows stand under each key of MLflow's."""

_ERROR_CODES = {
    404: "ENDPOINT_NOT_FOUND", 429: "REQUEST_LIMIT_EXCEEDED", 500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


def wrap(answer: Answer) -> Any:
    """Make the JSON of an answer: MLflow leaves it as it is."""
    return {"predictions": answer.whole}


def write_error(problem: Problem, _request_id: bytes) -> tuple[int, bytes, bytes, Headers]:
    """Write what MLflow's scoring server would (a ``WriteProblem``)."""
    code = _ERROR_CODES.get(problem.status, "BAD_REQUEST")
    body = orjson.dumps({"error_code": code, "message": message_of(problem)})
    return problem.status, JSON, body, problem.headers


def message_of(problem: Problem) -> str:
    """Return what a problem is in one text, with all places that do not fit."""
    if problem.code not in ("bad-input", "refused-input") or not problem.issues:
        return error_text(problem)
    places = [
        f"{one.pointer or 'the body'}: expected {one.expected}, got {one.got}"
        for one in problem.issues[:_MAX_PLACES]
    ]
    return f"{problem.title}: {'; '.join(places)}"


_MAX_PLACES = 20


def described(served: Served, error: parts.Schema, *, also: Sequence[int] = ()) -> dict[str, Any]:
    """Return the operation of a path that takes rows in MLflow's forms."""
    rows = parts.example_rows(served)
    schema = parts.record({}, {name: {} for name in (*FORMS, "params")})
    body = parts.bodies(
        parts.json_body(schema, {"instances": rows}),
        parts.any_body("text/csv", "application/jsonlines"),
    )
    answer = parts.said("The predictions.", parts.record({"predictions": {}}))
    answer["content"]["text/csv"] = {"schema": parts.TEXT}
    answer["content"]["application/jsonlines"] = {"schema": parts.TEXT}
    # The api's own body is answered in its own form.
    answer["content"]["application/json"] = {"schema": {}}
    whole = parts.example_whole(served)
    if whole is not None and not served.api.is_stream:
        said = whole if served.api.batch is not None else [whole]
        answer["content"]["application/json"]["example"] = {"predictions": said}
    for kind in parts.own_types(served):
        answer["content"].setdefault(kind, {"schema": {}})
    return {
        "post": parts.operation(
            "Predict",
            description="Takes the api's own body, too, and answers it as the api's own path does.",
            body=body,
            answers={"200": answer},
            refused=(*parts.INFERENCE, *also),
            error=error,
        )
    }


def described_ping(error: parts.Schema) -> dict[str, Any]:
    """Return the operation of a path that says whether requests are taken."""
    healthy = parts.said("Requests are taken.", parts.record({"status": parts.TEXT}))
    return {"get": parts.operation("Health", answers={"200": healthy}, refused=(503,), error=error)}


ERROR = parts.record({"error_code": parts.TEXT, "message": parts.TEXT})


class Ping:
    """Answers whether requests are taken: 200, or 503."""

    def __init__(self, catalog: Catalog, write: WriteProblem) -> None:
        self._catalog = catalog
        self._write = write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell the truth at this moment."""
        problem = self._catalog.problem()
        if problem is None:
            await json_reply({"status": "Healthy"})(scope, receive, send)
        else:
            await problem_reply(problem, scope, self._write)(scope, receive, send)
