"""Whether there is memory for a second revision beside the one that runs.

    /proc/PID/smaps_rollup of its processes ──► what one takes
    /proc/meminfo, the limit of the container ──► what is there

Sources: proc_pid_smaps(5), proc_meminfo(5); memory.max and memory.current of cgroups(7), version 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


def memory_of(leaders: Iterable[int], proc: Path = _PROC) -> int:
    """Return the bytes that groups of processes take, each page shared out to those who have it."""
    groups = set(leaders)
    members = [
        entry for entry in proc.iterdir() if entry.name.isdigit() and _group_of(entry) in groups
    ]
    return sum(_field(entry / "smaps_rollup", "Pss:") or 0 for entry in members)


def free_memory(proc: Path = _PROC, cgroup: Path = _CGROUP) -> int | None:
    """Return the bytes that more processes may take; None: nobody can say."""
    there = [_field(proc / "meminfo", "MemAvailable:")]
    limit, used = (_number(cgroup / name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:
        there.append(max(limit - used, 0))
    known = [one for one in there if one is not None]
    return min(known) if known else None


def _group_of(entry: Path) -> int | None:
    try:
        # The second field is the program's name in brackets and may hold anything.
        return int((entry / "stat").read_text().rpartition(")")[2].split()[2])
    except (OSError, ValueError, IndexError):
        return None


def _field(file: Path, name: str) -> int | None:
    """Return the bytes behind a name in a file whose lines are ``Name:  NUMBER kB``."""
    try:
        lines = file.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())  # "max" is no number
    except (OSError, ValueError):
        return None
