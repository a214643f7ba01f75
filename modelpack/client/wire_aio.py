"""Connections to one server, for the tasks of one event loop.

    await send(Request, deadline) ──► an idle connection, or a new one ──► Reply

The same as ``wire``, with the same promises, waiting as asyncio does.  A task that is cancelled hangs
its connection up: the server sees that nobody waits any more, and drops what it has in its queue.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator
from time import monotonic
from typing import TYPE_CHECKING, Any

from modelpack.client import exchange
from modelpack.client.errors import CallLostError, CallTimeoutError
from modelpack.client.exchange import Incoming, Speaker
from modelpack.client.place import Place, Proxy, Tls
from modelpack.client.reply import Reply, Request

if TYPE_CHECKING:
    import ssl

_JOINED_BYTES = 64 * 1024
MOST_AT_ONCE = 256
"""Most requests that wait for an answer; the others wait for their turn, within their time."""

_MOST_WAITING_BYTES = 1024 * 1024
"""Most bytes of a stream that wait to be taken; the server waits with the rest."""


class AsyncWire:
    """Sends requests and waits for the answers."""

    def __init__(self, place: Place, tls: Tls, proxy: Proxy | None) -> None:
        self.place = place
        self._proxy = proxy
        self._speaker = Speaker(place, proxy)
        self._context: ssl.SSLContext | None = tls.context() if place.is_tls else None
        self._idle: list[_Connection] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._room = asyncio.Semaphore(MOST_AT_ONCE)

    async def send(self, request: Request, deadline: float) -> Reply:
        """Return the answer; ``deadline`` is a time of ``monotonic``.

        Raises CallLostError and CallTimeoutError when there is none.
        """
        try:
            async with asyncio.timeout(max(0.0, deadline - monotonic())), self._room_here():
                return await self._exchange(request, deadline)
        except TimeoutError:
            raise exchange.not_in_time(self.place) from None

    async def _exchange(self, request: Request, deadline: float) -> Reply:
        connection = self._take() or await self._connect()
        try:
            incoming = await connection.ask(self._speaker.head(request), request.body)
            if request.is_stream and incoming.status == 200:
                pieces = AsyncPieces(self, connection, deadline - monotonic())
                return Reply(200, incoming.headers, bytearray(), pieces)
            while not incoming.is_done:
                await connection.read_more()
        except BaseException:
            connection.close()
            raise
        self.give_back(connection)
        return incoming.reply()

    def give_back(self, connection: _Connection) -> None:
        """Keep a connection for the next request, if it is good for one."""
        if connection.finish():
            self._idle.append(connection)
        else:
            connection.close()

    async def close(self) -> None:
        """Close what is kept."""
        while self._idle:
            self._idle.pop().close()
        await asyncio.sleep(0)  # transports close in the next round of the loop

    def _room_here(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # what belonged to a loop that is gone went with it
            self._idle, self._loop = [], loop
            self._room = asyncio.Semaphore(MOST_AT_ONCE)
        return self._room

    def _take(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_fresh():
                return connection
            connection.close()
        return None

    async def _connect(self) -> _Connection:
        place, loop = self.place, asyncio.get_running_loop()
        nearest = self._proxy.place if self._proxy is not None else place
        is_direct = self._proxy is None
        context = self._context if is_direct else None
        connection = _Connection(place)
        try:
            async with asyncio.timeout(exchange.CONNECT_TIMEOUT_S):
                await loop.create_connection(
                    lambda: connection,
                    nearest.host,
                    nearest.port,
                    ssl=context,
                    server_hostname=place.host if context is not None else None,
                )
                if self._proxy is not None and self._context is not None:
                    await self._pass_through(connection, self._proxy, self._context)
        except OSError as error:  # TimeoutError is one
            connection.close()
            raise exchange.not_reached(nearest, error) from error
        except BaseException:
            connection.close()
            raise
        return connection

    async def _pass_through(
        self, connection: _Connection, proxy: Proxy, context: ssl.SSLContext
    ) -> None:
        try:
            incoming = await connection.ask(exchange.connect_head(self.place, proxy), b"")
        except CallLostError as error:
            error.may_have_run = False
            raise
        if incoming.status != 200:
            raise exchange.refused_by_proxy(self.place, proxy, incoming.status)
        await connection.start_tls(context, self.place.host)


class _Connection(asyncio.Protocol):
    """One connection; asyncio calls what is not documented."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._transport: Any = None  # until asyncio calls ``connection_made``
        self._incoming = Incoming()
        self._is_asked = False
        self._news = asyncio.Event()
        """Set when something came, or when more can be sent."""
        self._may_write = True
        self._is_lost = False
        self._waiting_bytes = 0
        self._used_at = 0.0
        self.is_stream = False
        """True when somebody takes the body piece by piece, at their own pace."""

    def is_fresh(self) -> bool:
        """Say whether it can be used once more."""
        if self._is_lost or monotonic() - self._used_at >= exchange.IDLE_S:
            return False
        # The loop may not have run since its end came.
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket"), select.POLLIN)
        return not poll.poll(0)

    async def ask(self, head: bytes, body: bytes | bytearray | memoryview) -> Incoming:
        """Send a request; return the answer when its head is there."""
        incoming = self._incoming = Incoming()
        self._is_asked = True
        transport = self._transport
        if len(body) <= _JOINED_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
            while not (self._may_write or self._is_lost or incoming.status):
                await self._wait()
        while not incoming.status:
            await self.read_more()
        return incoming

    async def read_more(self) -> None:
        """Wait for more of the answer; raises CallLostError."""
        incoming = self._incoming
        if not (self._is_lost or incoming.is_broken):
            await self._wait()
        if incoming.is_broken:
            why = exchange.CLOSED if self._is_lost else exchange.NOT_HTTP
            raise exchange.broken(self._place, why)

    def take(self) -> tuple[bytes, bool]:
        """Return what came of the body, and whether that was all."""
        data = self._incoming.take()
        if self._waiting_bytes > _MOST_WAITING_BYTES:
            self._transport.resume_reading()
        self._waiting_bytes = 0
        return data, self._incoming.is_done

    def finish(self) -> bool:
        """End a request; say whether another one may follow."""
        self._is_asked = self.is_stream = False
        self._used_at = monotonic()
        return self._incoming.is_done and self._incoming.stays and not self._is_lost

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Go on over TLS."""
        self._is_asked = False
        loop = asyncio.get_running_loop()
        self._transport = await loop.start_tls(self._transport, self, context, server_hostname=host)

    def close(self) -> None:
        """Hang up."""
        self._is_lost = True
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._is_asked:
            self.close()  # nothing was asked
            return
        self._incoming.feed(data)
        self._waiting_bytes += len(data)
        if self.is_stream and self._waiting_bytes > _MOST_WAITING_BYTES:
            self._transport.pause_reading()
        self._news.set()

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._is_lost = True
        if self._is_asked:
            self._incoming.end()
        self._news.set()


class AsyncPieces:
    """The body of an answer, piece by piece."""

    def __init__(self, wire: AsyncWire, connection: _Connection, pause_s: float) -> None:
        """``pause_s`` is how long the next piece may take."""
        self._wire = wire
        self._connection = connection
        self._pause_s = pause_s
        self._is_open = True
        connection.is_stream = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield what comes, as it comes; raises CallLostError and CallTimeoutError."""
        try:
            while self._is_open:
                data, is_done = self._connection.take()
                if data:
                    yield data
                elif is_done:
                    self.close()
                else:
                    async with asyncio.timeout(self._pause_s):
                        await self._connection.read_more()
        except TimeoutError:
            self.close()
            raise exchange.not_in_time(self._wire.place) from None
        except (CallLostError, CallTimeoutError):
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connection; one on which more would come is hung up."""
        if self._is_open:
            self._is_open = False
            self._wire.give_back(self._connection)
