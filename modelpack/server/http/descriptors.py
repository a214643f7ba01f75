"""File descriptors: as many as the system gives, and how many of them connections may take.

raise_limit ──► soft limit = hard limit (a million at most)
room_for_connections ──► limit - those open now - a reserve for models, logs and the service
Taken ──► those that connections take: one each, and more for one that goes on to gRPC
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sized
from contextlib import suppress
from pathlib import Path

_HIGHEST = 1 << 20
_RESERVE = 128
_LEAST = 4

FOR_RELAYED = 3
"""What a connection takes that goes on to gRPC: itself, and both ends of the one it goes on by."""


def raise_limit() -> None:
    """Raise the limit on open descriptors as far as this process may."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems allow a thousand million, and some programs then walk through all of them.
    wanted = _HIGHEST if hard == resource.RLIM_INFINITY else min(hard, _HIGHEST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Taken:
    """As many as the descriptors that the connections of a process take."""

    def __init__(self, own: Sized, relayed: Callable[[], int]) -> None:
        """``own`` are connections of HTTP; ``relayed`` returns how many went on to gRPC."""
        self._own = own
        self._relayed = relayed

    def __len__(self) -> int:
        """Return how many they are."""
        return len(self._own) + FOR_RELAYED * self._relayed()


def room_for_connections() -> int:
    """Return how many connections the limit on descriptors leaves room for; at least 4."""
    if sys.platform == "win32":
        return _HIGHEST
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return _HIGHEST
    return max(_LEAST, limit - open_count() - min(_RESERVE, limit // 4))


def open_count() -> int:
    """Return how many descriptors are open; a guess where the system does not say."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return sum(1 for _ in Path(folder).iterdir())
    return 32
