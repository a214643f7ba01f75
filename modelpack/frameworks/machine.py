"""How much of the machine this process may use, and how copies of a model share it.

    processors() ──threads_for(copies)──► threads of each copy ──► onnxruntime, by its placement
                                                              ├──► limit_libraries: here, now
                                                              └──► thread_variables: a new process
    memory_bytes() ──► how long a queue may grow (server.life.fitting)

A container's limits are in its control group, and in those above it: the tightest one counts.

    unified hierarchy (v2)   cpu.max                              memory.max, memory.high
    the older one (v1)       cpu.cfs_quota_us, cpu.cfs_period_us  memory.limit_in_bytes

A container mostly sees its own group as the top one; a service of the system, or a container that
shares the groups of its host, finds it by ``/proc/self/cgroup``.  A library that starts a thread for
each processor of the host would be throttled.  Which processors it may run on (cpuset) the kernel
says itself.  Source: docs.kernel.org/admin-guide/cgroup-v2 and cgroup-v1/memory.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")

_CPU_FILES = (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
_MEMORY_FILES = ("memory.max", "memory.high", "memory.limit_in_bytes")
_NO_LIMIT = 1 << 60  # the older hierarchy says a number near 2**63 where there is none


def processors(cgroup: Path = CGROUP, own: Path = OWN_GROUPS) -> int:
    """Return the processors that this process may keep busy, at least 1.

    ``cgroup`` is where control groups are mounted, ``own`` the file that says which are this process's.
    """
    allowed = visible_processors()
    limit = _processor_limit(cgroup, own)
    return max(1, min(allowed, math.ceil(limit) if limit else allowed))


def memory_bytes(cgroup: Path = CGROUP, own: Path = OWN_GROUPS) -> int:
    """Return the memory that this process may use: the container's limit, else the machine's."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(memory_limit(cgroup, own) or pages, pages)


def memory_limit(cgroup: Path = CGROUP, own: Path = OWN_GROUPS) -> int | None:
    """Return the container's limit in bytes; None: there is none."""
    found = []
    for folder in _groups("memory", cgroup, own):
        for name in _MEMORY_FILES:
            try:
                limit = int((folder / name).read_text())  # "max" is no number: no limit
            except (OSError, ValueError):
                continue
            if 0 < limit < _NO_LIMIT:
                found.append(limit)
    return min(found, default=None)


def visible_processors() -> int:
    """Return the processors that libraries see, which know nothing of a container's limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_for(asked: int, copies: int) -> int:
    """Return the threads for each of ``copies`` equal copies of a model; ``asked`` 0: fair shares."""
    return asked or max(1, processors() // copies)


_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def thread_variables(threads: int) -> dict[str, str]:
    """Return variables that give a new process's libraries so many threads.

    What is set in this process's own environment stays as it is.  They count only when they are
    there before the libraries are loaded.
    """
    return {name: str(threads) for name in _VARIABLES if name not in os.environ}


def limit_libraries(threads: int) -> None:
    """Give libraries that are loaded already so many threads, as far as they can be told.

    OpenMP and BLAS are told through threadpoolctl, which comes with scikit-learn, torch by itself.
    OpenMP keeps the number for each thread that calls it: to be called in that very thread.
    """
    if any(name in os.environ for name in _VARIABLES):
        return  # somebody decided for himself
    if find_spec("threadpoolctl") is not None:
        import_module("threadpoolctl").threadpool_limits(threads)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def _processor_limit(cgroup: Path, own: Path) -> float | None:
    """Return the limit of the control groups in processors; None: there is none."""
    found = []
    for folder in _groups("cpu", cgroup, own):
        for names in _CPU_FILES:
            try:
                words = " ".join((folder / name).read_text() for name in names).split()
                quota, period = float(words[0]), float(words[1])  # "max" is no number: no limit
            except (OSError, ValueError, IndexError):
                continue
            if quota > 0 and period > 0:
                found.append(quota / period)
    return min(found, default=None)


def _groups(controller: str, cgroup: Path, own: Path) -> Iterator[Path]:
    """Give the folders of this process's groups for a controller, from its own to the top one."""
    tops = {cgroup: ".", cgroup / controller: "."}
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, names, path = (*line.split(":", 2), "", "")[:3]
        if not names:
            tops[cgroup] = path
        elif controller in names.split(","):
            # The folder has the name of all its controllers, or of this one.
            tops |= {cgroup / names: path, cgroup / controller: path}
    for top, path in tops.items():
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:  # outside of what is mounted here
            parts = []
        for depth in range(len(parts), -1, -1):
            yield top.joinpath(*parts[:depth])
