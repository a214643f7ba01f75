"""Adds up what the workers of a supervisor have counted.

worker ──"counted", every second──► Tally ◄── "readings", asked when somebody looks
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from modelpack.server.life.channel import ChannelClosedError
from modelpack.server.life.gathering import WORKER_S
from modelpack.server.life.handle import WorkerProcess
from modelpack.server.observe.processes import Processes, tree
from modelpack.server.observe.snapshot import Plain, Totals, from_plain, merge, to_plain
from modelpack.server.observe.stats import Reading


class Tally:
    """The counts of all workers, those that are gone too."""

    def __init__(self) -> None:
        self._totals = Totals()
        self._processes = Processes()

    def update(self, worker: WorkerProcess, readings: Iterable[Plain]) -> None:
        """Keep the newest counts of a worker."""
        self._totals.update(worker.name, from_plain(readings))

    def retire(self, worker: WorkerProcess) -> None:
        """Let a worker go: its counts stay."""
        self._totals.retire(worker.name)

    async def gather(
        self, workers: Sequence[WorkerProcess], own: Iterable[Reading] = ()
    ) -> dict[str, Any]:
        """Ask every worker; who does not answer in time is counted as it was last heard of.

        ``own`` is what the supervisor itself has to show.
        """
        await asyncio.gather(*(self._ask(worker) for worker in list(workers)))
        readings = merge(self._totals.readings(), own)
        # Added up here and not where it is shown: one memory of those that have gone.
        usage = asdict(self._processes.read(tree(os.getpid())))
        return {"readings": to_plain(readings), "usage": usage}

    async def _ask(self, worker: WorkerProcess) -> None:
        with suppress(TimeoutError, ChannelClosedError):
            readings = await worker.channel.ask("readings", WORKER_S)
            if worker.state != "gone":
                self.update(worker, readings)
