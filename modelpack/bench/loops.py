"""When requests leave: as soon as an answer is there, or at their own times.

    closed   each connection sends as soon as its answer is there       how fast can it go?
    open     requests leave at their times, whatever the server does    how long do clients wait?

                     ┌──────────── backlog ◄── no connection is free
    arrivals ──► due ┴► connection ──► server ──► answered

In a closed loop a server that stalls for a second keeps back the load as well: one slow request is
counted where clients would have met hundreds ("coordinated omission").  In the open loop latency
counts from the time at which a request *was to* leave, so a stall is seen in full.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator

from modelpack.bench.alarm import Alarm
from modelpack.bench.arrivals import times
from modelpack.bench.lanes import Lane, LanePlan
from modelpack.bench.wire import Connection

_OPEN_AT_FIRST = 16


class ClosedLane(Lane):
    """Each connection sends its next request as soon as it has the answer to the one before."""

    _has_begun = False

    def start(self, at: float) -> None:  # noqa: ARG002
        """Send the first request of every connection."""
        self._has_begun = True
        for connection in list(self._connections):
            self._free(connection)

    def _free(self, connection: Connection) -> None:
        if self._has_begun and not self._is_stopped:
            self.current.offered += 1
            self._send(connection, time.perf_counter())

    def _not_connected(self) -> None:
        self.current.offered += 1
        self.current.add_error("connect")


class OpenLane(Lane):
    """Requests leave at their times; connections are opened as they are needed."""

    def __init__(self, plan: LanePlan) -> None:
        super().__init__(plan)
        self._idle: list[Connection] = []
        self._backlog: deque[float] = deque()
        self._times: Iterator[float]
        self._due = 0.0
        self._alarm: Alarm | None = None

    @property
    def open_requests(self) -> int:
        """Also those that no connection was free for."""
        return super().open_requests + len(self._backlog)

    def start(self, at: float) -> None:
        """Send the first request at this time."""
        plan = self.plan
        self._times = times(plan.arrivals, plan.rate or 1.0, at, seed=plan.seed)
        self._due = next(self._times)
        self._alarm = Alarm(asyncio.get_running_loop(), self._ring)
        self._alarm.set(self._due)

    def stop(self) -> None:
        """Begin no request any more; those that wait for a connection still leave."""
        super().stop()
        if self._alarm is not None:
            self._alarm.close()

    def close(self) -> None:
        """Count what never left, too."""
        super().close()
        while self._backlog:
            self._give_up("unsent", self._backlog.popleft())

    def sweep(self, now: float) -> None:
        """Give up what waited too long, sent or not."""
        super().sweep(now)
        since = now - self.plan.timeout_s
        while self._backlog and self._backlog[0] < since:
            self._give_up("unsent", self._backlog.popleft())

    def _ring(self) -> None:
        now = time.perf_counter()
        current = self.current
        while self._due <= now:
            intended = self._due
            current.offered += 1
            current.clock_late.add(now - intended)
            if self._idle:
                current.late.add(now - intended)
                self._send(self._idle.pop(), intended)
            else:
                self._backlog.append(intended)
                self._grow()
            self._due = next(self._times)
        if self._alarm is not None:
            self._alarm.set(self._due)

    def _grow(self) -> None:
        wanted = len(self._backlog) or (0 if self._connections else 1)
        room = self.plan.connections - len(self._connections) - self._opening
        if self._opening < wanted and room > 0:
            self._open_one()

    def _free(self, connection: Connection) -> None:
        if self._backlog:
            intended = self._backlog.popleft()
            self.current.late.add(time.perf_counter() - intended)
            self._send(connection, intended)
        else:
            self._idle.append(connection)

    def lost(self, connection: Connection, kind: str) -> None:
        """Take it from those that are free, too."""
        if connection in self._idle:
            self._idle.remove(connection)
        super().lost(connection, kind)

    def _first_connections(self) -> int:
        return min(self.plan.connections, _OPEN_AT_FIRST)

    def _replace(self) -> None:
        self._grow()

    def _not_connected(self) -> None:
        if self._backlog:
            self._give_up("connect", self._backlog.popleft())


def make_lane(plan: LanePlan) -> Lane:
    """Return the lane of the plan: open when it has a rate."""
    return ClosedLane(plan) if plan.rate is None else OpenLane(plan)
