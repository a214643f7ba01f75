"""Several runners for one queue, and what becomes of a batch whose runner is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from modelpack.server.problems import RunnerCrashed, RunnerLost, TimedOut, Unavailable

Make = Callable[..., Any]
LOST, UNTOUCHED = RunnerLost(True), RunnerLost(False)


def test_each_runner_has_one_batch_at_a_time(world: Make) -> None:
    one = world(runners=3, max_batch_size=2)
    for runner in one.runners:
        runner.is_held = True
    one.submit_all(range(20))
    one.run()

    assert sorted(runner.sizes for runner in one.runners) == [[2], [2], [2]]
    one.runners[1].release()
    one.run()
    assert sorted(len(runner.sizes) for runner in one.runners) == [1, 1, 2]


def test_a_free_runner_leaves_nobody_waiting(world: Make) -> None:
    one = world(runners=2, max_batch_size=8)
    for runner in one.runners:
        runner.is_held = True
    one.submit_all([1])
    one.run()
    one.submit_all([2])
    one.run()

    assert one.batcher.waiting_rows == 0


def test_the_runner_that_was_busy_last_is_taken_first(world: Make) -> None:
    """Its caches are warm, and the others may sleep."""
    one = world(runners=3)
    for number in range(10):
        one.submit_all([number])
        one.run()

    assert sorted(len(runner.sizes) for runner in one.runners) == [0, 0, 10]


def test_calls_wait_while_there_is_no_runner(world: Make) -> None:
    one = world(runners=0)
    call = one.submit(np.array([1]))
    one.run()
    waiting = list(call.answers)
    one.add_runner()
    one.run()

    assert waiting == []
    assert call.answer.tolist() == [2]


def test_calls_that_wait_for_a_runner_may_be_refused(world: Make) -> None:
    one = world(runners=0)
    calls = one.submit_all([1, 2], priority=1)
    one.batcher.refuse_all(Unavailable("no runner"))

    assert [str(call.answer) for call in calls] == ["no runner", "no runner"]
    assert one.batcher.is_idle


def test_refusing_leaves_what_runs_alone(world: Make) -> None:
    one = world()
    one.runner.is_held = True
    running = one.submit(np.array([1]))
    one.run()
    waiting = one.submit(np.array([2]))
    one.batcher.refuse_all(Unavailable("no runner"))
    one.runner.release()

    assert running.answer.tolist() == [2]
    assert isinstance(waiting.answer, Unavailable)


def test_a_runner_that_is_taken_away_answers_its_batch_and_gets_no_more(world: Make) -> None:
    one = world(runners=2, max_batch_size=1)
    for runner in one.runners:
        runner.is_held = True
    calls = one.submit_all(range(4))
    one.run()
    gone, kept = one.runners
    one.batcher.remove_runner(gone)
    one.batcher.remove_runner(gone)  # safe to repeat
    gone.release()
    for _ in range(3):
        kept.release()
        one.run()

    assert (len(gone.sizes), len(kept.sizes)) == (1, 3)
    assert sorted(call.answer[0] for call in calls) == [0, 2, 4, 6]
    assert one.batcher.is_idle


def test_a_batch_that_was_not_begun_goes_again_as_it_was_and_first(world: Make) -> None:
    one = world(max_batch_size=2)
    one.runner.is_held = True
    calls = one.submit_all([1, 2, 3])
    one.run()
    for _ in range(5):  # however often: nobody is blamed
        one.runner.release(UNTOUCHED)
        one.run()
    one.runner.is_held = False
    one.runner.release()
    one.run()

    assert one.runner.batches == [[1, 2]] * 6 + [[3]]
    assert [call.answer.tolist() for call in calls] == [[2], [4], [6]]
    assert one.batcher.stats.reasons["replay"] == 5


def test_a_call_of_a_begun_batch_is_run_again_alone(world: Make) -> None:
    one = world()
    one.runner.is_held = True
    calls = one.submit_all([1, 2, 3])
    one.run()
    one.runner.release(LOST)
    one.runner.is_held = False
    one.run()

    assert one.runner.batches == [[1, 2, 3], [1], [2], [3]]
    assert [call.answer.tolist() for call in calls] == [[2], [4], [6]]
    assert one.batcher.stats.replays == 3


def test_only_the_call_that_kills_runners_fails(world: Make) -> None:
    one = world()
    one.runner.is_held = True
    calls = one.submit_all([1, 666, 3])
    one.run()
    while one.runner.held:
        one.runner.release(LOST if 666 in one.runner.batches[-1] else None)
        one.run()

    assert isinstance(calls[1].answer, RunnerCrashed)
    assert [calls[0].answer.tolist(), calls[2].answer.tolist()] == [[2], [6]]


def test_the_first_loss_is_always_forgiven_even_alone(world: Make) -> None:
    """A runner may be killed from outside, and then no request fails."""
    one = world()
    one.runner.is_held = True
    call = one.submit(np.array([1]))
    one.run()
    one.runner.release(LOST)
    one.run()
    one.runner.release()

    assert call.answer.tolist() == [2]


def test_what_still_waits_of_a_call_that_lost_a_runner_harms_no_mates(world: Make) -> None:
    one = world()
    one.runner.is_held = True
    deadly = one.submit(np.array([1, 2, 3, 4, 5, 6, 666]))
    one.run()
    small = one.submit_all(range(10, 18))
    one.runner.release(LOST)
    one.run()
    while one.runner.held:
        one.runner.release(LOST if 666 in one.runner.batches[-1] else None)
        one.run()

    assert isinstance(deadly.answer, RunnerCrashed)
    assert [call.answer[0] for call in small] == [2 * n for n in range(10, 18)]
    assert all(set(batch) == {5, 6, 666} for batch in one.runner.batches if 666 in batch)


def test_a_call_is_blamed_only_when_it_was_alone(world: Make) -> None:
    """Two of its slices were lost with mates, in two runners that somebody else killed."""
    one = world(runners=2)
    for runner in one.runners:
        runner.is_held = True
    large, small = one.submit(np.arange(6)), one.submit_all([100, 101])
    one.run()
    for runner in one.runners:
        runner.release(LOST)
    for runner in one.runners:
        runner.is_held = False
        while runner.held:
            runner.release()
    one.run()
    for runner in one.runners:
        while runner.held:
            runner.release()
        one.run()

    assert large.losses == 2
    assert large.answer.tolist() == [2 * n for n in range(6)]
    assert [call.answer.tolist() for call in small] == [[200], [202]]


def test_a_lost_call_that_is_late_or_dropped_is_not_run_again(world: Make) -> None:
    one = world()
    one.runner.is_held = True
    late, dropped = one.submit(np.array([1]), timeout_s=1), one.submit(np.array([2]))
    one.run()
    one.wait(2)
    one.batcher.expire(one.loop.now)
    one.batcher.drop(dropped)
    one.runner.release(LOST)
    one.run()

    assert isinstance(late.answer, TimedOut)
    assert one.runner.batches == [[1, 2]]
    assert one.batcher.is_idle


def test_while_a_lost_batch_waits_for_a_runner_its_calls_can_time_out(world: Make) -> None:
    one = world()
    one.runner.is_held = True
    call = one.submit(np.array([1]), timeout_s=1)
    one.run()
    one.batcher.remove_runner(one.runner)
    one.runner.release(LOST)
    one.wait(2)
    one.batcher.expire(one.loop.now)

    assert isinstance(call.answer, TimedOut)


def test_one_that_hangs_is_given_up_once_and_the_others_go_on(world: Make) -> None:
    one = world(runners=2, timeout_s=5)
    for runner in one.runners:
        runner.is_held = True
    one.submit_all([1])
    one.run()
    for _ in range(30):
        one.wait(1)
        one.batcher.expire(one.loop.now)
    hung, healthy = sorted(one.runners, key=lambda runner: -len(runner.sizes))
    call = one.submit(np.array([2]))
    one.run()
    healthy.release()

    assert (hung.given_up, healthy.given_up) == (1, 0)
    assert not one.batcher.is_stuck
    assert call.answer.tolist() == [4]


def test_when_all_hang_others_are_refused_until_one_comes_back(world: Make) -> None:
    one = world(timeout_s=5)
    one.runner.is_held = True
    one.submit_all([1])
    one.run()
    one.wait(6)
    one.batcher.expire(one.loop.now)
    is_stuck_at_once = one.batcher.is_stuck  # it may still end the call that it gave up
    one.wait(1)
    one.batcher.expire(one.loop.now)
    was_stuck, refused = one.batcher.is_stuck, one.submit(np.array([2]))
    one.runner.is_held = False
    one.runner.release()
    one.run()
    taken = one.submit(np.array([3]))
    one.run()

    assert (is_stuck_at_once, was_stuck, one.batcher.is_stuck) == (False, True, False)
    assert isinstance(refused.answer, Unavailable)
    assert taken.answer.tolist() == [6]


def test_a_new_runner_helps_where_all_hang(world: Make) -> None:
    one = world(timeout_s=5)
    one.runner.is_held = True
    one.submit_all([1])
    one.run()
    for _ in range(2):
        one.wait(6)
        one.batcher.expire(one.loop.now)
    one.add_runner()
    call = one.submit(np.array([2]))
    one.run()

    assert not one.batcher.is_stuck
    assert call.answer.tolist() == [4]


def test_an_answer_that_comes_twice_is_taken_once(world: Make) -> None:
    one = world()
    one.runner.is_held = True
    calls = one.submit_all([1])
    one.run()
    end = one.runner.held[0]
    end(None)
    end(None)
    end(LOST)
    one.run()

    assert calls[0].answer.tolist() == [2]
    assert one.batcher.stats.batches == 1


def test_whoever_listens_hears_of_every_batch_before_its_answers(world: Make) -> None:
    one = world(max_batch_size=2)
    heard: list[Any] = []
    calls = one.submit_all([1, 2, 3])
    one.batcher.on_batch = lambda batch, _began, _took, error: heard.append(
        (batch.rows, batch.reason, error, len(calls[0].answers))
    )
    one.run()

    assert heard == [(2, "full", None, 0), (1, "idle", None, 1)]


@pytest.mark.parametrize("runners", [1, 4])
def test_a_killed_runner_costs_no_request(world: Make, runners: int) -> None:
    one = world(runners=runners, max_batch_size=4, max_queue_rows=1000)
    for runner in one.runners:
        runner.is_held = True
    calls = one.submit_all(range(100))
    one.run()
    for turn in range(400):
        busy = [runner for runner in one.runners if runner.held]
        if not busy:
            break
        if turn % 5 == 0:  # killed and replaced
            one.batcher.remove_runner(busy[0])
            busy[0].release(LOST if turn % 2 else UNTOUCHED)
            one.add_runner().is_held = True
        else:
            busy[-1].release()
        one.run()

    assert sorted(call.answer[0] for call in calls) == [2 * n for n in range(100)]
