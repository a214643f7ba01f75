"""Whether a call lets other Python code run meanwhile: measured, since nobody says so.

    call in a thread of its own ─┬─► how long it took
    probe thread: sleep, look ───┴─► how much of that time the probe could not get the lock

A thread that wakes up needs the interpreter lock before it can do anything.  While a call computes in
native code that releases the lock, the probe has it at once; while a call holds it, the probe waits,
at pure Python code one switch interval each time, at native code until that is done.  How long a
thread waited for a processor is known from the kernel and is not counted, so a busy machine alone
does not look like a held lock.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter, sleep

_PERIOD_S = 0.5e-3
_SLACK_S = 0.4e-3
"""A sleep that is longer by no more than this says nothing: timers are not exact."""


class LockProbe:
    """Watches the lock from a thread of its own while a block runs."""

    def __init__(self) -> None:
        self.held_s = 0.0
        """How long the probe waited for the lock."""
        self.watched_s = 0.0
        """How long it watched, without the time in which it had no processor."""
        self._has_begun = threading.Event()
        self._is_over = False

    @property
    def share(self) -> float:
        """Share of the time during which the lock was held, from 0 to 1."""
        return self.held_s / self.watched_s if self.watched_s else 0.0

    def watch(self) -> None:
        """Look again and again until the block is over."""
        with _waited_for_processor() as waited:
            last, queued = perf_counter(), waited()
            self._has_begun.set()
            while not self._is_over:
                sleep(_PERIOD_S)
                now, queued_now = perf_counter(), waited()
                passed = now - last - (queued_now - queued)
                if passed - _PERIOD_S > _SLACK_S:
                    self.held_s += passed - _PERIOD_S
                self.watched_s += passed
                last, queued = now, queued_now

    def wait_begun(self) -> None:
        """Return once it watches: a call that never lets go would keep it from beginning."""
        self._has_begun.wait()

    def end(self) -> None:
        """End the watch."""
        self._is_over = True


@contextmanager
def watching_lock() -> Iterator[LockProbe]:
    """Watch the lock meanwhile; the probe is to be read after the block, which takes 0.5 ms more."""
    probe = LockProbe()
    thread = threading.Thread(target=probe.watch, name="modelpack-probe", daemon=True)
    thread.start()
    probe.wait_begun()
    try:
        yield probe
    finally:
        probe.end()
        thread.join()


@contextmanager
def _waited_for_processor() -> Iterator[Callable[[], float]]:
    """Return what tells how long the calling thread was ready and did not run, in seconds.

    Where the kernel does not say, it is always 0.
    """
    try:
        # https://docs.kernel.org/scheduler/sched-stats.html: time run, time waited, in nanoseconds
        file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    except OSError:
        yield lambda: 0.0
        return

    def waited() -> float:
        try:
            return int(os.pread(file, 64, 0).split()[1]) * 1e-9
        except (OSError, IndexError, ValueError):
            return 0.0

    try:
        yield waited
    finally:
        os.close(file)
