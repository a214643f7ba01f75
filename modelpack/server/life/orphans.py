"""No process is left behind: children end with their parent, and process 1 buries the dead.

    child:      tie_to(parent)        the kernel kills it when the thread that started it ends
    process 1:  Undertaker.sweep()    reaps processes whose own parents are gone

In a container that somebody made himself the server may be process 1 (images of modelpack have an
``init``), and every process there that loses its parent becomes its child.  Nobody waits for those,
and each would stay a zombie.  Children of the service's own are waited for by the service, so only
one that is dead at two sweeps in a row is reaped.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

SWEEP_S = 30.0
"""How often process 1 looks for the dead."""

_PR_SET_PDEATHSIG = 1


def tie_to(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Let this process be killed when ``parent`` ends, and end at once if that is gone already.

    Called by the child itself, first thing.  It is bound to the thread of the parent that started
    it, so the parent has to start it from a thread that lives as long as the parent does.
    """
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))
    if os.getppid() != parent:
        os._exit(1)


class Undertaker:
    """Reaps the dead children that nobody waits for."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def sweep(self) -> list[int]:
        """Reap who was dead at the last sweep too; returns their ids."""
        dead = {pid for pid in _children() if _is_dead(pid)}
        reaped = []
        for pid in dead & self._seen:
            with suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    reaped.append(pid)
        self._seen = dead - set(reaped)
        return reaped


def _children() -> list[int]:
    found: list[int] = []
    for thread in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, thread.read_text().split())
    return found


def _is_dead(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    # The second field is the program's name in brackets and may hold anything.
    return stat.rpartition(")")[2].split()[0] == "Z"
