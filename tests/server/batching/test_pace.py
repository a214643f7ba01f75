"""Who is taken in, who is told to come back, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from modelpack.server.problems import Overloaded, TimedOut

Make = Callable[..., Any]


def busy(world: Make, row_s: float = 0.1, **settings: Any) -> Any:
    """A world of ``row_s`` a row, learned, with a batch that has just begun."""
    one = world(max_batch_size=1, **settings)
    for runner in one.runners:
        runner.cost_s = lambda rows: rows * row_s
        runner.answer = lambda x: x
    one.submit_all(range(40))
    one.wait(40 * row_s + 1)
    one.submit_all(range(len(one.runners)))
    one.run()
    return one


def test_a_deadline_that_the_queue_cannot_meet_is_refused_at_once(world: Make) -> None:
    one = busy(world)
    one.submit_all(range(20))
    refused = one.submit(np.array([1]), timeout_s=1)
    taken = one.submit(np.array([2]), timeout_s=4)

    assert isinstance(refused.answer, Overloaded)
    assert refused.answer.retry_after_s in (2, 3)  # 20 rows of 0.1 s, and a reserve
    one.wait(4)
    assert taken.answer.tolist() == [2]


def test_a_cold_model_refuses_nobody(world: Make) -> None:
    """What has not been measured is no evidence, however slow the first batch was."""
    one = world(max_batch_size=1)
    one.runner.cost_s = lambda _: 10.0
    one.submit_all(range(5))
    one.wait(25)
    call = one.submit(np.array([1]), timeout_s=0.5)

    assert call.answers == []


def test_an_empty_queue_takes_anybody_so_that_it_goes_on_learning(world: Make) -> None:
    """A model that was slow would else be refused for ever, and never be seen to be fast again."""
    one = busy(world, row_s=10.0)
    one.wait(20)
    one.runner.cost_s = lambda _: 0.001
    answers = []
    for _ in range(30):
        call = one.submit(np.array([1]), timeout_s=0.5)
        one.wait(1)
        answers.append(call.answer)

    assert all(isinstance(answer, np.ndarray) for answer in answers)
    one.submit_all(range(50))
    assert not one.submit(np.array([1]), timeout_s=0.5).answers


def test_two_runners_promise_twice_as_much(world: Make) -> None:
    taken = []
    for runners in (1, 2, 4):
        one = busy(world, runners=runners)
        calls = [one.submit(np.array([1]), timeout_s=1) for _ in range(100)]
        taken.append(sum(not call.answers for call in calls))

    assert 1.8 * taken[0] < taken[1] <= 2 * taken[0]  # its own run is no shorter
    assert 1.8 * taken[1] < taken[2] <= 2 * taken[1]


def test_a_high_priority_does_not_wait_for_the_lower_ones(world: Make) -> None:
    one = busy(world)
    one.submit_all(range(20), priority=2)
    high, low = (one.submit(np.array([1]), timeout_s=1, priority=p) for p in (0, 2))

    assert isinstance(low.answer, Overloaded)
    one.wait(1)
    assert high.answer.tolist() == [1]


def test_what_is_promised_is_kept_under_four_times_the_load(world: Make) -> None:
    """Refusals come at once, and what is taken in is answered in time: nothing is run in vain."""
    one = busy(world, row_s=0.01)
    calls = []
    for _ in range(4000):
        calls.append(one.submit(np.array([1]), timeout_s=0.5))
        one.wait(0.0025)
        one.batcher.expire(one.loop.now)
    one.wait(1)

    served = sum(isinstance(call.answer, np.ndarray) for call in calls)
    late = sum(isinstance(call.answer, TimedOut) for call in calls)
    assert served >= 0.95 * 10 / 0.01
    assert late == 0


@pytest.mark.parametrize("runners", [1, 2])
def test_a_promise_counts_what_runs_and_the_whole_of_ones_own_batch(
    world: Make, runners: int
) -> None:
    """A call is done when its batch is done, and that begins when the one before it is."""
    one = world(max_batch_size=16, runners=runners)
    for runner in one.runners:
        runner.cost_s = lambda rows: 0.01 * rows
        runner.answer = lambda x: x
    one.submit_all(range(400))
    one.wait(5)
    calls = []
    for _ in range(4000):
        calls.append(one.submit(np.array([1]), timeout_s=1))
        one.wait(0.0025 / runners)
        one.batcher.expire(one.loop.now)
    one.wait(2)

    served = sum(isinstance(call.answer, np.ndarray) for call in calls)
    late = sum(isinstance(call.answer, TimedOut) for call in calls)
    assert served >= 0.95 * 1000
    assert late <= 0.02 * served  # while sizes are tried a batch may be longer than foreseen


def test_a_queue_full_of_late_calls_is_left_behind(world: Make) -> None:
    """First come, first served must not mean that all are served too late."""
    one = world(max_batch_size=1, max_queue_rows=100_000)
    one.runner.cost_s = lambda _: 0.01
    calls = []
    for n in range(4000):
        if n == 2000:  # what was learned is wrong from now on
            one.runner.cost_s = lambda _: 0.02
        calls.append(one.submit(np.array([1]), timeout_s=0.5))
        one.wait(0.0025)
        one.batcher.expire(one.loop.now)
    one.wait(1)

    in_time = sum(isinstance(call.answer, np.ndarray) and call.run_s + call.queue_s <= 0.5 for call in calls)  # fmt: skip
    ran = len(one.runner.batches)
    assert in_time >= 0.9 * ran


def test_those_that_cannot_be_done_in_time_make_way_for_those_that_can(world: Make) -> None:
    one = busy(world)
    hopeless = one.submit(np.array([1]), timeout_s=0.14)  # 0.1 s to wait, and 0.1 s to run
    other = one.submit(np.array([2]), timeout_s=5)
    one.wait(0.101)

    assert isinstance(hopeless.answer, TimedOut)
    one.wait(0.2)
    assert other.answer.tolist() == [2]


def test_the_only_one_is_tried_even_if_it_looks_hopeless(world: Make) -> None:
    """What was learned may be wrong."""
    one = busy(world)
    one.wait(1)
    one.runner.cost_s = lambda _: 0.01
    call = one.submit(np.array([1]), timeout_s=0.05)
    one.wait(0.05)

    assert call.answer.tolist() == [1]


@pytest.mark.parametrize(("rows", "seconds"), [(1, 1), (30, 4), (3000, 60)])
def test_retry_after_is_when_the_queue_should_be_empty(
    world: Make, rows: int, seconds: int
) -> None:
    one = busy(world)
    one.submit_all(range(rows))

    assert one.batcher.retry_after_s() == seconds


def test_without_evidence_clients_are_told_the_least(world: Make) -> None:
    one = world(runners=0, max_queue_rows=1)
    one.submit_all([1])

    assert one.submit_all([2])[0].answer.retry_after_s == 1


def test_a_pause_between_batches_counts_but_an_idle_hour_does_not(world: Make) -> None:
    one = busy(world, row_s=0.001)
    one.wait(3600)
    one.submit_all(range(100))
    one.run()

    assert one.batcher._pace.row_s == pytest.approx(0.001 / 0.9, rel=0.2)
