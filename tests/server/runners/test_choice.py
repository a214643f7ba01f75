"""Where methods run is decided by what their warm calls showed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from modelpack.config.settings import ServerSettings
from modelpack.server.runners import choice as module
from modelpack.server.runners.choice import Verdict, judge, measure_inline_s, settled
from modelpack.server.runners.threads import Worker
from modelpack.server.runners.warmup import Trial

INLINE_S = 100e-6


def trial(ms: float, *, rows: int = 1, held: float = 0.0, calls: int = 5) -> Trial:
    return Trial({}, rows, [ms / 1000] * calls, [held] * calls)


@pytest.mark.parametrize(
    ("trials", "kind"),
    [
        ([], "thread"),
        ([trial(0.05)], "inline"),
        ([trial(0.05, held=1.0)], "inline"),
        ([trial(0.2)], "thread"),
        ([trial(30)], "thread"),
        ([trial(30, held=0.4)], "thread"),
        ([trial(3, held=1.0)], "thread"),
        ([trial(30, held=0.9)], "process"),
        ([trial(0.05, held=1.0), trial(20, rows=32, held=0.9)], "process"),
        ([trial(30, held=0.9, calls=2)], "thread"),
    ],
)
def test_length_and_lock_decide(trials: list[Trial], kind: str) -> None:
    assert judge(trials, INLINE_S).kind == kind


def test_one_odd_call_decides_nothing() -> None:
    odd = Trial({}, 1, [0.03] * 5, [0.0, 0.0, 0.95, 0.9, 0.0])

    assert judge([odd], INLINE_S).kind == "thread"


def test_the_reason_has_the_numbers() -> None:
    assert judge([trial(0.05)], INLINE_S).reason == "a call takes 0.05 ms, less than 0.1 ms"
    assert judge([trial(30, rows=8, held=0.9)], INLINE_S).reason == (
        "8 rows take 30 ms and hold the lock 90% of it"
    )


MOVES = {"slow": Verdict("process", "holds the lock"), "fast": Verdict("inline", "fast")}


def test_a_process_is_chosen_only_where_it_is_possible_and_of_use() -> None:
    def slow(has_source: bool, **settings: Any) -> Verdict:
        return settled(MOVES, ServerSettings(**settings), has_source=has_source)["slow"]

    assert slow(True).kind == "process"
    assert slow(False) == Verdict(
        "thread",
        "holds the lock; stays, since no other process can load this service",
        is_second_best=True,
    )
    assert slow(True, workers=2).kind == "thread"


def test_beside_a_gpu_nothing_moves_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "gpu_count", lambda: 1)

    there = settled(MOVES, ServerSettings(), has_source=True)
    unused = settled(MOVES, ServerSettings(devices="cpu"), has_source=True)

    assert {name: one.kind for name, one in there.items()} == {"slow": "thread", "fast": "inline"}
    assert unused["slow"].kind == "process"


@pytest.mark.parametrize("runner", ["inline", "thread"])
def test_whoever_sets_it_decides(runner: str) -> None:
    verdicts = settled(MOVES, ServerSettings(runner=runner), has_source=True)

    assert {one.kind for one in verdicts.values()} == {runner}


@pytest.mark.parametrize(("handoff_s", "expected"), [(1e-9, 50e-6), (40e-6, 120e-6), (1.0, 200e-6)])
def test_the_limit_is_measured_within_bounds(
    monkeypatch: pytest.MonkeyPatch, handoff_s: float, expected: float
) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += handoff_s
        return now

    monkeypatch.setattr(module, "perf_counter", clock)

    async def run() -> float:
        worker = Worker("test", asyncio.get_running_loop())
        try:
            return await measure_inline_s(worker)
        finally:
            worker.close()

    assert asyncio.run(run()) == pytest.approx(expected)
