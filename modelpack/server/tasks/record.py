"""What is kept of a task.

    queued ──claim──► running ──finish──► succeeded, failed ──retention──► gone ──again──► no more
       ▲                 │ put back; the process was lost
       └─────────────────┘        cancelled: from either; gone: also when it is forgotten

Times are seconds since 1970, of the clock of the store.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

QUEUED, RUNNING = "queued", "running"
SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"
GONE = "gone"
"""Of a task whose result was thrown away only that is known."""

OVER = (SUCCEEDED, FAILED, CANCELLED)
STATUSES = (QUEUED, RUNNING, *OVER)


def new_id() -> str:
    """Return an id that nobody guesses: who knows it may see the task."""
    return secrets.token_urlsafe(18)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A task that somebody wants to submit."""

    id: str
    api: str
    fields: Mapping[str, str]
    """Header fields of the request that say how body and answer are written."""
    body: bytes
    request_id: str
    priority: int
    """0 goes before 1 before 2."""
    timeout_s: float
    """Longest that a run of it may take."""
    key: str | None = None
    """The client's own name for it (Idempotency-Key)."""
    fingerprint: str = ""
    """Digest of what was submitted: the same key may come again with the same only."""
    webhook: str | None = None
    """Who is told when it is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task as it stands."""

    id: str
    api: str
    status: str
    number: int
    """Counts the tasks of a store, from 1."""
    request_id: str
    created: float
    started: float | None
    """When its last run began."""
    finished: float | None
    expires: float | None
    """When its result is thrown away; None: it is not over."""
    runs: int
    """How often it was begun."""
    result_status: int
    """Status with which the api answered; 0: it did not."""
    code: str
    """That of the problem it was answered with; "": none."""

    @property
    def is_over(self) -> bool:
        """True when nothing will change any more but that it goes."""
        return self.status in OVER


@dataclass(frozen=True, slots=True)
class Result:
    """What the api answered: a whole HTTP answer."""

    status: int
    content_type: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    code: str = ""
    """That of the problem it is; "": none."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A task that this process is to run."""

    id: str
    api: str
    run: int
    """Which of its runs this is: a result of another one is not taken."""
    fields: Mapping[str, str]
    body: bytes
    request_id: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Notice:
    """Somebody who is to be told that a task is over."""

    url: str
    tries: int
    """How often it was tried, this time included."""
    task: Task
    result: Result | None


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a store keeps, and for how long."""

    tasks: int
    size_bytes: int
    retention_s: float
