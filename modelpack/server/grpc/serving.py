"""What the methods of gRPC know of the server that they are part of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from time import monotonic

from modelpack.config.settings import ServerSettings
from modelpack.server.faces.catalog import Catalog
from modelpack.server.http.heads import RequestIds

STEP_S = 0.01
"""How often is looked whether something has changed."""

_QUIET_STEPS = 3


class Calls:
    """Counts requests while they run, and those that the end of the server has cut off.

    ``with calls:`` stands around what answers one.
    """

    def __init__(self) -> None:
        self.running = 0
        self.released: asyncio.Event | None = None
        """Set when answers may be sent; None: they may.

        While they wait, nobody begins a call who waits for an answer first.
        """
        self.cut_off = 0
        self.cut_from_s = inf
        """From when on (``monotonic``) calls are cut off; before, only their clients end them."""

    def __enter__(self) -> None:
        self.running += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.running -= 1
        if kind is not None and not issubclass(kind, Exception):  # cancelled, or dropped
            self.cut_off += monotonic() >= self.cut_from_s

    async def settle(self, limit_s: float) -> None:
        """Return when no call has begun for a moment."""
        end, quiet = monotonic() + limit_s, 0
        while quiet < _QUIET_STEPS and monotonic() < end:
            before = self.running
            await asyncio.sleep(STEP_S)
            quiet = 0 if self.running > before else quiet + 1


@dataclass(frozen=True, slots=True)
class Serving:
    """One process's server, as its gRPC methods see it."""

    settings: ServerSettings
    catalog: Callable[[], Catalog]
    """Returns what is served at this moment."""
    ids: RequestIds
    ending: asyncio.Event
    """Set when calls that nothing is under way on are to end."""
    calls: Calls = field(default_factory=Calls)
