"""Wakes the event loop at a time, to within some 60 µs.

The timers of an event loop count in milliseconds: at 5,000 requests a second five would leave at
once every millisecond, and half a millisecond of our own would stand in each latency.  Linux's
``timerfd`` is a clock that can be waited for like a socket.  Where it is not, the loop's timers serve,
and what they are late is in the run's figures (``clock_late``).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable

_MONOTONIC = 1
_ABSOLUTE = 1
_FLAGS = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)


class _Timespec(ctypes.Structure):
    _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]


class _Setting(ctypes.Structure):
    _fields_ = [("interval", _Timespec), ("value", _Timespec)]


class Alarm:
    """Calls ``ring`` once for each ``set``; a later ``set`` takes the place of one before it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._setting = _Setting()
        self._fd = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._fd = self._libc.timerfd_create(_MONOTONIC, _FLAGS)
        if self._fd >= 0:
            self._loop.add_reader(self._fd, ring)

    def set(self, at: float) -> None:
        """Ring at this time of ``time.perf_counter``, at once when it has passed.

        Setting it anew also stills it: until then a clock that has run out keeps on ringing.
        """
        if self._fd < 0:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(max(at - time.perf_counter(), 0.0), self._ring)
            return
        value = self._setting.value
        value.s = int(at)
        value.ns = int((at - value.s) * 1e9)
        self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(self._setting), None)

    def close(self) -> None:
        """Ring no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
