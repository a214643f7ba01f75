"""The lines that a service wrote, out of Cloud Logging.

    entries.list, page by page ──► lines, oldest first ──follow──► and those that come later

Entries come in late and out of order: while following, the last half minute is looked at again.
Source: Cloud Logging API v2 (``entries.list``: ``orderBy``, ``pageToken``) and "Logging query language".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from modelpack_gcp.session import Google

_POLL_S = 3.0
_LATE = timedelta(seconds=30)
_PAGE = 1000


def log_lines(google: Google, chosen: str, *, follow: bool, tail: int | None) -> Iterator[str]:
    """Yield the lines that a filter of Cloud Logging chooses; with ``follow`` there is no end."""
    seen: dict[str, str] = {}
    if tail is None:
        yield from _lines(google, chosen, seen, "timestamp asc")
    elif tail > 0:
        newest: list[str] = []
        for line in _lines(google, chosen, seen, "timestamp desc", most=tail):
            newest.append(line)
            if len(newest) >= tail:
                break
        yield from reversed(newest)
    while follow:
        google.clock.sleep(_POLL_S)
        since = _before(max(seen.values(), default=""))
        seen = {key: at for key, at in seen.items() if at >= since.rstrip("Z")}
        later = f'{chosen} AND timestamp >= "{since}"' if since else chosen
        yield from _lines(google, later, seen, "timestamp asc")


def text_of(entry: Mapping[str, Any]) -> list[str]:
    """Return an entry as the lines that were written: ours are JSON, which Google takes apart."""
    if "textPayload" in entry:
        return str(entry["textPayload"]).splitlines() or [""]
    if "jsonPayload" in entry:
        return [json.dumps(entry["jsonPayload"], separators=(",", ":"), ensure_ascii=False)]
    return []


def _lines(
    google: Google, chosen: str, seen: dict[str, str], order: str, *, most: int | None = None
) -> Iterator[str]:
    asked: dict[str, Any] = {
        "resourceNames": [f"projects/{google.project}"],
        "filter": chosen,
        "orderBy": order,
        "pageSize": min(most or _PAGE, _PAGE),
    }
    is_backwards = order.endswith("desc")
    while True:
        page = google.call("logging.entries.list", "read the log", asked)
        for entry in page.get("entries") or ():
            key = f"{entry.get('timestamp')}/{entry.get('insertId')}"
            if key not in seen:
                seen[key] = str(entry.get("timestamp") or "")
                lines = text_of(entry)
                yield from reversed(lines) if is_backwards else lines
        if not page.get("nextPageToken"):
            return
        asked["pageToken"] = page["nextPageToken"]


def _before(moment: str) -> str:
    """Return the time half a minute before one of Google's, in its form; empty for none."""
    try:
        found = datetime.fromisoformat(moment.partition(".")[0].rstrip("Z"))
    except ValueError:
        return ""
    return (found.replace(tzinfo=UTC) - _LATE).strftime("%Y-%m-%dT%H:%M:%SZ")
