"""How much a process has to do at this moment, from counters that are there anyway.

    endpoints' ApiStats, tasks, other requests ──load_of──► (now, ever)

It is asked a few times a second, by what decides how many servers there are; a request costs it nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from modelpack.server.observe.stats import ApiStats, TaskStats

Load = tuple[int, int]
"""Requests that run and wait now, and those that were ever answered."""


def load_of(stats: Iterable[ApiStats], *, others: int = 0, tasks: TaskStats | None = None) -> Load:
    """Return the load of a process.

    ``others`` are requests that may be of no api, such as those of a mounted application.  Tasks
    that wait in the store count as one request: all processes see the same ones.
    """
    now = ever = 0
    for one in stats:
        now += one.in_flight
        ever += sum(one.statuses.values())
    if tasks is not None:
        others = max(others, sum(tasks.running.values()), int(any(tasks.queued.values())))
    return max(now, others), ever
