"""What is asked of a store in SQLite when processes are lost: who holds tasks, which were lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import orjson


def holders(db: sqlite3.Connection, service: str) -> list[str]:
    """Return the processes that hold tasks."""
    rows = db.execute(
        "SELECT DISTINCT owner FROM tasks WHERE service = ? AND status <> 'queued'"
        " AND status = 'running'",
        (service,),
    ).fetchall()
    return [owner for (owner,) in rows]


def suspects(
    db: sqlite3.Connection, service: str, owner: str, apis: Sequence[str], now: float
) -> list[str]:
    """Return the one task for ``owner`` to try whose process was lost before; none while it has one.

    Those that were lost least come first.
    """
    held = db.execute(
        "SELECT 1 FROM tasks WHERE service = ? AND status <> 'queued' AND status = 'running'"
        " AND owner = ? AND losses > 0",
        (service, owner),
    ).fetchone()
    if held is not None:
        return []
    rows = db.execute(
        "SELECT id FROM tasks WHERE service = ? AND status = 'queued' AND losses > 0"
        " AND due <= ? AND api IN (SELECT value FROM json_each(?)) ORDER BY losses, number LIMIT 1",
        (service, now, orjson.dumps(list(apis)).decode()),
    ).fetchall()
    return [task_id for (task_id,) in rows]
