"""What a place for tasks can do; each call of it happens wholly or not at all.

    TaskStore (Protocol) ◄── SqliteStore   a file: processes of one machine
                         ◄── RedisStore    a server: processes of any number of machines

Whoever claims a task holds it for ``lease_s`` and renews that meanwhile; when a lease ends, the task
is given to somebody else, at once where the store knows that its process is gone.  A run that lost its task that way finds out when it comes with a result:
``finish`` takes that of the newest run alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from modelpack.server.tasks.record import Claim, NewTask, Notice, Result, Task

MAX_LOSSES = 5
"""How often the process of a task may be lost before the task is taken to be the reason."""

EXPIRED = "task-expired"
LOST = "task-lost"


class StoreFailed(Exception):
    """The store cannot be used at this moment; the text is for the log."""


class KeyReused(Exception):
    """The key is that of a task with other content."""


class StoreFull(Exception):
    """There is no room for one more task; ``retry_after_s`` is when some will go."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("no room")
        self.retry_after_s = retry_after_s


class TaskStore(Protocol):
    """Keeps the tasks of one service; called by one thread."""

    most_together: int
    """How many calls may stand in one ``together``."""

    failures: tuple[type[Exception], ...]
    """What calls raise when the store itself fails; ``together`` makes StoreFailed of it."""

    def together(self, *, writes: bool) -> AbstractContextManager[None]:
        """Let the calls inside happen together, or none of them; raises StoreFailed."""

    def submit(self, new: NewTask) -> tuple[Task, bool]:
        """Keep a task; raises KeyReused and StoreFull.

        Returns the task, and False when it is an earlier one with the same key and content.
        """

    def get(self, task_id: str) -> Task | None:
        """Return a task; None: there is none, or no more."""

    def result(self, task_id: str) -> Result | None:
        """Return what the api answered."""

    def find(
        self, *, api: str | None, status: str | None, before: int | None, limit: int
    ) -> list[Task]:
        """Return tasks, the newest first; ``before``: only those with a smaller number."""

    def claim(self, rooms: Mapping[str, int], most: int, lease_s: float) -> list[Claim]:
        """Take tasks to run, for each api at most so many, and ``most`` together.

        The apis come in the order of ``rooms``.  Of the tasks whose process was lost one goes first,
        and a process has one of them at a time: what ends it takes no other one along twice.
        """

    def renew(self, held: Sequence[tuple[str, int]], lease_s: float) -> set[tuple[str, int]]:
        """Hold tasks (id and run) for longer; returns those that are still held."""

    def put_back(self, task_id: str, run: int, delay_s: float) -> None:
        """Let somebody run it again, from ``delay_s`` on; that it was begun does not count."""

    def finish(self, task_id: str, run: int, status: str, result: Result) -> bool:
        """Keep the result of a run; returns False when it is not the newest run, or was cancelled."""

    def cancel(self, task_id: str) -> Task | None:
        """Cancel a task unless it is over; returns it as it is then."""

    def again(self, task_id: str) -> Task | None:
        """Queue a task anew that failed or was cancelled; returns it as it is then."""

    def forget(self, task_id: str) -> bool:
        """Throw a task away, whatever it does; returns False when there is none."""

    def sweep(self) -> None:
        """Throw away what is older than the retention."""

    def waiting(self) -> dict[str, int]:
        """Return how many tasks of each api are queued."""

    def notices(self, limit: int, lease_s: float) -> list[Notice]:
        """Take who is to be told now; nobody else gets them for ``lease_s``."""

    def told(self, task_id: str, tries: int, again_s: float | None) -> None:
        """Say what became of a try: ``again_s`` None: it is done, else when to try again."""

    def close(self) -> None:
        """Let go of it."""
