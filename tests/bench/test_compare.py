"""A difference is called clear when it is one, and not when chance explains it."""

from __future__ import annotations

import math
import random

import pytest

from modelpack.bench.compare import Difference, compare, compare_blocks
from modelpack.bench.load import Load
from modelpack.bench.result import Result
from modelpack.bench.slices import Slice


def second(dice: random.Random, *, rate: float, ms: float, failed: int = 0) -> Slice:
    one = Slice()
    for _ in range(max(round(dice.gauss(rate, rate * 0.03)), 1)):
        one.latencies.add(dice.lognormvariate(math.log(ms / 1000), 0.3))
    one.statuses = {200: one.latencies.count}
    if failed:
        one.statuses[500] = failed
    return one


def run(
    seed: int, *, seconds: int = 20, rate: float = 300, ms: float = 5, failed: int = 0
) -> Result:
    dice = random.Random(seed)
    slices = tuple(second(dice, rate=rate, ms=ms, failed=failed) for _ in range(seconds))
    return Result(target={"api": "predict"}, load=Load(), slices=slices)


def by_figure(before: Result, after: Result) -> dict[str, Difference]:
    return {one.figure: one for one in compare(before, after)}


def test_run_does_not_differ_from_itself() -> None:
    for one in compare(run(1), run(1)):
        assert one.change == 0
        assert one.verdict == "no clear difference"


def test_chance_alone_is_seldom_called_clear() -> None:
    """Twenty pairs of runs of the same thing, five figures each; 99 % intervals."""
    found = [one for n in range(20) for one in compare(run(n), run(1000 + n))]
    assert sum(one.is_clear for one in found) <= 5


def test_slower_run_is_clearly_worse() -> None:
    found = by_figure(run(1), run(2, rate=240, ms=7))
    assert found["rate"].verdict == "worse"
    assert found["rate"].change == pytest.approx(-20, abs=5)
    for name in ("p50", "p90", "p99"):
        assert found[name].verdict == "worse", name
        assert found[name].low < found[name].change < found[name].high
    assert found["failed"].verdict == "no clear difference"


def test_faster_run_is_clearly_better() -> None:
    found = by_figure(run(1), run(2, rate=400, ms=3))
    assert {found[name].verdict for name in ("rate", "p50", "p99")} == {"better"}


def test_failures_that_were_not_there_are_worse() -> None:
    one = by_figure(run(1), run(2, failed=10))["failed"]
    assert one.verdict == "worse"
    assert one.to_json()["change_percent"] is None


def test_few_seconds_say_nothing_clear() -> None:
    found = by_figure(run(1, seconds=2), run(2, seconds=2, rate=100, ms=50))
    assert {one.verdict for one in found.values()} == {"no clear difference"}
    assert found["p99"].to_json()["low_percent"] is None


def test_small_change_is_not_called_clear_however_steady() -> None:
    def steady(count: int) -> Result:
        one = Slice(statuses={200: count})
        one.latencies.counts = {1000: count}
        return Result(target={}, load=Load(), slices=(one,) * 20)

    assert by_figure(steady(1000), steady(1005))["rate"].verdict == "no clear difference"
    assert by_figure(steady(1000), steady(1050))["rate"].verdict == "better"


def test_worse_by_a_percentage_means_even_at_best() -> None:
    facts = {"figure": "p99", "unit": "ms", "before": 10.0, "after": 13.0}
    one = Difference(**facts, low=12, high=50, more_is_better=False)  # type: ignore[arg-type]
    assert one.is_worse_by(10)
    assert not one.is_worse_by(15)
    facts = {"figure": "rate", "unit": "1/s", "before": 10.0, "after": 8.0}
    one = Difference(**facts, low=-30, high=-12, more_is_better=True)  # type: ignore[arg-type]
    assert one.is_worse_by(10)
    assert not one.is_worse_by(15)


def test_turns_are_drawn_as_a_whole() -> None:
    """Where each turn differs from the next, twenty seconds in two turns are two pieces."""
    dice = random.Random(5)
    blocks = [[second(dice, rate=r, ms=5) for _ in range(10)] for r in (200, 400)]
    other = [[second(dice, rate=r, ms=5) for _ in range(10)] for r in (330, 330)]
    rate = next(d for d in compare_blocks(blocks, other) if d.figure == "rate")
    assert rate.verdict == "no clear difference"


def test_slow_rounds_do_not_hide_a_difference_that_both_sides_show() -> None:
    """The machine is twice as slow in every other round; B is a tenth faster in each of them."""
    dice = random.Random(9)
    rates = [200, 400] * 5
    a = [[second(dice, rate=r, ms=2000 / r)] for r in rates]
    b = [[second(dice, rate=r * 1.15, ms=2000 / r / 1.15)] for r in rates]

    def verdict(*, is_paired: bool) -> dict[str, str]:
        return {d.figure: d.verdict for d in compare_blocks(a, b, is_paired=is_paired)}

    assert verdict(is_paired=True)["rate"] == "better"
    assert verdict(is_paired=False)["rate"] == "no clear difference"
