"""SIGTERM and SIGINT: begin to end; a second SIGINT: end now.

    signal ─► handler, between two bytecodes ─► stop(), on the event loop
                └─► watchdog thread: the process is gone after the grace period and two seconds

The watchdog is for a service that blocks the event loop itself, when nothing else can run.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, NoReturn

from modelpack.server.observe.logs import event
from modelpack.server.runners.threads import calls_are_running

EXIT_INTERRUPTED = 130
_EXIT_CUT_OFF = 1
_WATCHDOG_S = 1.8
_THREADS_S = 2.0


class StopSignals:
    """Handles both signals while it is open; in another thread than the main one, none."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[], None] = lambda: None
        self._before: dict[int, Any] = {}
        self._is_over = threading.Event()
        self._count = 0

    def __enter__(self) -> StopSignals:
        """Take the signals."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        self._is_over.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def call(self, loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
        """Call ``stop`` on the event loop at each signal that counts."""
        self._loop, self._stop = loop, stop
        for _ in range(self._count):  # they came before there was a loop
            loop.call_soon(stop)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            threading.Thread(target=self._watch, name="modelpack-watchdog", daemon=True).start()
        elif number != signal.SIGINT:
            return  # a manager may repeat SIGTERM; only a person means "now"
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop)

    def _watch(self) -> None:
        if not self._is_over.wait(self._grace_s + _WATCHDOG_S):
            event("killed", reason="the service did not let the server end")
            os._exit(_EXIT_CUT_OFF)


def leave(status: int) -> NoReturn:
    """Exit; threads of the service that never end are not waited for longer than two seconds."""
    if calls_are_running():
        # Native code that comes back while the interpreter ends would abort the process.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    timer = threading.Timer(_THREADS_S, os._exit, (status,))
    timer.daemon = True
    timer.start()
    sys.exit(status)
