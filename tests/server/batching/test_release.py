"""How many rows go together, and whether they go now."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from modelpack.server.batching.release import REASONS

Make = Callable[..., Any]


def settled(one: Any, cost_s: Callable[[int], float], sizes: tuple[int, ...]) -> None:
    """Let a world learn what batches of these sizes cost."""
    one.runner.cost_s = cost_s
    one.runner.answer = lambda x: x
    for size in sorted(sizes * 24):
        one.submit_all(range(size), key=object())
        one.wait(100)
    one.runner.shapes.clear()
    one.batcher.stats.reasons.clear()


# --- Triton's rules: waiting calls (their rows), preferred sizes, most rows, waited already -------

NO_DELAY, DELAY_MS = None, 100.0


@pytest.mark.parametrize(
    ("waiting", "preferred", "delay", "first", "reason"),
    [
        # no delay: the largest preferred size that can be reached, else all that is there
        ([1, 1, 1], (), NO_DELAY, 3, "idle"),
        ([1] * 8, (), NO_DELAY, 8, "full"),
        ([1] * 12, (), NO_DELAY, 8, "full"),
        ([1, 1, 1, 1, 1], (2, 4), NO_DELAY, 4, "preferred"),
        ([1, 1, 1], (2, 4), NO_DELAY, 2, "preferred"),
        ([1], (2, 4), NO_DELAY, 1, "idle"),
        ([1] * 8, (4,), NO_DELAY, 4, "preferred"),
        ([1] * 8, (4, 8), NO_DELAY, 8, "preferred"),
        ([3, 3, 3], (4, 6), NO_DELAY, 6, "preferred"),
        ([3, 2], (4,), NO_DELAY, 5, "idle"),  # no whole calls make up 4
        ([5, 5], (4,), NO_DELAY, 5, "full"),  # the second does not fit any more
        ([20], (4,), NO_DELAY, 4, "slice"),  # it has to be cut anyway
        ([20], (), NO_DELAY, 8, "slice"),
        # a delay: held until a preferred or the largest size is reached
        ([1, 1, 1], (), DELAY_MS, None, None),
        ([1] * 8, (), DELAY_MS, 8, "full"),
        ([1, 1, 1], (4,), DELAY_MS, None, None),
        ([1, 1, 1, 1], (4,), DELAY_MS, 4, "preferred"),
        ([5, 5], (), DELAY_MS, 5, "full"),  # no fuller batch can be made of these
        ([1, 1], (2, 4), DELAY_MS, 2, "preferred"),
    ],
)
def test_tritons_rules(  # noqa: PLR0917 (a table)
    world: Make,
    waiting: list[int],
    preferred: tuple[int, ...],
    delay: float | None,
    first: int | None,
    reason: str | None,
) -> None:
    one = world(max_batch_size=8, preferred_batch_sizes=preferred, max_wait_ms=delay)
    for rows in waiting:
        one.submit(np.zeros(rows))
    one.loop.turn()
    one.loop.turn()

    assert (one.runner.sizes[:1] or [None])[0] == first
    if reason is not None:
        assert next(iter(one.batcher.stats.reasons)) == reason


def test_a_held_batch_goes_when_its_first_call_has_waited_long_enough(world: Make) -> None:
    one = world(max_batch_size=8, max_wait_ms=100)
    one.submit_all([1])
    one.wait(0.06)
    one.submit_all([2])
    one.wait(0.039)
    before = list(one.runner.batches)
    one.wait(0.002)

    assert before == []
    assert one.runner.batches == [[1, 2]]
    assert one.batcher.stats.reasons == {"waited": 1}


def test_a_held_batch_goes_as_soon_as_it_is_full(world: Make) -> None:
    one = world(max_batch_size=2, max_wait_ms=100)
    one.submit_all([1])
    one.wait(0.01)
    one.submit_all([2])
    one.run()

    assert one.runner.batches == [[1, 2]]
    one.wait(1)
    assert one.runner.batches == [[1, 2]]


def test_a_hold_stops_nobody_else(world: Make) -> None:
    one = world(max_batch_size=2, max_wait_ms=100)
    one.submit_all([1], key="held")
    one.run()
    one.submit_all([2, 3], key="full")
    one.run()

    assert one.runner.batches == [[2, 3]]
    one.wait(0.2)
    assert one.runner.batches == [[2, 3], [1]]


def test_calls_of_every_level_count_for_a_held_batch(world: Make) -> None:
    one = world(max_batch_size=3, max_wait_ms=100)
    for number, priority in enumerate((2, 0, 1)):
        one.submit(np.array([number]), priority=priority)
        one.run()

    assert one.runner.batches == [[1, 2, 0]]


def test_nobody_is_held_beyond_its_deadline(world: Make) -> None:
    one = world(max_batch_size=8, max_wait_ms=1000)
    one.runner.cost_s = lambda _: 0.01
    hurried, first = one.submit_all([1], timeout_s=0.1), one.submit_all([2])
    one.wait(0.5)

    assert hurried[0].answer.tolist() == [2]
    assert first[0].answer.tolist() == [4]


def test_a_hold_leaves_time_for_the_run(world: Make) -> None:
    one = world(max_batch_size=8, max_wait_ms=1000)
    settled(one, lambda _: 0.06, (1, 8))
    call = one.submit_all([1], timeout_s=0.1)[0]
    one.wait(0.1)

    assert call.answer.tolist() == [1]


def test_a_hold_is_not_taken_for_slowness(world: Make) -> None:
    one = world(max_batch_size=2, max_wait_ms=500)
    settled(one, lambda _: 0.01, (2,))
    for _ in range(100):
        one.submit_all([1, 2, 3])
        one.wait(1)

    assert one.batcher._pace.row_s == pytest.approx(0.005 / 0.9, rel=0.1)


def test_a_dropped_call_is_not_waited_with(world: Make) -> None:
    one = world(max_batch_size=8, max_wait_ms=100)
    call = one.submit_all([1])[0]
    one.run()
    one.batcher.drop(call)
    one.wait(1)

    assert one.runner.batches == []
    assert one.batcher.is_idle


def test_closing_ends_a_hold(world: Make) -> None:
    one = world(max_batch_size=8, max_wait_ms=100)
    one.submit_all([1])
    one.run()
    one.batcher.close()

    assert not one.loop.is_waiting


def test_the_docs_say_what_each_reason_means() -> None:
    page = (Path(__file__).parents[3] / "docs" / "explanation" / "batching.md").read_text()

    for name, why in REASONS.items():
        assert f"| `{name}` | {why} |" in page


# --- what is learned -------------------------------------------------------------------------------


def test_nothing_waits_for_a_clock_by_default(world: Make) -> None:
    one = world(max_batch_size=32)
    one.runner.cost_s = lambda _: 0.01
    for number in range(100):
        one.submit_all([number])
        one.run()
        assert one.batcher.waiting_rows == 0 or one.runner.loop.is_waiting
        one.wait(0.003)

    assert set(one.batcher.stats.reasons) <= {"idle", "cost"}


def test_a_batch_is_no_larger_than_pays(world: Make) -> None:
    """Eight times the cost for eight times the rows: the first four need not wait for the rest."""
    one = world(max_batch_size=32)
    settled(one, lambda rows: 0.005 * max(1, rows / 4), (1, 2, 4, 8, 16, 32))
    one.submit_all(range(32))
    one.wait(1)

    assert one.runner.sizes == [4] * 8
    assert one.batcher.stats.reasons == {"cost": 7, "idle": 1}


def test_where_size_pays_a_batch_is_as_large_as_can_be(world: Make) -> None:
    one = world(max_batch_size=32)
    settled(one, lambda rows: 0.010 + 0.0001 * rows, (1, 2, 4, 8, 16, 32))
    one.submit_all(range(64))
    one.wait(1)

    assert one.runner.sizes == [32, 32]


def test_large_requests_do_not_make_small_ones_miss_the_goal(world: Make) -> None:
    def small_beside_large(**settings: Any) -> float:
        one = world(max_batch_size=256, max_queue_rows=10_000, **settings)
        settled(one, lambda rows: 0.002 + 0.001 * rows, (1, 2, 8, 16, 32, 64, 128, 256))
        calls = []
        for _ in range(20):
            one.submit(np.zeros(500))
            for number in range(20):
                calls += [timed(one, number)]
                one.wait(0.1)
        return max(call.answered_at - call.started for call in calls)

    def timed(one: Any, number: int) -> Any:
        call = one.call(np.array([float(number)]))
        call.resolve = lambda _: setattr(call, "answered_at", one.loop.now)
        one.batcher.submit(call)
        return call

    assert small_beside_large(latency_ms=50) < 0.06
    assert small_beside_large() > 0.12


def poisson(one: Any, rate: float, calls: int) -> list[float]:
    """Send calls at random moments; returns how long each took."""
    chance, took = random.Random(11), []
    for _ in range(calls):
        one.wait(chance.expovariate(rate))
        call = one.call(np.array([1.0]))
        call.resolve = lambda _, since=call.started: took.append(one.loop.now - since)
        one.batcher.submit(call)
        one.run()
    one.wait(1000)
    return took


@pytest.mark.parametrize("load", [0.1, 0.5, 0.8, 0.95, 1.5])
@pytest.mark.parametrize(
    "cost_s",
    [lambda n: 0.010 + 0.0001 * n, lambda n: 0.002 + 0.001 * n, lambda n: 0.02 + 0.0005 * n],
)
def test_a_goal_never_makes_it_slower_where_company_comes_by_chance(
    world: Make, cost_s: Callable[[int], float], load: float
) -> None:
    rate = load * 32 / cost_s(32)
    means = []
    for settings in ({}, {"latency_ms": 50}):
        one = world(max_batch_size=32, max_queue_rows=100_000, **settings)
        one.runner.cost_s = cost_s
        means.append(fmean(poisson(one, rate, 2000)))

    assert means[1] <= means[0] * 1.05


def test_a_goal_is_held_for_company_that_is_nearly_there(world: Make) -> None:
    """Rows come every millisecond and a run takes twenty: the first two gain by waiting a little."""

    def mean(**settings: Any) -> float:
        one = world(max_batch_size=64, latency_ms=200, **settings)
        settled(one, lambda rows: 0.020 + 0.0001 * rows, (1, 2, 4, 8, 16, 32, 64))
        took: list[float] = []
        for _ in range(30):
            for number in range(30):
                call = one.call(np.array([float(number)]))
                call.resolve = lambda _, since=call.started: took.append(one.loop.now - since)
                one.batcher.submit(call)
                one.wait(0.001)
            one.wait(0.05)
        return fmean(took)

    assert mean() < mean(max_wait_ms=0)


def test_a_lone_client_is_never_held_for_company_that_does_not_come(world: Make) -> None:
    one = world(max_batch_size=32, latency_ms=200)
    settled(one, lambda rows: 0.010 + 0.0001 * rows, (1, 2, 4, 8))
    for number in range(200):
        call = one.submit_all([number])[0]
        one.run()
        assert one.batcher.waiting_rows == 0
        one.wait(0.0102)
        assert call.answers
