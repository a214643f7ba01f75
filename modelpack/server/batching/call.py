"""One request as the queues see it."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any


class Call:
    """One request on its way through a batcher; subclasses say what to do with the answer."""

    __slots__ = (
        "deadline", "is_done", "key", "parts", "priority", "queue_s", "rows", "run_s", "size_bytes",
        "started", "taken", "values",
    )  # fmt: skip

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        """Arguments of the method."""
        self.rows = 1
        """Rows in ``values``."""
        self.key: Hashable = None
        """Only calls with equal keys share a batch."""
        self.priority = 0
        """Who goes first: 0 before 1 before 2 ..."""
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
        self.parts: list[Any] | None = None
        """Answers of the slices so far, when it runs in slices."""
        self.is_done = False
        """True when it was answered, or when nobody waits for an answer any more."""

    def resolve(self, answer: Any) -> None:
        """Take the answer: plain values for this call's own rows."""
        raise NotImplementedError

    def reject(self, error: BaseException) -> None:
        """Take the reason why there is no answer."""
        raise NotImplementedError
