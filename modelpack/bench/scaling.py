"""Replicas up and down under load: the suite ``repeated-scale``.

one long closed loop  ─────────────────────────────►
replicas               1 ──► 2 ──► 1 ──► 2 ──► 1        asked for at the admin socket, beside it
slices                 grouped by what was asked for in their second
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from modelpack.bench.admin import scale
from modelpack.bench.aim import Aim
from modelpack.bench.load import Load
from modelpack.bench.session import Progress, Watch, measure
from modelpack.bench.slices import Slice, merged
from modelpack.bench.suite import HEAD, Suite, row
from modelpack.errors import BenchError

REPLICAS = (1, 2, 1, 2, 1)
"""What is asked for, one after the other."""


def repeated_scale(
    aim: Aim, base: Load, admin_socket: Path | None, *, watch: Watch | None = None
) -> Suite:
    """Run the suite; without an admin socket, or when the server refuses, it says why it did not."""
    suite = Suite("repeated-scale", "replicas up and down under load", ("replicas", *HEAD))
    if admin_socket is None:
        suite.skipped = "needs the admin socket of the server: give --admin-socket PATH"
        return suite
    try:
        scale(admin_socket, REPLICAS[0])
    except BenchError as error:
        suite.skipped = error.message
        return suite
    phases = _Phases(admin_socket, max(base.duration_s, 1.0), watch)
    load = replace(base, rate=None, duration_s=phases.step_s * len(REPLICAS))
    (result,) = measure([aim], load, watch=phases.see)
    phases.wait()
    for replicas, slices in zip(REPLICAS, phases.slices(result.slices), strict=True):
        part = replace(result, slices=tuple(slices), tail=Slice(seconds=0.0), server=None)
        suite.rows.append((str(replicas), *row(part)))
    suite.results.append(result)
    failed = result.whole.failed
    lost = "no request was lost" if not failed else f"{failed:,} requests failed"
    changes = len(REPLICAS) - 1 - len(phases.refused)
    suite.finding = f"{lost} in {changes} changes of the number of replicas"
    if phases.refused:
        suite.finding += f"; {phases.refused[0]}"
    return suite


@dataclass(slots=True)
class _Phases:
    """Asks for the next number of replicas as the seconds go by."""

    admin_socket: Path
    step_s: float
    watch: Watch | None
    refused: list[str] = field(default_factory=list)
    _reached: int = 0
    _threads: list[threading.Thread] = field(default_factory=list)

    def see(self, progress: Progress) -> None:
        """Take note of a second that has passed."""
        phase = min(int(progress.elapsed_s / self.step_s + 0.01), len(REPLICAS) - 1)
        if phase > self._reached:
            self._reached = phase
            # A server may take its time; the load goes on meanwhile.
            thread = threading.Thread(target=self._scale, args=(REPLICAS[phase],), daemon=True)
            thread.start()
            self._threads.append(thread)
        if self.watch is not None:
            self.watch(progress)

    def wait(self) -> None:
        """Wait until every change has been answered."""
        for thread in self._threads:
            thread.join()

    def slices(self, slices: tuple[Slice, ...]) -> list[list[Slice]]:
        """Return the slices by phase."""
        groups: list[list[Slice]] = [[] for _ in REPLICAS]
        elapsed = 0.0
        for one in slices:
            phase = min(int(elapsed / self.step_s + 0.01), len(REPLICAS) - 1)
            groups[phase].append(one)
            elapsed += one.seconds
        return [group or [merged(())] for group in groups]

    def _scale(self, replicas: int) -> None:
        try:
            scale(self.admin_socket, replicas)
        except BenchError as error:
            self.refused.append(error.message)
