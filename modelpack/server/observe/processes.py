"""What the processes of a server use together, read from ``/proc``.

    tree(pid) ──► pids ──Processes.read──► Usage

A server may be several processes, and they come and go.  Processor time of a process that has gone
still counts: a sum that fell would look like a restart to whoever computes a rate of it.  Memory
is the sum of resident sizes; pages that processes share are in it as often as they are shared.
Without ``/proc`` there is nothing to read, and everything is 0.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

PROC = Path("/proc")


@dataclass(slots=True)
class Usage:
    """What some processes use together."""

    count: int = 0
    cpu_s: float = 0.0
    resident_bytes: int = 0
    virtual_bytes: int = 0
    open_fds: int = 0
    max_fds: int = 0
    """Limit on open files, added up."""
    started: float = 0.0
    """When the oldest of them was started, as a Unix time."""


@dataclass(slots=True)
class Processes:
    """Adds up the processes of one server."""

    _seen: dict[tuple[int, int], float] = field(default_factory=dict)
    """Processor time by pid and time of start: pids are used again."""
    _gone_s: float = 0.0

    def read(self, pids: Iterable[int]) -> Usage:
        """Return what the processes use now; those that have ended meanwhile are left out."""
        usage = Usage()
        seen: dict[tuple[int, int], float] = {}
        for pid in dict.fromkeys(pids):
            with suppress(OSError):  # it has ended, or belongs to somebody else
                self._add(usage, pid, seen)
        self._gone_s += sum(s for process, s in self._seen.items() if process not in seen)
        self._seen = seen
        usage.cpu_s = self._gone_s + sum(seen.values())
        return usage

    def _add(self, usage: Usage, pid: int, seen: dict[tuple[int, int], float]) -> None:
        folder = PROC / str(pid)
        # The name of the program, in parentheses, may hold anything.
        stat = (folder / "stat").read_bytes().rpartition(b")")[2].split()
        ticks = int(stat[19])
        seen[pid, ticks] = (int(stat[11]) + int(stat[12])) / _ticks_a_second()
        started = _boot_time() + ticks / _ticks_a_second()
        usage.started = min(usage.started or started, started)
        usage.count += 1
        usage.virtual_bytes += int(stat[20])
        usage.resident_bytes += int(stat[21]) * os.sysconf("SC_PAGE_SIZE")
        usage.open_fds += len(os.listdir(folder / "fd"))  # noqa: PTH208 (half the time of iterdir)
        for line in (folder / "limits").read_text().splitlines():
            if line.startswith("Max open files"):
                soft = line.split()[3]
                usage.max_fds += int(soft) if soft.isdigit() else 0


def tree(root: int) -> list[int]:
    """Return the pid of a process and those of all its descendants."""
    found = [root]
    for pid in found:  # grows as it goes
        with suppress(OSError):
            for thread in (PROC / str(pid) / "task").iterdir():
                found += map(int, (thread / "children").read_text().split())
    return found


@cache
def _ticks_a_second() -> int:
    return os.sysconf("SC_CLK_TCK")


@cache
def _boot_time() -> float:
    lines = (PROC / "stat").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("btime "))
