"""Names one process for sure, and ends it.

A process id alone is not a name: it is given to another process later.  Together with the tick at
which the process started (``/proc/PID/stat``, field 22) and the id of the boot it is one.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process of this machine, of this boot."""

    pid: int
    started: int
    """Clock ticks from the boot to its start."""
    boot: str

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """Return the identity of a process that runs, else None."""
        started = _start_tick(pid)
        return None if started is None else cls(pid, started, _boot_id())

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> ProcessId | None:
        """Read what ``to_json`` wrote; None when there is nothing that can be read."""
        try:
            return cls(int(value["pid"]), int(value["started"]), str(value["boot"]))  # type: ignore[index]
        except (KeyError, TypeError, ValueError):
            return None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @property
    def is_alive(self) -> bool:
        """True while this very process runs."""
        return ProcessId.of(self.pid) == self

    @property
    def is_of_this_boot(self) -> bool:
        """False when the machine has been started anew since."""
        return self.boot == _boot_id()

    def stop(self, grace_s: float) -> None:
        """Ask it to end and wait; end it by force after ``grace_s``; gone when this returns."""
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
            if not self.is_alive:
                return
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
            deadline = time.monotonic() + wait_s
            while self.is_alive and time.monotonic() < deadline:
                time.sleep(0.02)


def _start_tick(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the program's name in brackets and may hold anything.
    state, *rest = stat.rpartition(")")[2].split()
    # A zombie has ended; only its parent has not looked yet.
    return None if state in "ZX" else int(rest[18])


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
