"""What is learned of the cost of a batch, and what is not believed."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelpack.server.batching.cost import EVIDENCE, HANDLING_S, CostBook, CostModel

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


def taught(cost: object, batches: int = 400, sizes: tuple[int, ...] = SIZES) -> CostModel:
    """A model that has seen batches of these sizes, noisy by a fifth, odd now and then."""
    model, noise = CostModel(), random.Random(5)
    for n in range(batches):
        rows = sizes[n % len(sizes)]
        odd = 20.0 if noise.random() < 0.02 else 1.0
        model.learn(rows, cost(rows) * noise.uniform(0.8, 1.2) * odd)  # type: ignore[operator]
    return model


def taught_exactly(cost: object, sizes: tuple[int, ...]) -> CostModel:
    """A model that has seen enough batches of these sizes, without noise."""
    model = CostModel()
    for rows in sizes * EVIDENCE:
        model.learn(rows, cost(rows))  # type: ignore[operator]
    return model


@pytest.mark.parametrize("rows", [1, 5, 10, 20, 32])
@pytest.mark.parametrize(("fixed", "each"), [(0.010, 0.0001), (0.002, 0.001), (0.0, 0.005)])
def test_costs_are_learned_from_noisy_batches(rows: int, fixed: float, each: float) -> None:
    model = taught(lambda n: fixed + each * n)

    assert model.seconds(rows) == pytest.approx(fixed + each * rows, rel=0.3)


def test_beyond_what_was_tried_a_line_is_drawn() -> None:
    model = taught(lambda n: 0.010 + 0.001 * n, sizes=(4, 8, 16))

    assert model.seconds(64) == pytest.approx(0.074, rel=0.3)
    assert model.seconds(1) == pytest.approx(0.011, rel=0.3)


@example(rows=1, seen=[(1, 1.0), (2, 0.125), *[(2, 1.0)] * 5])
@given(rows=st.integers(1, 500), seen=st.lists(st.tuples(st.integers(1, 64), st.floats(1e-6, 10.0)), max_size=50))  # fmt: skip
def test_an_estimate_is_never_nonsense(rows: int, seen: list[tuple[int, float]]) -> None:
    """More rows cost no less than the cheapest known batch, and no more than its share each."""
    model = CostModel()
    for one, seconds in seen:
        model.learn(one, seconds)

    estimate = model.seconds(rows)

    if not seen:
        assert estimate is None
        return
    assert estimate is not None
    least, most = min(s for _, s in seen), max(s for _, s in seen)
    assert least / 1000 <= estimate <= most * max(1, rows) * 1.01


@pytest.mark.parametrize("at", [0, 1, 2, 50])
def test_one_odd_batch_decides_nothing(at: int) -> None:
    model = CostModel()
    for n in range(100):
        model.learn(8, 5.0 if n == at else 0.010)

    assert model.seconds(8) == pytest.approx(0.010, rel=0.2)
    model.learn(8, 5.0)
    assert model.seconds(8) == pytest.approx(0.010, rel=0.2)


@pytest.mark.parametrize("factor", [10.0, 0.1, 3.0])
def test_a_changed_speed_is_believed_after_some_batches_and_for_all_sizes(factor: float) -> None:
    model = taught(lambda n: 0.010 + 0.001 * n)
    before = {rows: model.seconds(rows) or 0.0 for rows in (1, 8, 32)}
    for _ in range(6):
        model.learn(8, factor * 0.018)

    assert model.seconds(8) == pytest.approx(factor * before[8], rel=0.3)
    assert model.seconds(32) == pytest.approx(factor * before[32], rel=0.3)
    assert not model.knows(32)  # it has to be tried again


def test_a_slow_change_is_followed() -> None:
    model = taught(lambda _: 0.010)
    for n in range(200):
        model.learn(8, 0.010 * (1 + n / 200))

    assert model.seconds(8) == pytest.approx(0.020, rel=0.15)


def test_sizes_beyond_which_nothing_is_gained_are_left_out() -> None:
    """Up to 4 rows cost the same; 32 cost eight times as much."""
    model = taught(lambda n: 0.005 * max(1, n / 4), sizes=(1, 2, 4, 8, 16, 32))

    assert [model.enough(rows) for rows in (1, 2, 4, 5, 32)] == [1, 2, 4, 4, 4]


def test_where_more_rows_are_cheaper_all_of_them_go() -> None:
    model = taught(lambda n: 0.010 + 0.0001 * n)

    assert [model.enough(rows) for rows in (1, 7, 20, 32)] == [1, 7, 20, 32]


def test_what_handling_costs_counts_for_very_short_batches() -> None:
    model = taught(lambda n: HANDLING_S * n / 50)

    assert model.enough(32) == 32


def test_what_was_never_tried_is_tried_a_doubling_at_a_time() -> None:
    """One batch of 64 rows would keep everybody waiting for as long as 64 of one row."""
    model = taught_exactly(lambda n: 0.010 + 0.001 * n, sizes=(1, 2, 4))

    assert [model.enough(rows) for rows in (4, 7, 8, 64)] == [4, 7, 8, 8]


def test_when_two_doublings_brought_nothing_no_more_are_tried() -> None:
    model = taught_exactly(lambda n: 0.005 * n, sizes=(1, 2))
    assert (model.enough(2), model.enough(64)) == (1, 4)

    model = taught_exactly(lambda n: 0.005 * n, sizes=(1, 2, 4))
    assert (model.enough(4), model.enough(64)) == (1, 1)


def test_larger_sizes_are_tried_again_once_in_a_while_but_not_by_far() -> None:
    model = taught_exactly(lambda n: 0.005 * n, sizes=SIZES)
    tried = [model.enough(32) for _ in range(640)]

    assert {rows: tried.count(rows) for rows in set(tried)} == {1: 630, 2: 5, 4: 5}


def test_a_size_beyond_the_plateau_is_found_in_the_end() -> None:
    """Some models use all processors only for large batches."""

    def costs(rows: int) -> float:
        return 0.005 * rows if rows <= 16 else 0.001 * rows

    model = taught_exactly(costs, sizes=(1, 2, 4))
    for _ in range(20_000):
        rows = model.enough(64)
        model.learn(rows, costs(rows))

    assert model.enough(32) == 32


def closed_loop(cost: Callable[[int], float], rows: int, batches: int) -> list[int]:
    """The sizes that are chosen while there are always so many rows waiting."""
    model, sizes = CostModel(), []
    for _ in range(batches):
        sizes.append(model.enough(rows))
        model.learn(sizes[-1], cost(sizes[-1]))
    return sizes


def test_smaller_batches_are_tried_where_larger_ones_are_long() -> None:
    """Some models are quickest with a row or two: what they work on fits into a cache then."""
    sizes = closed_loop(lambda n: 0.010 * n if n <= 2 else 0.0105 * n, 16, 2000)

    assert sizes[:EVIDENCE] == [16] * EVIDENCE
    assert sizes[-100:].count(1) >= 97


def test_a_smaller_batch_that_is_dearer_is_tried_no_more() -> None:
    sizes = closed_loop(lambda n: 0.010 + 0.0001 * n, 16, 2000)

    assert sizes.count(8) == EVIDENCE
    assert sizes.count(16) == 2000 - EVIDENCE


def test_short_batches_are_not_halved() -> None:
    assert set(closed_loop(lambda n: 0.0001 * n, 16, 500)) == {16}


def test_without_evidence_nothing_is_known() -> None:
    model = CostModel()
    for _ in range(EVIDENCE - 1):
        model.learn(4, 1.0)
        assert (model.row_s(32), model.knows(1), model.known_s) == (0.0, False, (0.0, 0.0))
    model.learn(4, 1.0)

    assert model.row_s(32) == pytest.approx(0.25)
    assert model.knows(4)
    assert not model.knows(5)


def test_a_clock_that_stands_still_breaks_nothing() -> None:
    model = taught(lambda _: 0.0)

    assert model.seconds(8) == 0.0
    assert model.enough(32) == 32


def test_each_shape_has_its_own_costs_until_there_are_too_many() -> None:
    book = CostBook()

    assert book.of(None) is book.all
    assert book.of(10) is book.of(10) is not book.of(20)
    assert len({id(book.of(shape)) for shape in range(1000)}) < 100
