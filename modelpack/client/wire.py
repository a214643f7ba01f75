"""Connections to one server, for any number of threads.

    send(Request, deadline) ──► an idle connection, or a new one ──► Reply
                                  ▲                                    │ may be used again
                                  └────────────────────────────────────┘

A connection is looked at before it is used again: one that the server has closed meanwhile, as
servers do, is replaced before anything is sent.  What always holds: one request at a time on a
connection; whatever did not end as it should is closed; after a fork the child begins anew.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from modelpack.client import exchange
from modelpack.client.errors import CallLostError, CallTimeoutError
from modelpack.client.exchange import Incoming, Speaker
from modelpack.client.place import Place, Proxy, Tls
from modelpack.client.reply import Reply, Request

if TYPE_CHECKING:
    import ssl

_READ_BYTES = 128 * 1024
_JOINED_BYTES = 64 * 1024
"""Longest body that is sent in one piece with its head."""


class Wire:
    """Sends requests and waits for the answers."""

    def __init__(self, place: Place, tls: Tls, proxy: Proxy | None) -> None:
        self.place = place
        self._idle: list[_Connection] = []
        self._proxy = proxy
        self._speaker = Speaker(place, proxy)
        self._context: ssl.SSLContext | None = tls.context() if place.is_tls else None
        self._pid = os.getpid()

    def send(self, request: Request, deadline: float) -> Reply:
        """Return the answer; ``deadline`` is a time of ``monotonic``.

        Raises CallLostError and CallTimeoutError when there is none.
        """
        connection = self._take() or self._connect(deadline)
        try:
            incoming = connection.ask(self._speaker.head(request), request.body, deadline)
            if request.is_stream and incoming.status == 200:
                pieces = Pieces(self, connection, incoming, deadline - monotonic())
                return Reply(200, incoming.headers, bytearray(), pieces)
            while not incoming.is_done:
                connection.read_more(incoming, deadline)
        except BaseException:
            connection.close()
            raise
        self.give_back(connection, incoming)
        return incoming.reply()

    def give_back(self, connection: _Connection, incoming: Incoming) -> None:
        """Keep a connection for the next request, if it is good for one."""
        if incoming.stays and incoming.is_done:
            connection.used_at = monotonic()
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close what is kept."""
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()

    def __del__(self) -> None:
        self.close()

    def _take(self) -> _Connection | None:
        if self._pid != os.getpid():
            self.close()  # these are the parent's, and stay open there
            self._pid = os.getpid()
        while True:
            try:
                connection = self._idle.pop()  # the one that was used last
            except IndexError:
                return None
            if connection.is_fresh():
                return connection
            connection.close()

    def _connect(self, deadline: float) -> _Connection:
        place = self.place
        nearest = self._proxy.place if self._proxy is not None else place
        left_s = deadline - monotonic()
        if left_s <= 0:
            raise exchange.not_in_time(place)
        limit_s = min(left_s, exchange.CONNECT_TIMEOUT_S)
        try:
            sock = socket.create_connection((nearest.host, nearest.port), limit_s)
        except OSError as error:
            if isinstance(error, TimeoutError) and left_s <= limit_s:
                raise exchange.not_in_time(place) from None
            raise exchange.not_reached(nearest, error) from error
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                if self._proxy is not None:
                    self._pass_through(_Connection(sock, nearest), self._proxy, deadline)
                sock = self._context.wrap_socket(sock, server_hostname=place.host)
        except OSError as error:
            sock.close()
            raise exchange.not_reached(place, error) from error
        except BaseException:
            sock.close()
            raise
        return _Connection(sock, place)

    def _pass_through(self, connection: _Connection, proxy: Proxy, deadline: float) -> None:
        """Have a proxy connect us; raises CallLostError."""
        try:
            incoming = connection.ask(exchange.connect_head(self.place, proxy), b"", deadline)
        except CallLostError as error:
            error.may_have_run = False
            raise
        if incoming.status != 200:
            raise exchange.refused_by_proxy(self.place, proxy, incoming.status)


class _Connection:
    """One socket."""

    def __init__(self, sock: socket.socket, place: Place) -> None:
        self._sock = sock
        self._place = place
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self.used_at = 0.0

    def is_fresh(self) -> bool:
        """Say whether it can be used once more: nothing came on it, not even its end."""
        return monotonic() - self.used_at < exchange.IDLE_S and not self._poll.poll(0)

    def ask(self, head: bytes, body: bytes | bytearray | memoryview, deadline: float) -> Incoming:
        """Send a request; return the answer when its head is there."""
        incoming = Incoming()
        try:
            self._wait_at_most(deadline)
            if len(body) <= _JOINED_BYTES:
                self._sock.sendall(head + body)
            else:
                self._sock.sendall(head)
                self._sock.sendall(body)
        except TimeoutError:
            raise exchange.not_in_time(self._place) from None
        except OSError:
            pass  # it may have answered before it had read everything, and hung up
        while not incoming.status:
            self.read_more(incoming, deadline)
        return incoming

    def read_more(self, incoming: Incoming, deadline: float) -> None:
        """Wait for more of the answer; raises CallLostError and CallTimeoutError."""
        try:
            self._wait_at_most(deadline)
            data = self._sock.recv(_READ_BYTES)
        except TimeoutError:
            raise exchange.not_in_time(self._place) from None
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise exchange.broken(self._place, why) from error
        if data:
            incoming.feed(data)
        else:
            incoming.end()
        if incoming.is_broken:
            why = exchange.NOT_HTTP if data else exchange.CLOSED
            raise exchange.broken(self._place, why)

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def _wait_at_most(self, deadline: float) -> None:
        left_s = deadline - monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._sock.settimeout(min(left_s, _LONGEST_S))


_LONGEST_S = 86_400.0
"""Sockets take no infinite time."""


class Pieces:
    """The body of an answer, piece by piece."""

    def __init__(
        self, wire: Wire, connection: _Connection, incoming: Incoming, pause_s: float
    ) -> None:
        """``pause_s`` is how long the next piece may take."""
        self._wire = wire
        self._connection = connection
        self._incoming = incoming
        self._pause_s = pause_s
        self._is_open = True

    def __iter__(self) -> Iterator[bytes]:
        """Yield what comes, as it comes; raises CallLostError and CallTimeoutError."""
        incoming = self._incoming
        try:
            while self._is_open:
                if data := incoming.take():
                    yield data
                elif incoming.is_done:
                    self.close()
                else:
                    self._connection.read_more(incoming, monotonic() + self._pause_s)
        except (CallLostError, CallTimeoutError):
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connection; one on which more would come is hung up."""
        if self._is_open:
            self._is_open = False
            self._wire.give_back(self._connection, self._incoming)
