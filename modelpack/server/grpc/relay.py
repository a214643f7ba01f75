"""Lets the port for HTTP answer gRPC as well: bytes go on to the process's own server of gRPC.

    client ──connection preface of HTTP/2──► connection of HTTP ──take──► Relay
    client ◄──bytes, as they come──► Relay ◄──Unix socket──► the server of gRPC in this process

gRPC's library opens its sockets itself and takes none that another process hands it, so a port that
somebody keeps for several servers (``life.kept_port``) could not be its.  What always holds: not a
byte is looked at but the first ones, which say that HTTP/2 is spoken; who reads too slowly holds up
the other side and no memory; when one side ends, what was written is sent, and the other one ends.

The preface is that of RFC 9113, section 3.4; gRPC begins with it by prior knowledge, and behind TLS
by ALPN's ``h2``.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

_LONGEST_PATH = 100
"""Bytes of a path that the address of a socket has room for (unix(7)), and a margin."""

_STEP_S = 0.01


class Relay:
    """The connections of one process that began at its port for HTTP and speak HTTP/2."""

    def __init__(self, most: int, left: Callable[[], None]) -> None:
        """``most`` connections at a time; one more is closed, and its client tries again.

        ``left`` is called when one has ended.
        """
        self._most = most
        self._left = left
        self._folder = tempfile.mkdtemp(prefix="modelpack-grpc-")  # for this user alone
        self._handle = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._path = str(Path(self._folder) / "server")
        if len(os.fsencode(self._path)) > _LONGEST_PATH:
            self._path = f"/proc/self/fd/{self._handle}/server"
        self._begun: set[asyncio.Task[None]] = set()
        self._clients: set[_Side] = set()

    def __len__(self) -> int:
        """Return how many connections there are."""
        return len(self._clients)

    @property
    def address(self) -> str:
        """Where the server of gRPC listens for it, as gRPC writes that."""
        return f"unix:{self._path}"

    def take(self, transport: asyncio.Transport, first: bytes) -> None:
        """Go on with a connection of which ``first`` has been read."""
        client = _Side(transport, ended=self._forget)
        transport.set_protocol(client)
        if len(self._clients) >= self._most:
            transport.abort()
            return
        transport.pause_reading()
        self._clients.add(client)
        task = asyncio.ensure_future(self._join(client, first))
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

    def _forget(self, client: _Side) -> None:
        self._clients.discard(client)
        self._left()

    async def close(self, limit_s: float) -> None:
        """Return when what was written has been sent; within ``limit_s`` what is left is cut off."""
        until = asyncio.get_running_loop().time() + limit_s
        while self._clients and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(_STEP_S)
        for one in list(self._clients):
            one.transport.abort()
        for task in list(self._begun):
            task.cancel()
        self.remove()

    def remove(self) -> None:
        """Leave no file behind; safe to repeat."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _join(self, client: _Side, first: bytes) -> None:
        """Bring the two sides together."""
        loop = asyncio.get_running_loop()
        try:
            _, server = await loop.create_unix_connection(lambda: _Side(other=client), self._path)
        except (OSError, asyncio.CancelledError):  # it is ending
            client.transport.abort()
            return
        client.other = server
        if client.is_lost:
            server.transport.abort()
            return
        server.transport.write(first)
        client.transport.resume_reading()


class _Side(asyncio.Protocol):
    """One of the two connections: what comes here goes out there."""

    def __init__(
        self,
        transport: asyncio.Transport | None = None,
        *,
        other: _Side | None = None,
        ended: Callable[[_Side], object] = lambda _: None,
    ) -> None:
        """``ended`` is called when it is lost."""
        if transport is not None:
            self.transport = transport
        self.other = other
        self._ended = ended
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of it."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        if self.other is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Let the other side end, once it has all that came."""
        if self.other is not None:
            self.other.transport.close()
        return False

    def connection_lost(self, _: Exception | None) -> None:
        """Let the other side end, once it has all that came."""
        self.is_lost = True
        self._ended(self)
        if self.other is not None:
            self.other.transport.close()

    def pause_writing(self) -> None:
        """Read no more of what cannot be passed on."""
        self._other_reads(False)

    def resume_writing(self) -> None:
        """Read on."""
        self._other_reads(True)

    def _other_reads(self, wants: bool) -> None:
        if self.other is None or self.other.transport.is_closing():
            return
        with suppress(RuntimeError):  # it does, or does not, already
            if wants:
                self.other.transport.resume_reading()
            else:
                self.other.transport.pause_reading()
