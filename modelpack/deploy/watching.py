"""Waits for descriptors and for moments, in one thread.

    watch.add(socket, call)    call() when there is something to read; another selector can be added
    watch.wait(seconds)        the calls of what has come by then

What a call removes is not called any more, also when it was ready in the same moment.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

_CHUNK = 65536

Source = int | socket.socket | selectors.BaseSelector
Call = Callable[[], object]


class Watch:
    """Descriptors, and what is to be done when one can be read."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add(self, source: Source, call: Call) -> None:
        """Have ``call`` called whenever there is something to read, an end included."""
        self._selector.register(_handle(source), selectors.EVENT_READ, call)

    def remove(self, source: Source) -> None:
        """Forget a descriptor that is still open; one that is not watched is no error."""
        with suppress(KeyError, ValueError):
            self._selector.unregister(_handle(source))

    def wait(self, longest_s: float) -> None:
        """Wait so long at most, and make the calls of what can be read."""
        for key, _ in self._selector.select(max(longest_s, 0.0)):
            if self._selector.get_map().get(key.fd) is key:
                key.data()

    def close(self) -> None:
        """Forget everything."""
        self._selector.close()


def _handle(source: Source) -> int | socket.socket:
    """Return what can be waited for; a selector can be read when one of its own can."""
    if isinstance(source, int | socket.socket):
        return source
    return int(source.fileno())  # type: ignore[attr-defined]  # of epoll(7), where this runs


class Signals:
    """Turns SIGTERM and SIGINT into a flag, and these and SIGCHLD into something to read."""

    def __init__(self, watch: Watch) -> None:
        self.is_stop_wanted = False
        """True once SIGTERM or SIGINT has come."""
        self._read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._want_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        watch.add(self._read_end, self._drain)

    def _want_stop(self, *_: object) -> None:
        self.is_stop_wanted = True

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._read_end, _CHUNK)
