"""The lines that a service wrote, out of CloudWatch Logs.

    filter_log_events, page by page ──► lines, oldest first ──follow──► and those that come later

All streams of a group are read together, in the order of their times.  Wire facts: CloudWatch Logs
API, ``FilterLogEvents`` (pages of 1 MB, some of them empty).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from modelpack_aws.session import Clients, said

POLL_S = 2.0

_LATE_MS = 30_000
"""Events come in late and out of order: so far back is looked again."""


def log_lines(
    clients: Clients,
    group: str,
    *,
    follow: bool,
    tail: int | None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """Yield the lines of a log group; ``tail`` starts at the last so many, ``follow`` has no end."""
    seen: dict[str, int] = {}
    found = _events(clients, group, None, seen)
    last: Iterator[str] = iter(deque(found, maxlen=tail)) if tail is not None else found
    yield from last
    while follow:
        sleep(POLL_S)
        newest = max(seen.values(), default=0)
        seen = {key: at for key, at in seen.items() if at >= newest - _LATE_MS}
        yield from _events(clients, group, max(0, newest - _LATE_MS), seen)


def _events(
    clients: Clients, group: str, since_ms: int | None, seen: dict[str, int]
) -> Iterator[str]:
    """Yield the lines of events that were not seen yet, and note them."""
    api = clients.client("logs")
    asked: dict[str, Any] = {"logGroupName": group}
    if since_ms is not None:
        asked["startTime"] = since_ms
    while True:
        with said(f"read the log '{group}'"):
            page = api.filter_log_events(**asked)
        for event in page.get("events") or ():
            if event["eventId"] not in seen:
                seen[event["eventId"]] = int(event["timestamp"])
                yield from str(event["message"]).splitlines()
        if not page.get("nextToken"):
            return
        asked["nextToken"] = page["nextToken"]
