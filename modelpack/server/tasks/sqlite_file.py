"""Opens the file of a store of tasks, and reads its rows.

What always holds: the file has mode 0600 from its first moment, as has what SQLite puts beside it; it
has all tables or none; one of another version is left as it is.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from modelpack.server.tasks.record import GONE, QUEUED, RUNNING, Task
from modelpack.server.tasks.sqlite_schema import SCHEMA, VERSION

BUSY_S = 5.0
"""Longest that a call waits for those of other processes."""


def task_of(row: tuple[object, ...]) -> Task:
    """Return the task that a row of ``TASK_COLUMNS`` is."""
    (
        task_id, api, status, number, request_id, created, started, finished, due, runs,
        result_status, code,
    ) = row  # fmt: skip
    is_over = status not in (QUEUED, RUNNING, GONE)
    return Task(
        id=task_id,  # type: ignore[arg-type]
        api=api,  # type: ignore[arg-type]
        status=status,  # type: ignore[arg-type]
        number=number,  # type: ignore[arg-type]
        request_id=request_id,  # type: ignore[arg-type]
        created=created,  # type: ignore[arg-type]
        started=started,  # type: ignore[arg-type]
        finished=finished,  # type: ignore[arg-type]
        expires=due if is_over else None,  # type: ignore[arg-type]
        runs=runs,  # type: ignore[arg-type]
        result_status=result_status,  # type: ignore[arg-type]
        code=code,  # type: ignore[arg-type]
    )


def open_file(file: Path) -> sqlite3.Connection:
    """Open a file that only this user may read; raises OSError, sqlite3.Error."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives -wal and -shm the mode of the file itself.
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(
        file, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    try:
        _prepare(db)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection) -> None:
    _check(db)  # before anything of it is changed
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heeded only while the file is empty
    _begin_wal(db)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA journal_size_limit = 67108864")
    db.execute("BEGIN IMMEDIATE")  # another process may be doing the same
    try:
        if _check(db) == 0:
            for statement in SCHEMA:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _check(db: sqlite3.Connection) -> int:
    """Return the version of the file, 0: it is empty; raises DatabaseError for any other file."""
    found, tables = db.execute(
        "SELECT (SELECT user_version FROM pragma_user_version), count(*) FROM sqlite_master"
    ).fetchone()
    if found not in (0, VERSION) or (found == 0 and tables):
        raise sqlite3.DatabaseError("it is of another version of modelpack, or no store of tasks")
    return int(found)


def _begin_wal(db: sqlite3.Connection) -> None:
    """Turn the write-ahead log on; while another process does so, it is locked for a moment."""
    end = time.monotonic() + BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.02)
        else:
            return
