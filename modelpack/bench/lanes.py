"""One kind of request sent to one server over its own connections: what both loops have in common.

    LanePlan ──► Lane ──connections──► server ──answered, lost──► Slice (this second's counts)

What always holds: every request that was to be sent is counted once, as an answer or as an error.

Not here: when requests leave (``loops``), when seconds begin and end (``generator``).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

from modelpack.bench.slices import REFUSALS, Slice
from modelpack.bench.wire import Connection

if TYPE_CHECKING:
    import ssl

_RETRY_S = 0.1
_CONNECT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePlan:
    """What one lane does; without a rate it is a closed loop."""

    host: str
    """Name of the server, for TLS."""

    address: str
    """Where it is connected to: an IP address."""

    port: int
    requests: tuple[bytes, ...]
    """Whole requests, head and body, sent in turns."""

    connections: int = 1
    """Closed: that many, each with one request on its way.  Open: at most that many."""

    rate: float | None = None
    """Requests a second of an open loop."""

    arrivals: str = "constant"
    timeout_s: float = 30.0
    seed: int = 1
    tls: bool = False
    verifies: bool = True
    """Whether the certificate of the server is checked."""


class Lane:
    """What both loops share: connections, counting, giving up."""

    def __init__(self, plan: LanePlan) -> None:
        self.plan = plan
        self.current = Slice()
        self.first_failure = ""
        """Status and start of the first answer that was not of the 2xx kind."""
        self._connections: set[Connection] = set()
        self._opening = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopped = False
        self._is_closed = False
        self._next_request = cycle(plan.requests).__next__
        self._ssl = _ssl_context(plan)

    @property
    def open_requests(self) -> int:
        """Requests that were to be sent and have no answer yet."""
        return sum(connection.is_busy for connection in self._connections)

    async def open(self) -> None:
        """Open the first connections; raises OSError when the server cannot be reached."""
        for _ in range(self._first_connections()):
            self._free(await self._connect())

    def start(self, at: float) -> None:
        """Begin to send, at a time of ``perf_counter`` that is about now."""
        raise NotImplementedError

    def stop(self) -> None:
        """Begin no request any more."""
        self._is_stopped = True

    def turn(self) -> Slice:
        """Return what was counted since the last turn."""
        done, self.current = self.current, Slice()
        return done

    def sweep(self, now: float) -> None:
        """Give up requests that have waited too long."""
        since = now - self.plan.timeout_s
        for connection in [c for c in self._connections if c.is_busy and c.intended < since]:
            connection.end("timeout")

    def close(self) -> None:
        """Give up what is left, and close everything."""
        self._is_stopped = self._is_closed = True
        for task in self._tasks:
            task.cancel()
        for connection in list(self._connections):
            connection.end("unanswered")

    def answered(self, connection: Connection, status: int, size: int) -> None:
        """Count an answer, then use the connection again."""
        took = time.perf_counter() - connection.intended
        now = self.current
        now.bytes_in += size
        now.statuses[status] = now.statuses.get(status, 0) + 1
        if 200 <= status < 300:
            now.latencies.add(took)
        else:
            if status in REFUSALS:
                now.refused.add(took)
            if not self.first_failure:
                self.first_failure = f"{status} {connection.body.decode('utf-8', 'replace')}"
        if not connection.is_lost:
            self._free(connection)

    def lost(self, connection: Connection, kind: str) -> None:
        """Count what was on its way, and open another one in its place."""
        self._connections.discard(connection)
        if kind:
            self._give_up(kind, connection.intended)
        if not self._is_closed:
            self._replace()

    def _give_up(self, kind: str, intended: float) -> None:
        self.current.add_error(kind)
        self.current.latencies.add(time.perf_counter() - intended)

    def _send(self, connection: Connection, intended: float) -> None:
        request = self._next_request()
        self.current.bytes_out += len(request)
        connection.send(request, intended)

    def _first_connections(self) -> int:
        return self.plan.connections

    def _free(self, connection: Connection) -> None:
        """Use a connection that has nothing to do."""
        raise NotImplementedError

    def _replace(self) -> None:
        """Make up for a connection that is gone."""
        if not self._is_stopped:
            self._open_one()

    def _open_one(self) -> None:
        self._opening += 1
        task = asyncio.get_running_loop().create_task(self._opened())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _opened(self) -> None:
        try:
            while not self._is_closed:
                with suppress(OSError):
                    self._take(await self._connect())
                    return
                self._not_connected()
                await asyncio.sleep(_RETRY_S)
        finally:
            self._opening -= 1

    def _take(self, connection: Connection) -> None:
        """Use a new connection; a task whose connection is there is not cancelled any more."""
        if self._is_closed:
            connection.end()
        else:
            self._free(connection)

    def _not_connected(self) -> None:
        """Count an attempt to connect that failed."""
        raise NotImplementedError

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(self)
        plan = self.plan
        name = plan.host if self._ssl is not None else None
        opening = loop.create_connection(
            lambda: connection, plan.address, plan.port, ssl=self._ssl, server_hostname=name
        )
        await asyncio.wait_for(opening, _CONNECT_S)
        self._connections.add(connection)
        return connection


def _ssl_context(plan: LanePlan) -> ssl.SSLContext | None:
    if not plan.tls:
        return None
    import ssl

    context = ssl.create_default_context()
    if not plan.verifies:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
