"""The tables of a store of tasks in SQLite.

``due`` is, by status: queued, when it may be begun; running, when its lease ends; over, when its
result goes; gone, when the row goes.  ``run`` counts claims and tells whose result is taken; ``runs``
is what people see: those that were put back are not counted.
"""

from __future__ import annotations

VERSION = 1
"""``user_version`` of the file."""

TASK_COLUMNS = "id, api, status, number, request_id, created, started, finished, due, runs, result_status, code"

SCHEMA = (
    """
    CREATE TABLE tasks (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        service TEXT NOT NULL,
        api TEXT NOT NULL,
        status TEXT NOT NULL,
        priority INTEGER NOT NULL,
        due REAL NOT NULL,
        created REAL NOT NULL,
        started REAL,
        finished REAL,
        owner TEXT,
        run INTEGER NOT NULL DEFAULT 0,
        runs INTEGER NOT NULL DEFAULT 0,
        losses INTEGER NOT NULL DEFAULT 0,
        fields BLOB NOT NULL,
        request_id TEXT NOT NULL,
        timeout_s REAL NOT NULL,
        key TEXT,
        fingerprint TEXT NOT NULL,
        result_status INTEGER NOT NULL DEFAULT 0,
        code TEXT NOT NULL DEFAULT '',
        webhook TEXT,
        notice_due REAL,
        notice_tries INTEGER NOT NULL DEFAULT 0,
        size INTEGER NOT NULL
    )
    """,
    "CREATE TABLE bodies (id TEXT PRIMARY KEY, data BLOB NOT NULL)",
    """
    CREATE TABLE results (
        id TEXT PRIMARY KEY, type TEXT NOT NULL, headers BLOB NOT NULL, data BLOB NOT NULL
    )
    """,
    "CREATE TABLE totals (tasks INTEGER NOT NULL, bytes INTEGER NOT NULL)",
    "INSERT INTO totals VALUES (0, 0)",
    "CREATE UNIQUE INDEX by_key ON tasks (service, api, key) WHERE key IS NOT NULL",
    "CREATE INDEX next_up ON tasks (service, api, priority, number) WHERE status = 'queued'",
    """
    CREATE INDEX suspects ON tasks (service, losses, number)
        WHERE status = 'queued' AND losses > 0
    """,
    "CREATE INDEX by_due ON tasks (service, due) WHERE status <> 'queued'",
    "CREATE INDEX untold ON tasks (service, notice_due) WHERE notice_due IS NOT NULL",
    # What is gone keeps its row for a while and counts no more: ``size`` and ``status`` say so.
    """
    CREATE TRIGGER counted_in AFTER INSERT ON tasks BEGIN
        UPDATE totals SET tasks = tasks + 1, bytes = bytes + new.size;
    END
    """,
    """
    CREATE TRIGGER counted_over AFTER UPDATE OF size, status ON tasks BEGIN
        UPDATE totals SET
            tasks = tasks + (old.status = 'gone') - (new.status = 'gone'),
            bytes = bytes + new.size - old.size;
    END
    """,
    """
    CREATE TRIGGER counted_out AFTER DELETE ON tasks BEGIN
        UPDATE totals SET tasks = tasks - (old.status <> 'gone'), bytes = bytes - old.size;
    END
    """,
)
