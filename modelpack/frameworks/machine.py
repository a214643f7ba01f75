"""How much of the machine this process may use, and how copies of a model share it.

    processors() ──threads_for(copies)──► threads of each copy ──► onnxruntime, by its placement
                                                              ├──► limit_libraries: here, now
                                                              └──► thread_variables: a new process

A container's limit is in its control group: ``cpu.max`` in the unified hierarchy, a quota and a
period in the older one.  A library that starts a thread for each processor of the host would be
throttled there.
"""

from __future__ import annotations

import math
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def processors(cgroup: Path = CGROUP) -> int:
    """Return the processors that this process may keep busy, at least 1."""
    allowed = visible_processors()
    limit = _limit(cgroup)
    return max(1, min(allowed, math.ceil(limit) if limit else allowed))


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


def _limit(cgroup: Path) -> float | None:
    """Return the limit of the control group in processors, or None."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = " ".join((cgroup / name).read_text() for name in names).split()
            quota, period = float(words[0]), float(words[1])  # "max" is no number: no limit
        except (OSError, ValueError, IndexError):
            continue
        if quota > 0 and period > 0:
            return quota / period
    return None
