"""A task as clients see it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from modelpack.server.faces.openapi_parts import INTEGER, TEXT, Schema, record
from modelpack.server.tasks.record import STATUSES, Task

_MOMENT: Schema = {"type": ["string", "null"], "format": "date-time"}


def task_document(task: Task) -> dict[str, Any]:
    """Return a task as a JSON object."""
    document: dict[str, Any] = {
        "id": task.id,
        "api": task.api,
        "status": task.status,
        "created_at": moment(task.created),
        "started_at": moment(task.started),
        "finished_at": moment(task.finished),
        "expires_at": moment(task.expires),
        "runs": task.runs,
        "request_id": task.request_id,
        "url": f"/tasks/{task.id}",
        "result_url": f"/tasks/{task.id}/result",
    }
    if task.code:
        document["error"] = {"status": task.result_status, "code": task.code}
    return document


def moment(seconds: float | None) -> str | None:
    """Return a time as RFC 3339 has it, in UTC, to the millisecond."""
    if seconds is None:
        return None
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


TASK = record(
    {
        "id": TEXT,
        "api": TEXT,
        "status": {"enum": list(STATUSES)},
        "created_at": {"type": "string", "format": "date-time"},
        "started_at": _MOMENT,
        "finished_at": _MOMENT,
        "expires_at": _MOMENT,
        "runs": {"type": "integer", "description": "How often it was begun."},
        "request_id": TEXT,
        "url": TEXT,
        "result_url": TEXT,
    },
    {"error": record({"status": INTEGER, "code": TEXT})},
)
"""Schema of ``task_document``."""
