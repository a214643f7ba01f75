"""The formula of scaling: what each of its knobs does, and what always holds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.deploy.autoscale.policy import Autoscaler, Policy


def decided(policy: Policy, looks: list[float], replicas: int) -> list[int]:
    """How many replicas there are after each look, when each decision is carried out."""
    scaler, found = Autoscaler(policy), []
    for number, in_flight in enumerate(looks):
        replicas = scaler.decide(number * policy.every_s, in_flight, replicas)
        found.append(replicas)
    return found


def at_once(**more: float) -> Policy:
    """A policy that neither averages nor waits."""
    wishes = {"window_s": 0, "up_s": 0, "down_s": 0, "max_up_factor": 100, "max_down_factor": 0}
    return Policy(**{**wishes, **more})  # type: ignore[arg-type]


def test_there_are_as_many_as_the_requests_at_once_need() -> None:
    assert decided(at_once(in_flight=4), [4, 9, 40, 1], 1) == [1, 3, 10, 1]


def test_the_requests_are_averaged_over_the_window() -> None:
    policy = at_once(window_s=30)
    assert decided(policy, [1, 1, 10, 10, 10, 10], 1) == [1, 1, 4, 7, 10, 10]


@pytest.mark.parametrize(
    ("in_flight", "replicas"), [(95.1, 100), (104.9, 100), (94, 94), (106, 106)]
)
def test_a_wish_within_the_tolerance_changes_nothing(in_flight: float, replicas: int) -> None:
    assert decided(at_once(max_replicas=1000), [in_flight], 100) == [replicas]


def test_a_step_is_at_most_a_factor_and_at_least_one() -> None:
    policy = at_once(max_up_factor=1.5, max_down_factor=0.75)
    assert decided(policy, [100] * 6, 1) == [2, 3, 5, 8, 12, 18]
    assert decided(policy, [0] * 8, 10) == [8, 6, 5, 4, 3, 2, 1, 1]


def test_growing_waits_until_all_of_its_window_want_it() -> None:
    policy = at_once(up_s=30)
    assert decided(policy, [1, 5, 5, 5, 5], 1) == [1, 1, 1, 5, 5]


def test_shrinking_waits_until_all_of_its_window_want_it() -> None:
    policy = at_once(down_s=30)
    assert decided(policy, [5, 1, 1, 1, 1], 5) == [5, 5, 5, 1, 1]


def test_what_was_not_watched_for_so_long_does_not_shrink() -> None:
    """As when the program that decides is started again: quiet now does not mean quiet before."""
    policy = at_once(down_s=30)
    assert decided(policy, [1, 1, 1, 1], 5) == [5, 5, 5, 1]


def test_what_was_woken_stays_for_as_long() -> None:
    policy = at_once(min_replicas=0, in_flight=1, down_s=30, idle_s=1000)
    assert decided(policy, [0, 5, 1, 1, 1, 1], 0) == [0, 5, 5, 5, 1, 1]


def test_a_peak_in_the_window_keeps_what_it_needed() -> None:
    policy = at_once(down_s=40)
    assert decided(policy, [6, 2, 4, 1, 1, 1, 1, 1], 6) == [6, 6, 6, 6, 4, 4, 1, 1]


def test_from_nothing_it_is_at_once_what_the_requests_need() -> None:
    assert decided(Policy(min_replicas=0, in_flight=2), [0, 0, 7], 0) == [0, 0, 4]


def test_to_nothing_only_after_it_was_idle_so_long() -> None:
    policy = at_once(min_replicas=0, idle_s=30)
    assert decided(policy, [1, 0, 0, 0, 0], 1) == [1, 1, 1, 0, 0]


def test_a_request_begins_the_idle_time_anew() -> None:
    policy = at_once(min_replicas=0, idle_s=30)
    assert decided(policy, [0, 0, 1, 0, 0, 0], 1) == [1, 1, 1, 1, 1, 0]


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=60),
    st.integers(0, 5),
    st.integers(1, 50),
    st.integers(0, 60),
)
def test_it_stays_within_its_bounds(looks: list[float], least: int, most: int, begin: int) -> None:
    most = max(most, least)
    policy = Policy(min_replicas=least, max_replicas=most)
    for replicas in decided(policy, looks, begin):
        assert least <= replicas <= most


def test_who_was_answered_between_two_looks_has_asked() -> None:
    """A request of a millisecond is hardly ever there when somebody looks."""
    scaler = Autoscaler(Policy(min_replicas=0, idle_s=20.0, every_s=10.0))
    assert [scaler.decide(10.0 * n, 0.0, 1, was_asked=True) for n in range(6)] == [1] * 6
    assert [scaler.decide(60.0 + 10.0 * n, 0.0, 1) for n in range(2)] == [1, 0]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60), st.integers(1, 40))
def test_a_step_never_leaves_its_factors(looks: list[float], begin: int) -> None:
    policy = Policy(max_replicas=1000)
    before = begin
    for after in decided(policy, looks, begin):
        assert after <= max(before + 1, math.ceil(before * policy.max_up_factor))
        assert after >= min(before - 1, math.ceil(before * policy.max_down_factor))
        before = after


@given(st.integers(1, 200), st.floats(0.5, 20))
def test_a_steady_load_ends_at_what_it_needs(load: int, in_flight: float) -> None:
    policy = Policy(in_flight=in_flight, max_replicas=10_000)
    found = decided(policy, [load] * 400, 1)
    wanted = load / in_flight
    assert found[-1] == found[-40]
    assert (
        wanted / (1 + policy.up_tolerance)
        <= found[-1]
        <= max(math.ceil(wanted), wanted / (1 - policy.down_tolerance))
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"min_replicas": -1}, "min_replicas must not be below 0, got -1"),
        ({"min_replicas": 5, "max_replicas": 4}, "max_replicas must be 5 or more, got 4"),
        ({"in_flight": 0}, "in_flight must be above 0, got 0"),
        ({"max_up_factor": 0.5}, "max_up_factor must be 1 or more, got 0.5"),
        ({"max_down_factor": 1.5}, "max_down_factor must be between 0 and 1, got 1.5"),
        ({"window_s": math.nan}, "window_s must not be below 0, got nan"),
        ({"every_s": math.inf}, "every_s must be above 0, got inf"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        Policy(**wrong)  # type: ignore[arg-type]
    assert str(caught.value) == said
