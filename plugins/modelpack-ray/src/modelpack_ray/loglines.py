"""The lines of a service's replicas, through Ray's API for logs.

    nodes ──glob modelpack_APP_*──► files ──► lines, by their times; "N | " before each when there are more

Each replica writes a file beside the log that Serve keeps of it; that of one which has ended stays there
as long as its node does.

Source: Ray's documentation, "State API" (``/api/v0/logs``, ``/api/v0/logs/file``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Protocol

from modelpack.deploy import Clock

_MOST = 10_000
_EVERY_S = 1.0


class Logs(Protocol):
    """Gives log files of nodes: a dashboard, or a stand-in."""

    def nodes(self) -> list[str]:
        """Return the ids of the nodes."""

    def log_files(self, node: str, glob: str) -> list[str]:
        """Return the files of a node that fit."""

    def log_lines(self, node: str, file: str, most: int) -> list[str]:
        """Return the last lines of a file."""


def lines_of(logs: Logs, application: str, tail: int | None = None) -> list[str]:
    """Return the lines of all replicas of an application, oldest first."""
    glob = f"serve/modelpack_{application}_*"
    of_files = {  # nodes that share a machine share its folder of logs
        file: node
        for node in logs.nodes()
        for file in logs.log_files(node, glob)
        if not file.endswith(".1")
    }
    found: list[tuple[str, int, str]] = []
    for number, (file, node) in enumerate(sorted(of_files.items()), 1):
        time = ""
        for line in logs.log_lines(node, file, tail if tail is not None else _MOST):
            time = _time_of(line) or time
            found.append((time, number, line))
    if len(of_files) > 1:
        found.sort(key=lambda one: one[0])  # stable: lines without a time stay behind theirs
    lines = [f"{number} | {line}" if len(of_files) > 1 else line for _, number, line in found]
    return lines if tail is None else lines[len(lines) - tail :] if tail < len(lines) else lines


def followed(
    read: Callable[[], list[str]], is_there: Callable[[], bool], clock: Clock
) -> Iterator[str]:
    """Yield lines as they come, until the service has ended."""
    seen: list[str] = []
    while True:
        goes_on = is_there()
        lines = read()
        yield from _new(seen, lines)
        seen = lines
        if not goes_on:
            return
        clock.sleep(_EVERY_S)


def _new(seen: list[str], lines: list[str]) -> list[str]:
    """Return the lines that were not there before."""
    if not seen:
        return lines
    known: dict[str, int] = {}
    for line in seen:
        known[line] = known.get(line, 0) + 1
    fresh = []
    for line in lines:
        if known.get(line):
            known[line] -= 1
        else:
            fresh.append(line)
    return fresh


def _time_of(line: str) -> str:
    try:
        return str(json.loads(line)["time"])
    except (ValueError, KeyError, TypeError):
        return ""
