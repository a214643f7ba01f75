"""The runners of one api and what each is busy with.

add ──► free ──take──► busy ──leave──► free        the one that was busy last is taken first:
                        └── hangs ──► stuck         its caches are warm
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from modelpack.server.batching.call import Batch
from modelpack.server.batching.cost import CostModel
from modelpack.server.runners.base import Runs

GRACE_S = 0.5
"""How long a runner that was given up may take to end its batch before it counts as stuck."""


class Seat:
    """A runner with at most one batch."""

    __slots__ = (
        "batch", "began", "free_since", "given_up", "is_gone", "is_starting", "model", "runs",
    )  # fmt: skip

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self.batch: Batch | None = None
        self.model: CostModel | None = None
        """What batches like the one that runs cost."""
        self.began = 0.0
        self.free_since = math.inf
        """When its last batch ended and others waited already."""
        self.given_up = math.inf
        """When its batch was given up."""
        self.is_starting = False
        """True until ``run`` has returned."""
        self.is_gone = False
        """True once it was taken away; a batch that it still has is answered."""

    def is_stuck(self, now: float) -> bool:
        """Say whether its batch does not end although it was given up."""
        return self.batch is not None and now - self.given_up > GRACE_S


class Seats:
    """All runners of an api."""

    def __init__(self) -> None:
        self._all: dict[Runs, Seat] = {}
        self._leaving: list[Seat] = []
        self.free: list[Seat] = []

    def __len__(self) -> int:
        return len(self._all)

    def add(self, runs: Runs) -> None:
        """Give a runner a seat; it is taken after those that are free already."""
        if runs not in self._all:
            seat = self._all[runs] = Seat(runs)
            self.free.insert(0, seat)

    def remove(self, runs: Runs) -> None:
        """Take a runner's seat away; nothing if it has none."""
        seat = self._all.pop(runs, None)
        if seat is None:
            return
        seat.is_gone = True
        if seat.batch is None:
            self.free.remove(seat)
        else:
            self._leaving.append(seat)

    def leave(self, seat: Seat) -> None:
        """Take a seat's batch away: it is free, or gone."""
        seat.batch = seat.model = None
        seat.given_up = math.inf
        if seat.is_gone:
            self._leaving.remove(seat)
        else:
            self.free.append(seat)

    def busy(self) -> Iterator[Seat]:
        """Yield the seats with a batch, also of runners that are gone."""
        for seat in (*self._all.values(), *self._leaving):
            if seat.batch is not None:
                yield seat

    def are_stuck(self, now: float) -> bool:
        """Say whether there are runners, and none of them can run a batch."""
        return bool(self._all) and all(seat.is_stuck(now) for seat in self._all.values())
