"""Processors, and what a tree of processes uses of them.

taskset -c 0: the server and all that it starts      taskset -c 1: whoever loads it
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Pins:
    """Command prefixes that give server and load a processor each; empty where there is only one."""

    server: tuple[str, ...]
    load: tuple[str, ...]

    @property
    def is_apart(self) -> bool:
        """True when they really have one each."""
        return bool(self.server)


def pins() -> Pins:
    """Return how this machine's first two processors are shared out."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2 or shutil.which("taskset") is None:
        return Pins((), ())
    return Pins(("taskset", "-c", str(usable[0])), ("taskset", "-c", str(usable[1])))


@dataclass(frozen=True, slots=True)
class Tree:
    """A process and all that it started."""

    root: int

    def pids(self) -> list[int]:
        """Return the processes that run now, the root first."""
        found = [self.root]
        for pid in found:
            found += _children(pid)
        return found

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let none of its processes run: idle ones wake up as well, and cool the others' caches."""
        self._tell(signal.SIGSTOP)
        try:
            yield
        finally:
            self._tell(signal.SIGCONT)

    def _tell(self, number: signal.Signals) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def cpu_s(self) -> float:
        """Return the processor time used, that of children that have ended included."""
        total = 0
        for pid in self.pids():
            fields = _stat(pid)
            if fields:
                # utime, stime, and those of children that were waited for
                total += sum(map(int, fields[11:15]))
        return total / TICKS_A_SECOND

    def resident_bytes(self) -> int:
        """Return resident memory, shared pages counted once a process that maps them is counted
        proportionally (PSS), so that forks are not counted twice."""
        return sum(_pss_bytes(pid) for pid in self.pids())


def _children(pid: int) -> Iterator[int]:
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            yield from map(int, (task / "children").read_text().split())
    except OSError:
        return


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _pss_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in text.splitlines()[1:] if ":" in line)
    return int(fields["Pss"].split()[0]) * 1024


def rss_bytes(pid: int) -> int:
    """Return the resident memory of one process as ``ps`` shows it."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
