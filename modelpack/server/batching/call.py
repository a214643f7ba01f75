"""One request as the queues see it, and the batch that it runs in."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any


class Call:
    """One request on its way through a batcher; subclasses say what to do with the answer."""

    __slots__ = (
        "deadline", "is_done", "key", "losses", "parts", "priority", "queue_s", "rows", "run_s",
        "size_bytes", "started", "taken", "values",
    )  # fmt: skip

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        """Arguments of the method."""
        self.rows = 1
        """Rows in ``values``."""
        self.key: Hashable = None
        """Only calls with equal keys share a batch."""
        self.priority = 0
        """Who goes first: 0 before 1 before 2."""
        self.size_bytes = 0
        """Bytes of the request's body, for the limit of the queue."""
        self.deadline = math.inf
        """``perf_counter`` after which nobody wants the answer any more."""
        self.queue_s = 0.0
        """How long it waited before the (last) batch with its rows began."""
        self.run_s = 0.0
        """How long the (last) batch with its rows took."""
        self.started = 0.0
        """``perf_counter`` when the request was complete."""
        self.taken = 0
        """Rows that are running or answered already."""
        self.losses = 0
        """Runners that died while they ran it."""
        self.parts: Parts | None = None
        """Answers of the slices so far, when it runs in slices."""
        self.is_done = False
        """True when it was answered, or when nobody waits for an answer any more."""

    def resolve(self, answer: Any) -> None:
        """Take the answer: plain values for this call's own rows."""
        raise NotImplementedError

    def reject(self, error: BaseException) -> None:
        """Take the reason why there is no answer."""
        raise NotImplementedError


class Parts:
    """Answers of the slices of one call, in whatever order they come."""

    __slots__ = ("found", "rows")

    def __init__(self) -> None:
        self.found: list[tuple[int, Any]] = []
        self.rows = 0

    def add(self, start: int, stop: int, part: Any) -> None:
        """Keep the answer for the rows ``start`` to ``stop``."""
        self.found.append((start, part))
        self.rows += stop - start

    def in_order(self) -> list[Any]:
        """Return the answers in the order of their rows."""
        return [part for _, part in sorted(self.found, key=lambda one: one[0])]


Slice = tuple[Call, int, int]
"""Rows ``start`` to ``stop`` of a call."""


class Batch:
    """Rows that run together, and why they were let go."""

    __slots__ = ("is_cut", "reason", "rows", "slices")

    def __init__(self, slices: list[Slice], rows: int, reason: str) -> None:
        self.slices = slices
        self.rows = rows
        self.reason = reason
        self.is_cut = False
        """True when it has a part of a call that does not run as a whole."""

    @property
    def deadline(self) -> float:
        """``perf_counter`` after which nobody wants any of its answers; 0: there is no such time."""
        ends = [call.deadline for call, _, _ in self.slices if not call.is_done]
        return max((end for end in ends if end < math.inf), default=0.0)

    def keep_wanted(self) -> bool:
        """Leave out the calls that are done; returns False when none is left."""
        self.slices = [one for one in self.slices if not one[0].is_done]
        self.rows = sum([stop - start for _, start, stop in self.slices])
        self.is_cut = any(stop - start < call.rows for call, start, stop in self.slices)
        return bool(self.slices)
