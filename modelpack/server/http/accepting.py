"""Takes connections off the listening socket, and leaves them there while there is no room.

    listening socket ─readable─► accept ─► (TLS handshake) ─► a protocol of its own
                                  │ full, or no descriptor left
                                  └──► rest, until somebody leaves or a moment has passed

uvicorn's and uvloop's own servers accept whatever comes: out of descriptors the one spins and the
other cuts off whom it cannot take.  Here connections wait in the kernel's backlog, complete, until
there is room.  What always holds: nobody who was accepted is turned away for want of room; resting
costs no processor time; a peer that drips its handshake holds no more than one place, and not for
longer than ``handshake_timeout_s``.

Several processes may accept from one socket: ``Share`` keeps one of them from taking all.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Sized
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from modelpack.server.http.descriptors import room_for_connections
from modelpack.server.http.sharing import Share
from modelpack.server.observe.logs import event, log_internal
from modelpack.server.observe.stats import ConnectionStats

if TYPE_CHECKING:
    import ssl

RETRY_S = 0.1
"""How long accepting rests when there is no room; somebody who leaves ends it sooner."""

_AT_ONCE = 16
_DEFER_S = 0.001
_QUIET_S = 60.0
_NO_ROOM = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Acceptor:
    """Accepts the connections of one listening socket."""

    def __init__(
        self,
        listener: socket.socket,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        loop: asyncio.AbstractEventLoop,
        ssl: ssl.SSLContext | None = None,
        max_connections: int = 0,
        *,
        connections: Sized = (),
        handshake_timeout_s: float = 10.0,
        share: Share | None = None,
    ) -> None:
        """``connections`` are those open now, as their protocols keep them; ``left`` says that one
        has ended.  ``max_connections`` 0: what the limit on descriptors leaves room for.
        """
        self._listener = listener
        self._make = protocol_factory
        self._loop = loop
        self._ssl = ssl
        self._timeout_s = handshake_timeout_s
        self._connections = connections
        self._share = share
        self._opening: set[asyncio.Task[None]] = set()
        self._is_on = self._is_reading = False
        self._timer: asyncio.TimerHandle | None = None
        self._told_at = -_QUIET_S
        self._stats = ConnectionStats()
        self.opened: Callable[[asyncio.BaseProtocol], None] = lambda _: None
        """Called with the protocol of each connection."""
        self.max_connections = max_connections or room_for_connections()
        """Most connections at a time, handshakes included."""

    @property
    def sockets(self) -> list[socket.socket]:
        """The listening socket, until it is closed."""
        return [self._listener] if self._listener.fileno() >= 0 else []

    @property
    def open_count(self) -> int:
        """Connections that are open, handshakes included."""
        return len(self._connections) + len(self._opening)

    @property
    def stats(self) -> ConnectionStats:
        """What the metrics show of the connections."""
        return replace(self._stats, open=self.open_count, limit=self.max_connections)

    @property
    def is_full(self) -> bool:
        """True while new connections have to wait."""
        return self.open_count >= self.max_connections

    @property
    def is_opening(self) -> bool:
        """True while a connection is accepted that has no protocol yet."""
        return bool(self._opening)

    def start(self) -> None:
        """Accept from now on, or again."""
        if self.sockets:
            self._is_on = True
            self._read()

    def pause(self) -> None:
        """Accept nobody; those who come wait in the backlog."""
        self._is_on = False
        self._rest()

    def close(self) -> None:
        """Accept nobody any more, and close the listening socket."""
        self.pause()
        if self._share is not None:
            self._share.leave()
        self._listener.close()

    def adopt(self, connection: socket.socket) -> None:
        """Take a connection that another process has accepted, full or not."""
        connection.setblocking(False)
        self._stats.accepted += 1
        task = self._loop.create_task(self._open(connection))
        self._opening.add(task)
        task.add_done_callback(self._opened)
        if self._share is not None:
            self._share.tell(self.open_count)

    def hang_up(self) -> None:
        """Give up the connections that are still in their handshake."""
        for task in list(self._opening):
            task.cancel()

    def left(self) -> None:
        """Take note that a connection has ended: somebody who waits can have its place."""
        if self._share is not None:
            self._share.tell(self.open_count)
        if self._is_on and not self._is_reading:
            self._read()

    def _read(self) -> None:
        self._cancel_timer()
        if not self._is_reading:
            self._is_reading = True
            self._loop.add_reader(self._listener, self._accept)

    def _rest(self, seconds: float | None = None, then: Callable[[], None] | None = None) -> None:
        """Do not look at the socket; with ``seconds``, for that long."""
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._listener)
        self._cancel_timer()
        if seconds is not None:
            self._timer = self._loop.call_later(seconds, then or self._read)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _accept(self) -> None:
        """Take those who wait; one only when there are others who may take the next."""
        share = self._share
        if share is None:
            for _ in range(_AT_ONCE):
                if not self._take():
                    return
        elif share.is_ahead(self.open_count):
            # Somebody with fewer connections is woken as well: let it go first.
            self._rest(_DEFER_S, self._take_and_read)
        else:
            self._take()

    def _take_and_read(self) -> None:
        self._read()
        self._take()

    def _take(self) -> bool:
        """Take one; returns False when there is none, or no room."""
        if self.is_full:
            self._stats.waits += 1
            self._tell(self.max_connections, "the limit is reached")
            self._rest(RETRY_S)  # a connection of another socket may be the one that leaves
            return False
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_ROOM:
                return True  # that one has left already
            self._stats.waits += 1
            self._tell(self.open_count, str(error.strerror))
            self._rest(RETRY_S)
            return False
        self.adopt(connection)
        return True

    async def _open(self, connection: socket.socket) -> None:
        """Give a connection its protocol, behind TLS if there is."""
        try:
            if self._ssl is None:
                _, made = await self._loop.connect_accepted_socket(self._make, connection)
            else:
                _, made = await self._loop.connect_accepted_socket(
                    self._make,
                    connection,
                    ssl=self._ssl,
                    ssl_handshake_timeout=self._timeout_s,
                )
            self.opened(made)
        except (OSError, asyncio.CancelledError):
            self._stats.failed += 1
            connection.close()  # it left, or does not speak TLS as it must, or is hung up on
        except Exception as error:
            connection.close()
            log_internal(error)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        self.left()

    def _tell(self, count: int, reason: str) -> None:
        """Log that connections wait; at most once a minute."""
        if monotonic() - self._told_at >= _QUIET_S:
            self._told_at = monotonic()
            event("connections-wait", level=logging.WARNING, connections=count, reason=reason)
