"""Takes connections at a port that another container keeps.

    keeper ──accept, with the listening socket──► KeptPort ──Acceptor──► this server's connections
           ──also, with another one──────────────►         the same there, as at a port for gRPC
           ──pause───────────────────────────────►         lets go of its copies of the sockets
           ◄──adopt, with an idle connection──────         one after the other, as they get idle
           ──adopt, with a connection of another──►        goes on with it
           ◄──load───────────────────────────────          what it has to do, when that has changed

Several servers in containers of their own answer at one address so, without a proxy: each has a
copy of the keeper's listening socket and takes connections from its queue, as the workers of one
server do.  ``$MODELPACK_PORT_KEEPER`` names the keeper's Unix socket, ``$MODELPACK_PORT_GROUP`` the
group that this server belongs to and, behind a slash, its own name there (default: that of the
machine); without them nothing happens.  What always holds: the server
joins once it is ready and leaves as its end begins; a keeper that is gone is looked for again, and
the socket that it gave is let go; the server's own port works as ever.

Who may not accept any more gives its open connections away, too, each while nothing of a request is
in this process's memory.  The client does not notice: what it sends meanwhile waits in the kernel.
To close an idle connection loses a request that is just on its way; to pass it on does not.  Behind
TLS, whose state is here, connections are ended as ever.

The messages are in ``modelpack.deploy.port_keeper``.
"""

from __future__ import annotations

import asyncio
import os
import socket
import weakref
from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import replace

from modelpack.server.http.accepting import Acceptor
from modelpack.server.http.connection import GuardedProtocol
from modelpack.server.http.sharing import Share
from modelpack.server.observe.load import Load
from modelpack.server.observe.logs import event
from modelpack.server.observe.stats import ConnectionStats

KEEPER = "MODELPACK_PORT_KEEPER"
GROUP = "MODELPACK_PORT_GROUP"

RETRY_S = 0.25
"""How long a keeper that does not answer is left alone."""

LOOK_S = 0.25
"""How often readiness and load are looked at, to tell the keeper."""

GIVE_S = 0.01
"""How often connections are looked at that are to be given away once they are idle."""

HANG_UP_S = 1.5
"""How long a TLS handshake that had begun may take once the socket was let go."""

_MOST_BYTES = 4096

OpenDoor = Callable[[socket.socket, Share | None], Acceptor]


class KeptPort:
    """The line to a keeper, and what accepts from its socket."""

    def __init__(
        self,
        path: str | None,
        group: str,
        open_door: OpenDoor,
        is_ready: Callable[[], bool],
        connections: Container[object],
        *,
        load: Callable[[], Load] = lambda: (0, 0),
    ) -> None:
        """``open_door`` makes what accepts from a socket; it is not started yet.

        ``connections`` are those that the server has now, ``load`` what it has to do.  ``path`` None: there is no keeper, and
        nothing ever happens.
        """
        self._path = path
        self._group, _, name = group.partition("/")
        self._name = name or socket.gethostname()
        self._open_door = open_door
        self._is_ready = is_ready
        self._connections = connections
        self._load = load
        self._came: weakref.WeakSet[GuardedProtocol] = weakref.WeakSet()
        self._is_ending = False
        self._acceptor: Acceptor | None = None
        self._share: Share | None = None
        self._also: list[Acceptor] = []
        self._ended = ConnectionStats()
        self._leaving: list[Acceptor] = []
        self._following: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    @classmethod
    def from_env(
        cls,
        open_door: OpenDoor,
        is_ready: Callable[[], bool],
        connections: Container[object],
        load: Callable[[], Load],
    ) -> KeptPort:
        """Return what follows the keeper that the environment names, if it names one."""
        path = os.environ.get(KEEPER) or None
        return cls(path, os.environ.get(GROUP) or "-", open_door, is_ready, connections, load=load)

    def join(self) -> None:
        """Begin to follow the keeper; the server is ready.  Safe to repeat."""
        if self._path is not None and self._following is None:
            self._following = asyncio.ensure_future(self._follow(self._path))

    def leave(self) -> None:
        """Accept nobody any more, and give away what is open; others go on at the same socket."""
        self._is_ending = True
        self._let_go()
        self._wake.set()

    def close(self) -> None:
        """Give nothing away any more; the server has ended."""
        if self._following is not None:
            self._following.cancel()

    def left(self) -> None:
        """Take note that a connection of the server has ended."""
        for one in self._open:
            one.left()

    @property
    def is_opening(self) -> bool:
        """True while a connection from there has no protocol yet."""
        return any(one.is_opening for one in (*self._leaving, *self._open))

    def added_to(self, stats: ConnectionStats) -> ConnectionStats:
        """Return the counts of the server's own port with those of this one."""
        parts = [self._ended, *(one.stats for one in (*self._leaving, *self._open))]
        return replace(
            stats,
            accepted=stats.accepted + sum(one.accepted for one in parts),
            failed=stats.failed + sum(one.failed for one in parts),
            waits=stats.waits + sum(one.waits for one in parts),
        )

    @property
    def _open(self) -> list[Acceptor]:
        """What accepts at this moment."""
        return [*([self._acceptor] if self._acceptor is not None else []), *self._also]

    async def _follow(self, path: str) -> None:
        """Do what the keeper says, and look for it again when it is gone."""
        is_lost = False
        while True:
            line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            line.setblocking(False)
            try:
                line.connect(path)
                is_lost = False
                await self._obey(line)
            except OSError as error:
                if not is_lost:
                    event("port-keeper-away", reason=error.strerror or str(error))
                is_lost = True
            finally:
                self._let_go()
                line.close()
            await asyncio.sleep(RETRY_S)

    async def _obey(self, line: socket.socket) -> None:
        """Follow one keeper until it is gone; raises OSError then."""
        is_ready, has_left, load = True, False, (0, 0)
        line.send(f"join {self._group} {self._name} also".encode())
        loop = asyncio.get_running_loop()
        loop.add_reader(line.fileno(), self._wake.set)
        try:
            while True:
                gives = self._acceptor is None and len(self._came) > 0
                await self._wait(GIVE_S if gives else LOOK_S)
                while message := _received(line):
                    self._do(line, *message)
                if self._is_ending and not has_left:
                    has_left = True
                    line.send(b"leaving")
                if self._is_ready() != is_ready and not self._is_ending:
                    is_ready = not is_ready
                    line.send(b"ready" if is_ready else b"unready")
                if (now := self._load()) != load:
                    with suppress(BlockingIOError):  # the keeper has its hands full
                        line.send(b"load %d %d" % now)
                        load = now
                if self._acceptor is None:
                    self._give_away(line)
        finally:
            loop.remove_reader(line.fileno())

    async def _wait(self, seconds: float) -> None:
        """Return when something came, or after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    def _do(self, line: socket.socket, words: list[str], descriptors: list[int]) -> None:
        if words[0] == "pause":
            self._let_go()
            line.send(b"paused")
        elif words[0] == "adopt":
            connection = socket.socket(fileno=descriptors[0])
            if self._acceptor is not None:
                self._acceptor.adopt(connection)
            else:
                with connection:  # it came too late
                    socket.send_fds(line, [b"adopt"], descriptors)
        elif words[0] == "also" and self._acceptor is not None:
            self._also.append(self._accept_at(socket.socket(fileno=descriptors[0]), self._share))
        elif words[0] == "accept" and not self._is_ending:
            listener, counts = descriptors
            slot = int(words[1])
            self._let_go()
            self._share = Share(counts, slot) if slot >= 0 else None
            os.close(counts)
            self._acceptor = self._accept_at(socket.socket(fileno=listener), self._share)
            event("port-taken", group=self._group)
            line.send(b"accepting")
        else:
            for one in descriptors:
                os.close(one)

    def _accept_at(self, listener: socket.socket, share: Share | None) -> Acceptor:
        """Begin to take connections from a socket."""
        acceptor = self._open_door(listener, share)
        acceptor.opened = self._note
        acceptor.start()
        return acceptor

    def _note(self, connection: asyncio.BaseProtocol) -> None:
        if isinstance(connection, GuardedProtocol):
            self._came.add(connection)

    def _give_away(self, line: socket.socket) -> None:
        """Pass on the connections that nothing is under way on."""
        for connection in list(self._came):
            if connection not in self._connections:
                self._came.discard(connection)
            elif connection.is_movable:
                try:
                    socket.send_fds(line, [b"adopt"], [connection.fileno()])
                except BlockingIOError:
                    return  # the keeper has its hands full: in a moment again
                self._came.discard(connection)
                connection.transport.abort()  # closes this process's copy and nothing else

    def _let_go(self) -> None:
        acceptors, self._acceptor, self._also = self._open, None, []
        if not acceptors:
            return
        for acceptor in acceptors:
            acceptor.close()
            self._leaving.append(acceptor)
            asyncio.get_running_loop().call_later(HANG_UP_S, self._forget, acceptor)
        event("port-let-go", group=self._group)

    def _forget(self, acceptor: Acceptor) -> None:
        """Keep only the counts of what accepted once."""
        acceptor.hang_up()
        self._leaving.remove(acceptor)
        stats = acceptor.stats
        self._ended.accepted += stats.accepted
        self._ended.failed += stats.failed
        self._ended.waits += stats.waits


def _received(line: socket.socket) -> tuple[list[str], list[int]] | None:
    """Return the next message and what came with it, None when there is none yet.

    Raises OSError when the other end is closed.
    """
    try:
        data, descriptors, _, _ = socket.recv_fds(line, _MOST_BYTES, 2)
    except BlockingIOError:
        return None
    if not data:
        raise ConnectionResetError("it has ended")
    return data.decode().split(), descriptors
