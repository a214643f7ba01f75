"""Requests leave when they are to, and the clock that wakes the loop is on time."""

from __future__ import annotations

import asyncio
import time
from itertools import islice, pairwise
from statistics import mean, pstdev

import pytest

from modelpack.bench.alarm import Alarm
from modelpack.bench.arrivals import times
from modelpack.bench.running import run_on_fast_loop


def test_constant_arrivals_do_not_drift() -> None:
    first = list(islice(times("constant", 3.0, 100.0), 3001))
    assert first[0] == 100.0
    assert first[3000] == pytest.approx(1100.0, abs=1e-9)


def test_poisson_arrivals_have_the_rate_and_exponential_gaps() -> None:
    at = list(islice(times("poisson", 50.0, 0.0, seed=3), 20_000))
    gaps = [b - a for a, b in pairwise(at)]
    assert mean(gaps) == pytest.approx(1 / 50, rel=0.05)
    assert pstdev(gaps) == pytest.approx(1 / 50, rel=0.05), "as wide as long: that is exponential"


def test_poisson_arrivals_differ_by_seed_and_repeat_with_it() -> None:
    one, same, other = (list(islice(times("poisson", 9, 0, seed=s), 5)) for s in (1, 1, 2))
    assert one == same != other


def test_alarm_rings_at_its_time_and_only_once_it_is_set() -> None:
    async def rings(gaps: list[float]) -> list[float]:
        late: list[float] = []
        done = asyncio.Event()
        due = 0.0

        def ring() -> None:
            nonlocal due
            late.append(time.perf_counter() - due)
            if len(late) == len(gaps):
                alarm.close()
                done.set()
                return
            due = time.perf_counter() + gaps[len(late)]
            alarm.set(due)

        alarm = Alarm(asyncio.get_running_loop(), ring)
        await asyncio.sleep(0.01)
        assert late == []
        due = time.perf_counter() + gaps[0]
        alarm.set(due)
        await done.wait()
        return late

    late = run_on_fast_loop(rings([0.0003] * 200 + [-1.0]))
    assert len(late) == 201
    assert min(late) >= 0, "never before its time"
