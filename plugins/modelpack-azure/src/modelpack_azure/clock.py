"""Time as an argument, so that tests need not wait; and who can be reached from here."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_REACH_S = 2.0


@dataclass(frozen=True, slots=True)
class Clock:
    """Gives the time in seconds, and waits."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def is_reachable(url: str) -> bool:
    """Return whether somebody listens at a URL, seen from this machine."""
    parts = urlsplit(url)
    where = (parts.hostname or "", parts.port or 443)
    try:
        socket.create_connection(where, timeout=_REACH_S).close()
    except OSError:
        return False
    return True


def time_of(text: Any) -> str | None:
    """Return a time of Azure as RFC 3339 in UTC, to the second; None for anything else."""
    match = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", str(text or ""))
    return f"{match[0]}Z" if match else None
