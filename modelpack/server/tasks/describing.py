"""What there is about tasks in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from modelpack.sdk.openapi import openapi_document
from modelpack.sdk.service import ServiceSpec
from modelpack.server.faces.openapi_parts import (
    Schema,
    array,
    header_parameter,
    operation,
    path_parameter,
    query_parameter,
    record,
    said,
)
from modelpack.server.tasks.describing_bento import bento_paths
from modelpack.server.tasks.documents import TASK
from modelpack.server.tasks.record import STATUSES

_PROBLEM: Schema = {"$ref": "#/components/schemas/Problem"}
_PROBLEM_JSON = "application/problem+json"
_ID = path_parameter("id", "The id of a task.")
_PREFER = header_parameter("Prefer", "wait=N: not before it is over, or N seconds.")
_KEY = header_parameter(
    "Idempotency-Key",
    "The same key and body again: the same task.",
    {"type": "string", "maxLength": 255},
)
_WEBHOOK = header_parameter("Modelpack-Webhook", "URL that is told when the task is over.")

_WHY = {
    400: "The request is not valid, or the body does not fit the api.",
    403: "The operator does not allow it.",
    404: "There is no such task.",
    405: "The path answers to other methods.",
    409: "The task is not in a state for that.",
    410: "The task was cancelled, or its result is gone.",
    413: "The body is longer than the server takes.",
    415: "The content type is not one that the api takes.",
    422: "The values are refused, or the key belongs to another body.",
    429: "There is no room for one more task; Retry-After.",
    500: "The model failed.",
    503: "Tasks cannot be kept or looked up now; Retry-After.",
    504: "The run took too long, or no server ran it in its time.",
}


def task_paths(spec: ServiceSpec, *, lists: bool) -> dict[str, Any]:
    """Return the path items; ``lists``: tasks are listed."""
    document = openapi_document(spec, "")
    paths: dict[str, Any] = {}
    for api in spec.apis:
        native = document["paths"][api.route]["post"]
        paths[f"/tasks/{api.name}"] = {"post": _submit(api.name, native)}
    paths["/tasks/{id}"] = {
        "get": _op("Ask how a task stands", {"200": _task("The task.")}, (404, 410, 503), _PREFER),
        "delete": _op("Throw a task away", {"204": said("It is gone.")}, (404, 410, 503)),
    }
    answer = {"description": "The answer of the api.", "content": {"*/*": {"schema": {}}}}
    result = {"200": answer, "202": _task("It is not over yet; Retry-After.")}
    refused = (400, 404, 410, 422, 500, 503, 504)
    paths["/tasks/{id}/result"] = {"get": _op("Fetch the result", result, refused, _PREFER)}
    cancelled = {"200": _task("The task.")}
    paths["/tasks/{id}/cancel"] = {"post": _op("Cancel a task", cancelled, (404, 409, 410, 503))}
    again = {"202": _task("The task, queued again.")}
    paths["/tasks/{id}/retry"] = {"post": _op("Run a task again", again, (404, 409, 410, 503))}
    if lists:
        paths["/tasks"] = {"get": _list()}
    return paths | bento_paths(spec, document["paths"])


def _submit(api: str, native: dict[str, Any]) -> dict[str, Any]:
    parameters = [*native.get("parameters", ()), _KEY, _WEBHOOK]
    return {
        "summary": f"Submit '{api}' as a task",
        "parameters": parameters,
        "requestBody": native["requestBody"],
        "responses": {
            "202": _task("The task; Location says where it is."),
            **_refusals(400, 403, 413, 415, 422, 429, 503),
        },
    }


def _op(
    summary: str, answers: dict[str, Any], refused: tuple[int, ...], *more: dict[str, Any]
) -> dict[str, Any]:
    made = operation(summary, answers=answers, parameters=[_ID, *more])
    made["responses"] = {**made["responses"], **_refusals(*refused)}
    return made


def _list() -> dict[str, Any]:
    parameters = [
        query_parameter("status", "Only these.", {"enum": list(STATUSES)}),
        query_parameter("api", "Only those of this api."),
        query_parameter("limit", "At most so many.", {"type": "integer", "minimum": 0}),
        query_parameter(
            "before", "Only older ones; from 'next'.", {"type": "integer", "minimum": 0}
        ),
    ]
    page = record({"tasks": array(TASK), "next": {"type": ["string", "null"]}})
    made = operation(
        "List tasks", answers={"200": said("Tasks, the newest first.", page)}, parameters=parameters
    )
    made["responses"] = {**made["responses"], **_refusals(400, 503)}
    return made


def _task(what: str) -> dict[str, Any]:
    return said(what, TASK)


def _refusals(*statuses: int) -> dict[str, Any]:
    return {
        str(status): {
            "description": _WHY[status],
            "content": {_PROBLEM_JSON: {"schema": _PROBLEM}},
        }
        for status in statuses
    }
