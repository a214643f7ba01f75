"""The lines that a container app wrote, from the log stream of its replicas.

    replicas of a revision ──► logstream?output=json&tailLines=300 ──► lines, oldest first ──follow──► later ones

Azure gives a token for the streams of one app; a stream goes back 300 lines, and a replica that is gone
has taken its lines along.  What is older stands in the Log Analytics workspace of the environment, if it
has one (table ``ContainerAppConsoleLogs_CL``), which is not asked.

Facts: Azure Container Apps, "View log streams", and the calls of ``az containerapp logs show``.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from typing import Any

from modelpack.errors import DeployError, ModelpackError
from modelpack_azure.app_body import API, CONTAINER
from modelpack_azure.modes import Place

MOST_LINES = 300
_POLL_S = 3.0


def log_lines(
    place: Place, path: str, revision: str, *, follow: bool, tail: int | None
) -> Iterator[str]:
    """Yield the lines of a revision of the app at a path."""
    found = _read(place, path, revision, MOST_LINES if tail is None else min(tail, MOST_LINES))
    last: dict[str, str] = {}
    for replica, when, _ in found:
        last[replica] = max(when, last.get(replica, ""))
    lines = [line for _, _, line in found]
    yield from lines if tail is None else deque(lines, maxlen=tail)
    while follow:
        place.clock.sleep(_POLL_S)
        try:
            found = _read(place, path, revision, MOST_LINES)
        except ModelpackError:
            return  # it has ended
        for replica, when, line in found:
            if when > last.get(replica, ""):
                last[replica] = when
                yield line


def _read(place: Place, path: str, revision: str, tail: int) -> list[tuple[str, str, str]]:
    """Return replica, time and text of the last lines of all replicas, oldest first."""
    replicas = place.calls.pages(f"{path}/revisions/{revision}/replicas", API)
    if not replicas:
        return []
    given = place.calls.post(f"{path}/getAuthToken", API)
    token = str((given.get("properties") or {}).get("token") or "")
    found = []
    for replica in replicas:
        for one in (replica.get("properties") or {}).get("containers") or ():
            if one.get("name") == CONTAINER and one.get("logStreamEndpoint"):
                url = f"{one['logStreamEndpoint']}?follow=false&output=json&tailLines={tail}"
                status, body = place.calls.fetch(url, token=token)
                if status != 200:
                    raise DeployError(
                        f"the log stream of '{replica.get('name')}' answers HTTP {status}"
                    )
                found += [
                    (str(replica.get("name")), *_line(raw)) for raw in body.splitlines() if raw
                ]
    return sorted(found, key=lambda one: one[1])


def _line(raw: bytes) -> tuple[str, str]:
    """Return time and text of a line of a stream; what is no JSON is text."""
    text = raw.decode("utf-8", "replace")
    try:
        value: Any = json.loads(text)
        return str(value["TimeStamp"]), str(value["Log"]).rstrip("\r\n")
    except (ValueError, KeyError, TypeError):
        return "", text
