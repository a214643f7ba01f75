"""How long is waited for whom, and what happens then.

    head      head_timeout_s in all                                             408
    body      body_timeout_s without a byte, or less than 500 bytes a second    408
    answer    a minute in which nothing of it is taken                          cut off
    refused   two seconds to read why                                           closed
    idle      keep_alive_s; two seconds while others wait for the place         closed
    closed    with TLS, until all that was written has arrived                  cut off

``sweep`` looks at every connection once a second.  A client that cannot send because we do not read
is not to blame, so that time does not count.  A connection that is closed with TLS waits for the
peer's goodbye, and a client that keeps it in a pool does not even look.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from modelpack.server.http.front import LEAST_RATE, LINGER_S, QUIET_S, SPARE_S, STALL_S
from modelpack.server.http.listening import is_readable, unsent_bytes
from modelpack.server.problems import request_timeout

if TYPE_CHECKING:
    from modelpack.server.http.connection import GuardedProtocol

# Where a connection stands: between requests, in a head, in a body, or answered for good.
IDLE, HEAD, BODY, DEAF = range(4)


class Stall:
    """Notices that a client takes nothing of what is written for it."""

    __slots__ = ("_since", "_size")

    def __init__(self) -> None:
        self._size, self._since = 0, 0.0

    def is_over(self, size: int, now: float) -> bool:
        """Say whether it is time to give up; ``size``: bytes that are written and not taken."""
        if size != self._size or not size:
            self._size, self._since = size, now
        return now - self._since > STALL_S


class OnWire:
    """What every kind of connection knows of its transport."""

    transport: asyncio.Transport

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        number: int = self.transport.get_extra_info("socket").fileno()
        return number

    @property
    def is_tls(self) -> bool:
        """True when the connection is secured."""
        return self.transport.get_extra_info("sslcontext") is not None

    @property
    def waiting_bytes(self) -> int:
        """What is written for the client and has not arrived there; 0: the kernel has all of it."""
        size = self.transport.get_write_buffer_size()
        return size and size + unsent_bytes(self.fileno())

    @property
    def is_over(self) -> bool:
        """True when a closed connection only waits for the peer's goodbye, as with TLS."""
        if not (self.transport.is_closing() and self.is_tls) or self.waiting_bytes:
            return False
        number = self.fileno()
        return number < 0 or not (unsent_bytes(number) or is_readable(number))


def sweep(connection: GuardedProtocol) -> None:
    """End a connection that has stood still for too long."""
    front, transport, phase = connection.front, connection.transport, connection.phase
    now = front.now
    if connection.stall.is_over(connection.waiting_bytes, now) or connection.is_over:
        transport.abort()
    elif transport.is_closing():
        return
    elif phase == HEAD:
        if now - connection.phase_since > front.head_timeout_s:
            connection.refuse(request_timeout("the head of the request did not arrive in time"))
    elif phase == BODY:
        if connection.flow.read_paused:
            connection.since = connection.phase_since = now
        elif _is_late(connection, now):
            connection.refuse(request_timeout("the body of the request did not arrive in time"))
    elif phase == DEAF:
        if connection.is_closable and _has_read_why(connection, now):
            transport.close()
    elif connection.is_idle:
        kept_s = min(front.keep_alive_s, SPARE_S) if front.is_full() else front.keep_alive_s
        if now - connection.since > kept_s and not is_readable(connection.fileno()):
            transport.close()


def _is_late(connection: GuardedProtocol, now: float) -> bool:
    limit_s = connection.front.body_timeout_s
    allowed_s = limit_s + connection.body_bytes / LEAST_RATE
    return now - connection.since > limit_s or now - connection.phase_since > allowed_s


def _has_read_why(connection: GuardedProtocol, now: float) -> bool:
    """Say whether a refused client had its time."""
    if now - connection.phase_since > LINGER_S:
        return True
    # TLS cannot end one side, so the client may wait for us.
    last = max(connection.since, connection.phase_since)
    return connection.is_tls and now - last > QUIET_S
