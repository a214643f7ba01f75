"""Tasks in a file: several processes of one machine may use it at once.

    tasks    a row each, small, so that holding one costs little       ─┐
    bodies   what was submitted, until the task has succeeded           ├─ one file, mode 0600
    results  what the api answered                                      │  (and -wal, -shm beside it)
    totals   how many and how many bytes, kept by triggers             ─┘
    FILE-owners/   a lock of each process, so that a killed one is noticed at once

The write-ahead log lets readers and one writer go on at the same time (sqlite.org/wal.html);
``synchronous=FULL`` brings what was said to be kept onto the disk first, so that it is there after a
crash of the machine too.  A file on a network drive cannot be shared between machines.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson

from modelpack.errors import TaskStoreError
from modelpack.server.tasks.owners import Owners
from modelpack.server.tasks.record import (
    CANCELLED,
    FAILED,
    GONE,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    Claim,
    Limits,
    NewTask,
    Notice,
    Result,
    Task,
)
from modelpack.server.tasks.sqlite_file import open_file, task_of
from modelpack.server.tasks.sqlite_lost import holders, suspects
from modelpack.server.tasks.sqlite_schema import TASK_COLUMNS
from modelpack.server.tasks.store import (
    EXPIRED,
    LOST,
    MAX_LOSSES,
    KeyReused,
    StoreFailed,
    StoreFull,
)

_SWEEP = 200
"""Most tasks that one sweep throws away."""

_RETRY_S = (1, 60)


class SqliteStore:
    """The tasks of one service in a file."""

    most_together = 64
    failures: tuple[type[Exception], ...] = (sqlite3.Error, StoreFailed)

    def __init__(
        self,
        file: Path,
        service: str,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the file, or make it with its folder; raises TaskStoreError."""
        self._service = service
        self._limits = limits
        self._clock = clock
        self._file = file
        try:
            self._db = open_file(file)
            self._owners = Owners(file.with_name(file.name + "-owners"))
        except (OSError, sqlite3.Error) as cause:
            raise TaskStoreError(
                f"tasks cannot be kept in '{file}': {cause}",
                hint="let tasks_store name a file on a disk of this machine that may be written",
            ) from cause

    @contextmanager
    def together(self, *, writes: bool) -> Iterator[None]:
        """One transaction."""
        try:
            self._db.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise StoreFailed(f"{self._file}: {error}") from error
            raise

    # Taking in, looking at

    def submit(self, new: NewTask) -> tuple[Task, bool]:
        """Keep a task."""
        if new.key is not None and (known := self._with_key(new)) is not None:
            return known, False
        self._check_room(len(new.body))
        now = self._clock()
        self._db.execute(
            "INSERT INTO tasks (id, service, api, status, priority, due, created, fields,"
            " request_id, timeout_s, key, fingerprint, webhook, size)"
            " VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                new.id, self._service, new.api, new.priority, now, now,
                orjson.dumps(dict(new.fields)), new.request_id, new.timeout_s, new.key,
                new.fingerprint, new.webhook, len(new.body),
            ),
        )  # fmt: skip
        self._db.execute("INSERT INTO bodies (id, data) VALUES (?, ?)", (new.id, new.body))
        return self._known(new.id), True

    def _with_key(self, new: NewTask) -> Task | None:
        row = self._db.execute(
            "SELECT id, fingerprint FROM tasks WHERE service = ? AND api = ? AND key = ?",
            (self._service, new.api, new.key),
        ).fetchone()
        if row is None:
            return None
        if row[1] != new.fingerprint:
            raise KeyReused
        return self._known(row[0])

    def _check_room(self, size: int) -> None:
        count, total = self._db.execute("SELECT tasks, bytes FROM totals").fetchone()
        if count < self._limits.tasks and (not count or total + size <= self._limits.size_bytes):
            return
        (due,) = self._db.execute(
            "SELECT min(due) FROM tasks WHERE status NOT IN ('queued', 'running', 'gone')"
        ).fetchone()
        wait_s = (due or 0.0) - self._clock()
        raise StoreFull(int(min(max(wait_s, _RETRY_S[0]), _RETRY_S[1])))

    def get(self, task_id: str) -> Task | None:
        """Return a task."""
        row = self._db.execute(
            f"SELECT {TASK_COLUMNS} FROM tasks WHERE id = ? AND service = ?",  # noqa: S608
            (task_id, self._service),
        ).fetchone()
        return None if row is None else task_of(row)

    def _known(self, task_id: str) -> Task:
        task = self.get(task_id)
        if task is None:
            raise StoreFailed(f"{self._file}: a task is missing")
        return task

    def result(self, task_id: str) -> Result | None:
        """Return what the api answered."""
        row = self._db.execute(
            "SELECT t.result_status, r.type, r.headers, r.data, t.code"
            " FROM results r JOIN tasks t ON t.id = r.id WHERE r.id = ? AND t.service = ?",
            (task_id, self._service),
        ).fetchone()
        if row is None:
            return None
        status, kind, headers, data, code = row
        pairs = tuple((name, value) for name, value in orjson.loads(headers))
        return Result(status, kind, pairs, data, code)

    def find(
        self, *, api: str | None, status: str | None, before: int | None, limit: int
    ) -> list[Task]:
        """Return tasks, the newest first."""
        rows = self._db.execute(
            f"SELECT {TASK_COLUMNS} FROM tasks WHERE service = :service AND status <> 'gone'"  # noqa: S608
            " AND (:api IS NULL OR api = :api) AND (:status IS NULL OR status = :status)"
            " AND (:before IS NULL OR number < :before) ORDER BY number DESC LIMIT :limit",
            {
                "service": self._service,
                "api": api,
                "status": status,
                "before": before,
                "limit": limit,
            },
        ).fetchall()
        return [task_of(row) for row in rows]

    # Running

    def claim(self, rooms: Mapping[str, int], most: int, lease_s: float) -> list[Claim]:
        """Take tasks to run."""
        now = self._clock()
        self._take_from_the_lost(now)
        claims = [
            self._claim(one, now, lease_s)
            for one in suspects(self._db, self._service, self._owners.name, list(rooms), now)
        ]
        for api, room in rooms.items():
            left = room - sum(claim.api == api for claim in claims)
            rows = self._db.execute(
                "SELECT id FROM tasks WHERE service = ? AND api = ? AND status = 'queued'"
                " AND losses = 0 AND due <= ? ORDER BY priority, number LIMIT ?",
                (self._service, api, now, max(0, min(left, most - len(claims)))),
            ).fetchall()
            claims += [self._claim(task_id, now, lease_s) for (task_id,) in rows]
        return claims

    def _claim(self, task_id: str, now: float, lease_s: float) -> Claim:
        api, run, fields, request_id, timeout_s = self._db.execute(
            "UPDATE tasks SET status = 'running', due = ?, started = ?, owner = ?, run = run + 1,"
            " runs = runs + 1 WHERE id = ? RETURNING api, run, fields, request_id, timeout_s",
            (now + lease_s, now, self._owners.name, task_id),
        ).fetchone()
        (body,) = self._db.execute("SELECT data FROM bodies WHERE id = ?", (task_id,)).fetchone()
        return Claim(task_id, api, run, orjson.loads(fields), body, request_id, timeout_s)

    def _take_from_the_lost(self, now: float) -> None:
        others = holders(self._db, self._service)
        gone = [one for one in others if self._owners.is_gone(one)]
        lost = self._db.execute(
            "UPDATE tasks SET losses = losses + 1, status = 'queued', due = ?, started = NULL"
            " WHERE service = ? AND status <> 'queued' AND status = 'running'"
            " AND (due < ? OR owner IN (SELECT value FROM json_each(?))) RETURNING id, losses",
            (now, self._service, now, orjson.dumps(gone).decode()),
        ).fetchall()
        for task_id, losses in lost:
            if losses >= MAX_LOSSES:
                self._end(task_id, FAILED, None, LOST)
        for one in gone:
            self._owners.bury(one)

    def renew(self, held: Sequence[tuple[str, int]], lease_s: float) -> set[tuple[str, int]]:
        """Hold tasks for longer."""
        due = self._clock() + lease_s
        kept = set()
        for task_id, run in held:
            done = self._db.execute(
                "UPDATE tasks SET due = ? WHERE id = ? AND run = ? AND status = 'running'",
                (due, task_id, run),
            )
            if done.rowcount:
                kept.add((task_id, run))
        return kept

    def put_back(self, task_id: str, run: int, delay_s: float) -> None:
        """Let somebody run it again."""
        self._db.execute(
            "UPDATE tasks SET status = 'queued', due = ?, started = NULL, runs = runs - 1"
            " WHERE id = ? AND run = ? AND status = 'running'",
            (self._clock() + delay_s, task_id, run),
        )

    def finish(self, task_id: str, run: int, status: str, result: Result) -> bool:
        """Keep the result of a run."""
        found = self._db.execute(
            "SELECT 1 FROM tasks WHERE id = ? AND run = ? AND status = 'running'", (task_id, run)
        ).fetchone()
        if found is None:
            return False
        self._end(task_id, status, result, result.code)
        return True

    def _end(self, task_id: str, status: str, result: Result | None, code: str) -> None:
        """Let a task be over; its webhook, if it has one, is due now."""
        now = self._clock()
        if status == SUCCEEDED:
            self._db.execute("DELETE FROM bodies WHERE id = ?", (task_id,))
        if result is not None:
            self._db.execute(
                "INSERT OR REPLACE INTO results (id, type, headers, data) VALUES (?, ?, ?, ?)",
                (task_id, result.content_type, orjson.dumps(result.headers), result.body),
            )
        self._db.execute(
            "UPDATE tasks SET status = ?, due = ?, finished = ?, result_status = ?, code = ?,"
            " notice_due = CASE WHEN webhook IS NULL THEN NULL ELSE ? END, notice_tries = 0,"
            " size = (SELECT coalesce(sum(length(data)), 0) FROM bodies b WHERE b.id = tasks.id)"
            " + (SELECT coalesce(sum(length(data)), 0) FROM results r WHERE r.id = tasks.id)"
            " WHERE id = ?",
            (
                status,
                now + self._limits.retention_s,
                now,
                0 if result is None else result.status,
                code,
                now,
                task_id,
            ),
        )

    # Ending

    def cancel(self, task_id: str) -> Task | None:
        """Cancel a task unless it is over."""
        task = self.get(task_id)
        if task is None or task.status not in (QUEUED, RUNNING):
            return task
        self._end(task_id, CANCELLED, None, "")
        return self._known(task_id)

    def again(self, task_id: str) -> Task | None:
        """Queue a task anew."""
        task = self.get(task_id)
        if task is None or task.status not in (FAILED, CANCELLED):
            return task
        self._db.execute("DELETE FROM results WHERE id = ?", (task_id,))
        self._db.execute(
            "UPDATE tasks SET status = 'queued', due = ?, created = ?, started = NULL,"
            " finished = NULL, losses = 0, result_status = 0, code = '', notice_due = NULL,"
            " size = (SELECT coalesce(sum(length(data)), 0) FROM bodies b WHERE b.id = tasks.id)"
            " WHERE id = ?",
            (self._clock(), self._clock(), task_id),
        )
        return self._known(task_id)

    def forget(self, task_id: str) -> bool:
        """Throw a task away."""
        if self.get(task_id) is None:
            return False
        self._db.execute("DELETE FROM bodies WHERE id = ?", (task_id,))
        self._db.execute("DELETE FROM results WHERE id = ?", (task_id,))
        self._db.execute(
            "UPDATE tasks SET status = 'gone', due = ?, key = NULL, webhook = NULL,"
            " notice_due = NULL, fields = x'', size = 0 WHERE id = ?",
            (self._clock() + self._limits.retention_s, task_id),
        )
        return True

    def sweep(self) -> None:
        """Throw away what is older than the retention."""
        now = self._clock()
        late = (
            "SELECT id FROM tasks WHERE service = ? AND status = 'queued' AND created < ? LIMIT ?"
        )
        limits = (self._service, now - self._limits.retention_s, _SWEEP)
        for (task_id,) in self._db.execute(late, limits).fetchall():
            self._end(task_id, FAILED, None, EXPIRED)
        for status, row in self._due(now):
            if status == GONE:
                self._db.execute("DELETE FROM tasks WHERE id = ?", (row,))
            else:
                self.forget(row)
        self._db.execute(f"PRAGMA incremental_vacuum({_SWEEP})").fetchall()

    def _due(self, now: float) -> list[tuple[str, str]]:
        return self._db.execute(
            "SELECT status, id FROM tasks WHERE service = ? AND due < ?"
            " AND status <> 'queued' AND status <> 'running' LIMIT ?",
            (self._service, now, _SWEEP),
        ).fetchall()

    def waiting(self) -> dict[str, int]:
        """Return how many tasks of each api are queued."""
        return dict(
            self._db.execute(
                "SELECT api, count(*) FROM tasks WHERE service = ? AND status = 'queued'"
                " GROUP BY api",
                (self._service,),
            ).fetchall()
        )

    # Telling

    def notices(self, limit: int, lease_s: float) -> list[Notice]:
        """Take who is to be told now."""
        now = self._clock()
        rows = self._db.execute(
            "SELECT id FROM tasks WHERE service = ? AND notice_due <= ? ORDER BY notice_due LIMIT ?",
            (self._service, now, limit),
        ).fetchall()
        found = []
        for (task_id,) in rows:
            url, tries = self._db.execute(
                "UPDATE tasks SET notice_due = ?, notice_tries = notice_tries + 1 WHERE id = ?"
                " RETURNING webhook, notice_tries",
                (now + lease_s, task_id),
            ).fetchone()
            found.append(Notice(url, tries, self._known(task_id), self.result(task_id)))
        return found

    def told(self, task_id: str, tries: int, again_s: float | None) -> None:
        """Say what became of a try."""
        due = None if again_s is None else self._clock() + again_s
        self._db.execute(
            "UPDATE tasks SET notice_due = ? WHERE id = ? AND notice_tries = ?"
            " AND notice_due IS NOT NULL",
            (due, task_id, tries),
        )

    def close(self) -> None:
        """Let go of the file."""
        with suppress(sqlite3.Error):
            self._db.close()
        self._owners.close()
