"""How much a process has to do at this moment, from counters that are there anyway.

    endpoints' ApiStats, tasks, other requests, connections ──load_of──► (now, ever)

It is asked a few times a second, by what decides how many servers there are; a request costs it nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from modelpack.server.observe.stats import ApiStats, TaskStats


class Busy(Protocol):
    """A connection that can say whether a request is read or answered on it."""

    @property
    def is_idle(self) -> bool:
        """True when there is none."""


Load = tuple[int, int]
"""Requests that run and wait now, and those that were ever answered."""


def load_of(
    stats: Iterable[ApiStats],
    connections: Iterable[Busy] = (),
    *,
    others: int = 0,
    tasks: TaskStats | None = None,
) -> Load:
    """Return the load of a process.

    ``others`` are requests that may be of no api, such as those of a mounted application.  Where no
    request runs, connections on which one is still being read count.  Tasks that wait in the store
    count as one request: all processes see the same ones.
    """
    now = ever = 0
    for one in stats:
        now += one.in_flight
        ever += sum(one.statuses.values())
    if tasks is not None:
        others = max(others, sum(tasks.running.values()), int(any(tasks.queued.values())))
    now = max(now, others)
    if not now:  # a server with nothing else to do has the time to look at all of them
        now = sum(not one.is_idle for one in connections)
    return now, ever
