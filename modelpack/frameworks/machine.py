"""How much of the machine this process may use.

A container's limit is in its control group: ``cpu.max`` in the unified hierarchy, a quota and a
period in the older one.  A library that starts a thread for each processor of the host would be
throttled there.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def processors(cgroup: Path = CGROUP) -> int:
    """Return the processors that this process may keep busy, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = _limit(cgroup)
    return max(1, min(allowed or 1, math.ceil(limit) if limit else allowed or 1))


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
