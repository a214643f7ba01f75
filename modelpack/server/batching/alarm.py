"""The one timer of a batcher: it rings when the first of the calls that are held may go."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Alarm:
    """Calls back once, at a moment or a little before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], object]) -> None:
        self._loop = loop
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._at = math.inf

    def set(self, at: float, now: float) -> None:
        """Ring at ``at``, unless it will ring before; infinity: no need to."""
        if at < self._at:
            self.cancel()
            self._at = at
            self._timer = self._loop.call_later(max(0.0, at - now), self._go_off)

    def cancel(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._at = None, math.inf

    def _go_off(self) -> None:
        self._timer, self._at = None, math.inf
        self._ring()
