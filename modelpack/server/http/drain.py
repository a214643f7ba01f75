"""Ends the connections of a server without losing a request.

    linger: answer what still comes ─► stop listening ─► close what is idle ─► wait ─► cut off

A client that was just sending when the signal came must not find its connection closed.  So idle
connections stay open for ``LINGER_S``, each answer of that time closes its own, and after it a
connection is closed only when nothing has arrived on it that nobody has read.  The listening socket
is closed when the kernel takes no new connections for it and has none left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import cast

from uvicorn.server import ServerState

from modelpack.server.endpoint import Endpoint
from modelpack.server.http.accepting import Acceptor
from modelpack.server.http.listening import is_readable, refuse_newcomers
from modelpack.server.http.protocol import FastProtocol
from modelpack.server.observe.logs import event

LINGER_S = 0.5
"""How long an idle connection may bring one more request."""

HANDSHAKE_S = 1.0
"""How long after that a TLS handshake may take that had begun."""

_STEP_S = 0.01
_QUIET_STEPS = 3
_LAST_WORDS_S = 0.5


async def drain(
    acceptor: Acceptor,
    state: ServerState,
    endpoints: Sequence[Endpoint],
    *,
    grace_s: float,
    force: asyncio.Event,
    hands_over: bool = False,
    is_busy: Callable[[], bool] = lambda: False,
    is_said: bool = True,
) -> bool:
    """End every connection within ``grace_s``; returns False when some had to be cut off.

    With ``hands_over`` other processes go on accepting from the same socket: this one leaves them
    whoever comes, at once.  While ``is_busy`` there is something else that has the grace period, and
    that is not lost when it is cut off.  Without ``is_said`` nothing is logged: nobody was served.
    """
    began = monotonic()
    if is_said:
        event("draining", connections=len(state.connections))
    if hands_over:
        acceptor.close()
    listeners = [one.fileno() for one in acceptor.sockets]

    def is_over(limit_s: float) -> bool:
        return force.is_set() or monotonic() - began >= limit_s

    def is_knocked_at() -> bool:
        return any(is_readable(number) for number in listeners)

    while (acceptor.open_count or is_knocked_at()) and not is_over(min(LINGER_S, grace_s)):
        await asyncio.sleep(_STEP_S)
    for number in listeners:
        refuse_newcomers(number)
    quiet = 0
    while listeners and quiet < _QUIET_STEPS and not is_over(grace_s):
        quiet = 0 if is_knocked_at() else quiet + 1
        await asyncio.sleep(_STEP_S)
    acceptor.close()
    while (acceptor.open_count or state.tasks or is_busy()) and not is_over(grace_s):
        close_idle(state)
        if is_over(LINGER_S + HANDSHAKE_S):
            acceptor.hang_up()
        await asyncio.sleep(_STEP_S)
    is_clean = not (acceptor.open_count or state.tasks)
    if not is_clean:
        await _cut_off(state, endpoints)
    for endpoint in endpoints:
        endpoint.close()
    return is_clean


def close_idle(state: ServerState) -> None:
    """Close the connections that nothing is under way on, in either direction."""
    for connection in _connections(state):
        if connection.is_closable and not is_readable(connection.fileno()):
            connection.transport.close()
        if connection.is_over:
            connection.transport.abort()


async def _cut_off(state: ServerState, endpoints: Sequence[Endpoint]) -> None:
    """Answer 503 to what is left, then break the connections."""
    event("cut-off", connections=len(state.connections), tasks=len(state.tasks))
    for endpoint in endpoints:
        endpoint.close()
    end = monotonic() + _LAST_WORDS_S
    while state.connections and monotonic() < end:
        close_idle(state)
        await asyncio.sleep(_STEP_S)
    for task in list(state.tasks):
        task.cancel()
    for connection in _connections(state):
        connection.transport.abort()
    await asyncio.sleep(_STEP_S)


def _connections(state: ServerState) -> list[FastProtocol]:
    return cast("list[FastProtocol]", list(state.connections))
