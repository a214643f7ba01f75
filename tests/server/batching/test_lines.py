"""Who is next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

Make = Callable[..., Any]


def test_higher_levels_go_first_and_lower_ones_fill_what_is_left(world: Make) -> None:
    one = world(max_batch_size=3)
    for number, priority in enumerate((2, 1, 0, 2, 1, 0)):
        one.submit(np.array([number]), priority=priority)
    one.run()

    assert one.runner.batches == [[2, 5, 1], [4, 0, 3]]


def test_in_one_level_the_first_to_come_goes_first(world: Make) -> None:
    one = world(max_batch_size=1)
    one.submit_all(range(5), priority=1)
    one.run()

    assert one.runner.batches == [[n] for n in range(5)]


@pytest.mark.parametrize("low", [1, 2])
def test_nobody_starves_under_a_flood_of_higher_ones(world: Make, low: int) -> None:
    one = world(max_batch_size=1)
    one.runner.is_held = True
    one.submit_all([-1])
    one.run()
    waiting = one.submit_all(range(100, 103), priority=low)
    for number in range(60):
        one.submit(np.array([number]), priority=0)
        one.submit(np.array([number]), priority=0)
        one.runner.release()
        one.run()

    order = [batch[0] for batch in one.runner.batches]
    assert [order.index(n) for n in (100, 101, 102)] == [8, 16, 24]  # one batch of 8
    assert all(call.answers for call in waiting)


def test_all_lower_levels_have_their_turns(world: Make) -> None:
    one = world(max_batch_size=1, max_queue_rows=10_000)
    for priority in (0, 1, 2):
        one.submit_all([priority] * 200, priority=priority)
    one.run()

    order = [batch[0] for batch in one.runner.batches]
    assert [n for n, level in enumerate(order) if level == 2][:3] == [7, 15, 23]
    assert [n for n, level in enumerate(order) if level == 1][:3] == [8, 16, 24]


@pytest.mark.parametrize("priority", [0, 1])
def test_no_line_waits_for_ever_behind_another(world: Make, priority: int) -> None:
    one = world(max_batch_size=1)
    one.submit_all(range(5), key="many", priority=priority)
    one.submit(np.array([100]), key="one", priority=priority)
    one.run()

    assert one.runner.batches.index([100]) == 1


def test_a_large_request_does_not_hold_up_small_ones_of_other_levels(world: Make) -> None:
    one = world(max_batch_size=4)
    large = one.submit(np.arange(100), priority=0)
    small = one.submit(np.array([500]), priority=2)
    one.run()

    assert any(500 in batch for batch in one.runner.batches[:9])
    assert large.answer.tolist() == [2 * n for n in range(100)]
    assert small.answer.tolist() == [1000]


def test_dropped_calls_leave_no_line_behind(world: Make) -> None:
    one = world()
    one.runner.is_held = True
    one.submit_all([0])
    one.run()
    for number in range(50):
        one.batcher.drop(one.submit(np.array([number]), key=number))
    one.batcher.expire(one.loop.now)

    assert list(one.batcher._lines.calls()) == []
    assert (one.batcher.waiting_rows, one.batcher.waiting_bytes) == (0, 0)


@given(
    calls=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9), st.integers(0, 2)), max_size=40),
    size=st.integers(1, 8),
)
def test_every_row_is_run_once_and_counts_return_to_nothing(
    world: Make, calls: list[tuple[int, int, int]], size: int
) -> None:
    one = world(max_batch_size=size)
    number = 0
    for priority, rows, key in calls:
        one.submit(np.arange(number, number + rows), priority=priority, key=key, size_bytes=rows)
        number += rows
    one.run()

    assert sorted(row for batch in one.runner.batches for row in batch) == list(range(number))
    assert [level.rows for level in one.batcher._lines.levels] == [0, 0, 0]
    assert (one.batcher.waiting_rows, one.batcher.waiting_bytes) == (0, 0)
