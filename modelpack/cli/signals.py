"""Ends a command by SIGTERM and SIGHUP as Ctrl-C does, so that it tidies up behind itself."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def as_interrupts() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt in the block.

    A signal that is ignored stays so: ``nohup`` means it.  Only in the main thread.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    heeded = [
        one
        for one in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(one) is not signal.SIG_IGN
    ]
    before = {one: signal.signal(one, interrupt) for one in heeded}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
