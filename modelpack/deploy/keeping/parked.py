"""What waits while nobody takes it: connections in the kernel's queue, and open ones in between.

    server that leaves ──adopt, with a connection──► Parked ──in turns──► servers that accept
    nobody accepts: the first byte on a parked connection, or a newcomer ──► on_knock

No byte is read here: what clients send meanwhile waits in the kernel.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from modelpack.deploy.keeping.members import Member

MOST_WAITING = 10_000
"""Most open connections that are kept while nobody accepts; more are closed."""

# struct tcp_info of linux/tcp.h: eight bytes, then numbers of four.  Of a socket that listens the
# fifth is the length of its queue (tcp_get_info in net/ipv4/tcp.c).
_UNACKED = struct.Struct("=24xI")


def queue_length(listener: socket.socket) -> int:
    """Return how many connections wait for somebody who accepts them; 0 where nobody can say."""
    try:
        said = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNACKED.size)
        return int(_UNACKED.unpack(said)[0])
    except (AttributeError, OSError, struct.error):
        return 0


class Parked:
    """Open connections that nobody has, and the listening socket while nobody accepts."""

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        on_knock: Callable[[], None],
    ) -> None:
        """``on_knock`` is called when somebody asks while it is watched."""
        self._listeners = [listener]
        self._selector = selector
        self._on_knock = on_knock
        self._waiting: deque[socket.socket] = deque()
        self._is_watched = False
        self._turn = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def set_listeners(self, listeners: Sequence[socket.socket]) -> None:
        """Look at these from now on."""
        was_watched = self._is_watched
        self.watch(False)
        self._listeners = list(listeners)
        self.watch(was_watched)

    def add(self, descriptor: int) -> None:
        """Keep an open connection, if there is room."""
        if len(self._waiting) >= MOST_WAITING:
            os.close(descriptor)
            return
        try:
            connection = socket.socket(fileno=descriptor)
            connection.setblocking(False)
        except OSError:  # no socket at all
            with suppress(OSError):
                os.close(descriptor)
            return
        self._waiting.append(connection)
        if self._is_watched:
            self._watch(connection)

    def pass_on(self, takers: Sequence[Member]) -> None:
        """Give the connections to those who accept, in turns."""
        for _ in range(len(self._waiting) if takers else 0):
            self._turn += 1
            connection = self._waiting.popleft()
            taker = takers[self._turn % len(takers)]
            try:
                socket.send_fds(taker.line, [b"adopt"], [connection.fileno()])
            except OSError:  # it has its hands full, or is gone: in a moment again
                self._waiting.append(connection)
                continue
            connection.close()

    def watch(self, wants: bool) -> None:
        """Call ``on_knock`` when somebody asks, or do so no more."""
        if wants == self._is_watched:
            return
        self._is_watched = wants
        if wants:
            for listener in self._listeners:
                self._selector.register(listener, selectors.EVENT_READ, self._on_knock)
            for connection in self._waiting:
                self._watch(connection)
            return
        for listener in self._listeners:
            self._selector.unregister(listener)
        for connection in self._waiting:
            self._selector.unregister(connection)

    @property
    def asking(self) -> int:
        """How many ask at this moment: newcomers, and open connections on which bytes wait.

        Connections whose clients have left are closed.
        """
        newcomers = sum(map(queue_length, self._listeners))
        return newcomers + sum(map(self._is_asking, list(self._waiting)))

    def _watch(self, connection: socket.socket) -> None:
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._knock(connection))

    def _knock(self, connection: socket.socket) -> None:
        if connection.fileno() >= 0 and self._is_asking(connection):
            self._on_knock()

    def _is_asking(self, connection: socket.socket) -> bool:
        """Say whether bytes wait; a connection that has ended is closed."""
        try:
            if connection.recv(1, socket.MSG_PEEK):
                return True
        except BlockingIOError:
            return False
        except OSError:
            pass
        self._waiting.remove(connection)
        if self._is_watched:
            self._selector.unregister(connection)
        connection.close()
        return False
