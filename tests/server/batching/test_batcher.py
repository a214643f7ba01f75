"""Gathering rows and handing answers back, on a loop that only moves when told to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from modelpack.server.problems import BadOutput, Overloaded, TimedOut, Unavailable

Make = Callable[..., Any]


def test_what_arrives_in_one_turn_runs_together(world: Make) -> None:
    one = world()
    calls = one.submit_all([1, 2, 3])
    one.loop.turn()

    assert one.runner.batches == [[1, 2, 3]]
    assert [call.answer.tolist() for call in calls] == [[2], [4], [6]]


def test_a_lone_request_runs_at_once_and_is_not_copied(world: Make) -> None:
    one = world()
    one.runner.answer = lambda x: x
    call = one.submit(np.array([1.0]))
    rows = call.values["x"]
    one.loop.turn()

    assert np.shares_memory(call.answer, rows)


def test_while_the_runner_is_busy_requests_gather(world: Make) -> None:
    one = world()
    one.runner.is_held = True
    calls = one.submit_all([0])
    one.run()
    for number in range(1, 6):
        calls += one.submit_all([number])
        one.run()
    for _ in range(3):
        one.runner.release()
        one.run()

    assert one.runner.batches == [[0], [1, 2, 3, 4], [5]]
    assert [call.answer.tolist() for call in calls] == [[2 * n] for n in range(6)]


def test_a_full_batch_is_begun_before_the_answers_of_the_last_are_written(world: Make) -> None:
    one = world(max_batch_size=2)
    one.runner.is_held = True
    first = one.submit_all([0])[0]
    one.run()
    one.submit_all([1, 2])
    seen: list[int] = []
    first.resolve = lambda _: seen.append(len(one.runner.batches))
    one.runner.release()

    assert seen == [2]


def test_a_request_that_does_not_fit_any_more_stays_whole(world: Make) -> None:
    one = world()
    one.submit([1, 2, 3])
    one.submit([4, 5])
    one.run()

    assert one.runner.batches == [[1, 2, 3], [4, 5]]


def test_small_requests_go_between_the_slices_of_a_large_one(world: Make) -> None:
    one = world()
    large, small = one.submit(np.arange(10)), one.submit(np.array([100]))
    one.run()

    assert one.runner.batches == [[0, 1, 2, 100], [3, 4, 5, 6], [7, 8, 9]]
    assert large.answer.tolist() == [2 * n for n in range(10)]
    assert small.answer.tolist() == [200]


def test_of_a_batch_with_a_slice_others_that_wait_have_half(world: Make) -> None:
    one = world()
    large, small = one.submit(np.arange(9)), one.submit_all([100, 101, 102])
    one.run()

    assert one.runner.batches == [[0, 1, 100, 101], [102, 2, 3, 4], [5, 6, 7, 8]]
    assert large.answer.tolist() == [2 * n for n in range(9)]
    assert [call.answer.tolist() for call in small] == [[200], [202], [204]]


def test_slices_that_run_at_once_and_end_in_another_order_are_put_together(world: Make) -> None:
    one = world(runners=3)
    for runner in one.runners:
        runner.is_held = True
    call = one.submit(np.arange(10))
    one.run()
    for runner in sorted(one.runners, key=lambda runner: -runner.batches[0][0]):
        runner.release()

    assert call.answer.tolist() == [2 * n for n in range(10)]


def test_requests_with_different_keys_never_share_a_batch(world: Make) -> None:
    one = world()
    calls = [one.submit(np.array([n]), key=n % 2) for n in range(6)]
    one.run()

    assert one.runner.batches == [[0, 2, 4], [1, 3, 5]]
    assert [call.answer.tolist() for call in calls] == [[2 * n] for n in range(6)]


def fails_on(poison: float) -> Callable[[Any], Any]:
    def answer(x: Any) -> Any:
        if poison in x:
            raise ValueError("poison")
        return x * 2

    return answer


@pytest.mark.parametrize("position", range(4))
def test_only_the_poison_request_fails(world: Make, position: int) -> None:
    one = world()
    one.runner.answer = fails_on(666)
    calls = one.submit_all([666 if n == position else n for n in range(4)])
    one.run()

    assert isinstance(calls[position].answer, ValueError)
    mates = [call for n, call in enumerate(calls) if n != position]
    assert [call.answer.tolist() for call in mates] == [[2 * c.values["x"][0]] for c in mates]


def test_a_poison_slice_fails_the_whole_request_and_nobody_else(world: Make) -> None:
    one = world()
    one.runner.answer = fails_on(9)
    large, small = one.submit(np.arange(30)), one.submit(np.array([100]))
    one.run()

    assert isinstance(large.answer, ValueError)
    assert small.answer.tolist() == [200]
    assert one.batcher.is_idle


@pytest.mark.parametrize(
    "change",
    [lambda x: x[1:], lambda x: np.append(x, 0), lambda _: 5, lambda _: {"y": np.float64(1)},
     lambda x: {"y": x, "z": x[1:]}, lambda x: {"y": [*x, 1]}, lambda _: np.array(3.0)],
)  # fmt: skip
def test_a_wrong_number_of_rows_fails_the_batch_and_shifts_nobody(world: Make, change: Any) -> None:
    one = world()
    one.runner.answer = change
    calls = one.submit_all(range(3))
    one.run()

    assert all(isinstance(call.answer, BadOutput) for call in calls)
    assert one.runner.batches == [[0, 1, 2]]


def test_a_dropped_request_never_reaches_the_runner(world: Make) -> None:
    one = world()
    one.runner.is_held = True
    one.submit_all([0])
    one.run()
    dropped, _ = one.submit_all([1, 2])
    one.batcher.drop(dropped)
    one.runner.release()
    one.run()
    one.runner.release()

    assert one.runner.batches == [[0], [2]]
    assert dropped.answers == []
    assert (one.batcher.waiting_rows, one.batcher.waiting_bytes) == (0, 0)


def test_of_64_requests_that_nobody_waits_for_only_the_first_batch_runs(world: Make) -> None:
    one = world(max_batch_size=16)
    one.runner.is_held = True
    calls = one.submit_all(range(64))
    one.run()
    for call in calls:
        one.batcher.drop(call)
    one.runner.release()
    one.run()

    assert one.runner.sizes == [16]
    assert one.batcher.is_idle


def test_a_request_dropped_while_it_runs_is_not_answered_and_harms_nobody(world: Make) -> None:
    one = world()
    one.runner.is_held = True
    dropped, kept = one.submit_all([1, 2])
    one.run()
    one.batcher.drop(dropped)
    one.runner.release()

    assert dropped.answers == []
    assert kept.answer.tolist() == [4]


def test_a_full_queue_refuses_and_what_waits_is_still_answered(world: Make) -> None:
    one = world(max_queue_rows=4)
    one.runner.is_held = True
    one.submit_all([0])
    one.run()
    waiting = one.submit(np.array([1, 2, 3]))
    refused = one.submit(np.array([4, 5]))
    one.runner.is_held = False
    one.runner.release()
    one.run()

    assert isinstance(refused.answer, Overloaded)
    assert refused.answer.retry_after_s >= 1
    assert waiting.answer.tolist() == [2, 4, 6]


def test_the_queue_is_bounded_in_bytes_too(world: Make) -> None:
    one = world(max_queue_bytes=100)
    one.runner.is_held = True
    one.submit_all([0], size_bytes=1000)  # nothing waits: it is taken
    one.run()
    first, second, third = (one.submit(np.array([n]), size_bytes=60) for n in (1, 2, 3))
    one.batcher.drop(first)
    fourth = one.submit(np.array([4]), size_bytes=60)
    one.runner.is_held = False
    one.runner.release()
    one.run()

    assert [isinstance(c.answer, Overloaded) for c in (second, third, fourth)] == [
        True,
        True,
        False,
    ]
    assert one.batcher.waiting_bytes == 0


@pytest.mark.parametrize("limits", [{"max_queue_rows": 4}, {"max_queue_bytes": 4}])
def test_a_request_larger_than_the_queue_is_taken_when_it_is_empty(
    world: Make, limits: Any
) -> None:
    one = world(**limits)
    call = one.submit(np.arange(9), size_bytes=9)
    one.run()

    assert call.answer.tolist() == [2 * n for n in range(9)]


def test_late_requests_are_rejected_without_computing(world: Make) -> None:
    one = world()
    one.runner.is_held = True
    running = one.submit(np.array([0]), timeout_s=1)
    one.run()
    late, fresh = one.submit(np.array([1]), timeout_s=1), one.submit(np.array([2]), timeout_s=3)
    one.wait(1)
    one.batcher.expire(one.loop.now)
    one.runner.release()
    one.run()
    one.runner.release()

    assert isinstance(running.answer, TimedOut)
    assert isinstance(late.answer, TimedOut)
    assert fresh.answer.tolist() == [4]
    assert one.runner.batches == [[0], [2]]


def test_a_request_that_is_late_is_not_run_even_before_the_next_tick(world: Make) -> None:
    one = world()
    one.runner.is_held = True
    one.submit_all([0])
    one.run()
    late = one.submit(np.array([1]), timeout_s=1)
    one.wait(1)
    one.runner.release()
    one.run()

    assert isinstance(late.answer, TimedOut)
    assert one.runner.batches == [[0]]
    assert one.batcher.is_idle


def test_a_large_request_that_is_late_between_its_slices_is_answered_once(world: Make) -> None:
    one = world()
    one.runner.is_held = True
    call = one.submit(np.arange(10), timeout_s=1)
    one.run()
    one.wait(2)
    one.batcher.expire(one.loop.now)
    one.runner.release()
    one.run()

    assert isinstance(call.answer, TimedOut)
    assert one.runner.batches == [[0, 1, 2, 3]]
    assert one.batcher.is_idle


def test_rows_that_cannot_be_joined_fail_and_stop_nobody_else(world: Make) -> None:
    one = world()
    calls = [one.submit(np.zeros((1, width))) for width in (2, 3, 4)]
    one.run()

    assert [call.answer.shape for call in calls] == [(1, 2), (1, 3), (1, 4)]


def test_closing_answers_everything_that_is_left(world: Make) -> None:
    one = world()
    one.runner.is_held = True
    calls = one.submit_all([0])
    one.run()
    calls += one.submit_all([1])
    one.batcher.close()
    calls += one.submit_all([2])
    one.runner.release()
    one.run()

    assert all(isinstance(call.answer, Unavailable) for call in calls)
    assert one.batcher.is_idle
    assert not one.batcher.is_stuck


def test_without_batching_every_call_runs_alone_with_its_own_values(world: Make) -> None:
    one = world(batched=())
    one.runner.answer = list
    calls = [one.submit([n, n + 1], rows=1) for n in range(3)]
    one.run()

    assert [call.answer for call in calls] == [[0, 1], [1, 2], [2, 3]]
    assert one.batcher.stats.reasons == {"alone": 3}


def test_without_batching_a_runner_on_the_event_loop_answers_before_submit_returns(
    world: Make,
) -> None:
    one = world(batched=())
    one.runner.is_inline = True
    one.runner.answer = fails_on(666)

    good, bad = one.submit(np.array([3])), one.submit(np.array([666]))

    assert good.answer.tolist() == [6]
    assert isinstance(bad.answer, ValueError)
    assert one.batcher.stats.reasons == {"alone": 2}
    assert one.batcher.is_idle


def test_without_batching_a_late_call_is_not_run_even_there(world: Make) -> None:
    one = world(batched=())
    one.runner.is_inline = True

    late = one.submit(np.array([3]), deadline=one.loop.now)
    one.run()
    one.batcher.expire(one.loop.now)

    assert isinstance(late.answer, TimedOut)
    assert one.runner.batches == []


def test_each_release_has_its_reason(world: Make) -> None:
    one = world(max_batch_size=2)
    one.runner.answer = fails_on(666)
    one.submit_all([0])
    one.run()
    one.submit(np.arange(5))
    one.run()
    one.submit_all([1, 666])
    one.run()

    assert one.batcher.stats.reasons == {"idle": 1, "slice": 3, "full": 1, "retry": 2}


def test_the_counts_tell_the_mean_batch_and_its_time(world: Make) -> None:
    one = world()
    one.runner.cost_s = lambda rows: rows / 10
    for rows in (1, 2, 1):
        one.submit(np.zeros(rows))
    one.wait(1)

    stats = one.batcher.stats
    assert (stats.batches, stats.rows, stats.run_s) == (1, 4, pytest.approx(0.4))
    assert sum(stats.buckets) == sum(stats.run_buckets) == 1


def test_a_call_learns_how_long_it_waited_and_ran(world: Make) -> None:
    one = world(max_batch_size=1)
    one.runner.cost_s = lambda _: 0.25
    first, second = one.submit_all([1, 2])
    one.wait(1)

    assert (first.queue_s, first.run_s) == (pytest.approx(0), pytest.approx(0.25))
    assert (second.queue_s, second.run_s) == (pytest.approx(0.25), pytest.approx(0.25))
