"""Processor time of the batcher for one call: queued, put into a batch, its rows handed back.

    python tests/benchmarks/bench_batcher.py [--rounds N]

There is no server and no model: calls of one row go in, a runner answers at once with rows that it
has ready, and the loop is a list of callbacks.  What is left is the batcher's own work, joining and
splitting of arrays included, for batches of 1, 8 and 32 rows.  The fastest of several rounds counts:
what is slower was the machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from time import perf_counter, process_time
from typing import Any

import numpy as np

from modelpack.config.serving import BatchConfig
from modelpack.server.batching.batcher import Batcher
from modelpack.server.batching.call import Call

ROWS = (1, 8, 32)
CALLS = 64_000


class ListLoop:
    """As much of an event loop as the batcher needs."""

    def __init__(self) -> None:
        self.due: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[[], object]) -> None:
        self.due.append(callback)

    def run(self) -> None:
        while self.due:
            due, self.due = self.due, []
            for callback in due:
                callback()


class Ready:
    """Answers every batch at once."""

    def __init__(self) -> None:
        self.answers = {rows: {"y": np.zeros((rows, 3), np.float32)} for rows in ROWS}

    def run(self, values: Mapping[str, Any], done: Callable[[Any, Any], None]) -> None:
        done(self.answers[len(values["x"])], None)

    def give_up(self) -> None: ...


class Waiting(Call):
    """A call that only takes its answer."""

    __slots__ = ("answer",)

    def resolve(self, answer: Any) -> None:
        self.answer = answer


def make() -> tuple[Batcher, ListLoop]:
    """Return a batcher with one runner, and its loop."""
    loop = ListLoop()
    batcher = Batcher(loop=loop, batched=("x",), config=BatchConfig(max_batch_size=32))  # type: ignore[arg-type]
    batcher.add_runner(Ready())
    return batcher, loop


def cost_us(rows: int, calls: int = CALLS) -> float:
    """Return the microseconds of processor time for one call in batches of ``rows`` calls."""
    batcher, loop = make()
    values = {"x": np.zeros((1, 4), np.float32)}
    spent = 0.0
    for _ in range(calls // rows):
        now = perf_counter()
        batch = [Waiting() for _ in range(rows)]
        for call in batch:
            call.values, call.size_bytes = values, 30
            call.started, call.deadline, call.priority = now, now + 30.0, 1
        began = process_time()
        for call in batch:
            batcher.submit(call)
        loop.run()
        spent += process_time() - began
        assert batch[-1].answer["y"].shape == (1, 3)
    return spent / (calls // rows * rows) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(f"{'rows a batch':>14}{'µs a call':>12}")
    for rows in ROWS:
        print(f"{rows:14}{min(cost_us(rows) for _ in range(rounds)):12.2f}")


if __name__ == "__main__":
    main()
