"""How busy the processors of this machine are, from ``/proc/stat``; None where there is none."""

from __future__ import annotations

from pathlib import Path

Ticks = tuple[int, int]
"""Ticks in which a processor worked, and all ticks."""


def busy_ticks() -> Ticks | None:
    """Return the ticks since the machine was started."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return None
    ticks = [int(field) for field in fields[:8]]
    # The fourth and fifth are those of idleness and of waiting for a disk.
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def busy_share(before: Ticks | None, after: Ticks | None) -> float | None:
    """Return the share of all processors that worked between two readings, 0 to 1."""
    if before is None or after is None or after[1] <= before[1]:
        return None
    return round((after[0] - before[0]) / (after[1] - before[1]), 3)
