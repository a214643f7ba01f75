"""What a platform says, in a form that can stand in a message or a status.

``one_line`` makes one line of whatever it wrote, ``moment`` a time as we write times, and
``is_reachable`` sees whether somebody listens where it says that a service answers.
"""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime
from urllib.parse import urlsplit

_REACH_S = 2.0
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def one_line(text: str, most: int = 240) -> str:
    """Return text in one line of at most so many characters; what steers a terminal is left out."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def moment(said: object) -> str | None:
    """Return a time in UTC as RFC 3339, to the second; None for what is none.

    said  a datetime with a zone, or text as platforms write it in UTC (``2026-03-01T10:00:00.5Z``)
    """
    if isinstance(said, datetime):
        return said.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = _MOMENT.match(str(said or ""))
    return None if found is None else f"{found[0]}Z"


def is_reachable(url: str) -> bool:
    """Return whether somebody listens at a URL, seen from this machine; takes 2 s at the most."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=_REACH_S).close()
    except OSError:
        return False
    return True
