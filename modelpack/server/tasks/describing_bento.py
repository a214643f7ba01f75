"""The paths of BentoML's tasks in the OpenAPI document; ``bento`` answers them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelpack.sdk.service import ServiceSpec
from modelpack.server.faces.openapi_parts import TEXT, operation, query_parameter, record, said

_TASK = said("The task.", record({"task_id": TEXT, "status": TEXT}))
_TIMES = {"created_at": TEXT, "executed_at": {"type": ["string", "null"]}}
_STATUS = said("How it stands.", record({"task_id": TEXT, "status": TEXT}, _TIMES))
_ANSWER = {"description": "The answer of the api.", "content": {"*/*": {"schema": {}}}}
_ID = {**query_parameter("task_id", "The id of a task."), "required": True}


def bento_paths(spec: ServiceSpec, native: Mapping[str, Any]) -> dict[str, Any]:
    """Return the path items; ``native`` are those of the service's own routes."""
    paths: dict[str, Any] = {}
    for api in spec.apis:
        own, name = native[api.route]["post"], api.name
        submit = operation(
            f"Submit '{name}' as a task, as with BentoML",
            answers={"200": _TASK},
            body=own["requestBody"],
            parameters=own.get("parameters", ()),
            refused=(400, 403, 413, 415, 422, 429, 503),
        )
        get = _asked(f"Fetch what '{name}' answered", _ANSWER, 410, 422, 500, 504)
        paths |= {
            f"{api.route}/submit": {"post": submit},
            f"{api.route}/status": {"get": _asked(f"How a task of '{name}' stands", _STATUS)},
            f"{api.route}/get": {"get": get},
            f"{api.route}/retry": {"post": _asked(f"Run a task of '{name}' again", _TASK, 409)},
            f"{api.route}/cancel": {"put": _asked(f"Cancel a task of '{name}'", _TASK, 409)},
        }
    return paths


def _asked(summary: str, answer: dict[str, Any], *refused: int) -> dict[str, Any]:
    refusals = sorted({400, 404, 410, 503, *refused})
    return operation(summary, answers={"200": answer}, parameters=[_ID], refused=refusals)
