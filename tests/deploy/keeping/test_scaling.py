"""How many there should be: what is told to whoever starts and ends servers, and when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelpack.deploy.autoscale.policy import Policy
from modelpack.deploy.keeping.scaling import SAMPLE_S, Scaling

POLICY = Policy(
    min_replicas=0,
    max_replicas=4,
    in_flight=2,
    every_s=1.0,
    window_s=0.0,
    up_s=0.0,
    down_s=0.0,
    max_up_factor=10.0,
    max_down_factor=0.0,
    idle_s=5.0,
)


class Servers:
    """A pool that has what it is asked for at once."""

    def __init__(self) -> None:
        self.there: dict[str, int] = {}
        self.orders: list[tuple[str, int]] = []

    def want(self, group: str, count: int) -> None:
        if self.there.get(group) != count:
            self.orders.append((group, count))
        self.there[group] = count

    def awake(self, group: str) -> int:
        return self.there.get(group, 0)

    def places(self, group: str) -> int:
        return 4 if group in self.there else 0


class World:
    """A clock, servers, and what is said about them."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pool = Servers()
        self.said: list[dict[str, Any]] = []
        self.scaling = Scaling(self.pool, self.said.append, lambda: self.now)

    def pass_time(
        self, seconds: float, in_flight: int = 0, *, asks_at: float = -1.0, group: str = "a"
    ) -> None:
        """Look as the keeper does; somebody is answered ``asks_at`` seconds from now."""
        for step in range(round(seconds / SAMPLE_S)):
            self.now += SAMPLE_S
            self.scaling.look(group, in_flight, was_asked=step * SAMPLE_S == asks_at)


@pytest.fixture
def world() -> World:
    return World()


def test_many_at_once_bring_as_many_as_the_formula_says(world: World) -> None:
    world.scaling.set_policy("a", POLICY, 1.0, wanted=1)
    world.pass_time(1.5, in_flight=7)

    assert world.pool.orders == [("a", 1), ("a", 4)]
    assert world.said == [{"event": "scaled", "group": "a", "from": 1, "to": 4, "in_flight": 7.0}]


def test_what_is_seen_between_two_decisions_is_averaged(world: World) -> None:
    """A peak of a moment, just as it is decided, is not the load."""
    world.scaling.set_policy("a", POLICY, 1.0, wanted=1)
    world.pass_time(1.0, in_flight=1)
    world.pass_time(0.25, in_flight=6)

    assert world.pool.there["a"] == 1, "1, 1, 1, 1 and 6 are 2 all in all"


def test_the_last_one_goes_when_nobody_has_asked_for_a_while(world: World) -> None:
    world.scaling.set_policy("a", POLICY, 1.0, wanted=1)
    world.pass_time(1.25, in_flight=1)
    world.pass_time(4.75)
    assert world.pool.there["a"] == 1
    world.pass_time(2.0)

    assert world.pool.there["a"] == 0
    assert [one["event"] for one in world.said] == ["asleep"]
    assert world.scaling.is_asleep("a")


def test_requests_too_short_to_be_seen_keep_it_awake(world: World) -> None:
    """They are counted, although no look ever meets one."""
    world.scaling.set_policy("a", POLICY, 1.0, wanted=1)
    for _ in range(6):
        world.pass_time(4.0, asks_at=2.0)

    assert world.pool.there["a"] == 1


def test_who_asks_wakes_as_many_as_are_needed_at_once(world: World) -> None:
    world.scaling.set_policy("a", POLICY, 1.0, wanted=0)
    world.scaling.knock("a", 5)

    assert world.pool.there["a"] == 3
    assert (world.said[0]["event"], world.said[0]["to"]) == ("waking", 3)
    world.scaling.knock("a", 9)
    assert world.pool.there["a"] == 3, "it is awake, and the load decides"


def test_a_knock_of_somebody_who_has_left_wakes_one(world: World) -> None:
    world.scaling.set_policy("a", POLICY, 1.0, wanted=0)
    world.scaling.knock("a", 0)

    assert world.pool.there["a"] == 1


def test_a_trial_has_what_was_ordered_within_its_limits(world: World) -> None:
    world.scaling.set_policy("a", POLICY, 1.0, wanted=0)
    for count, there in ((0, 1), (3, 3), (9, 4)):
        world.scaling.wake("a", count)
        assert world.pool.there["a"] == there


def test_of_two_policies_the_newer_one_counts(world: World) -> None:
    world.scaling.set_policy("a", POLICY, 2.0, wanted=1)
    world.scaling.set_policy("a", Policy(min_replicas=3, max_replicas=3), 1.0, wanted=3)
    world.scaling.admit("a")
    assert world.pool.there["a"] == 1

    world.scaling.set_policy("a", Policy(min_replicas=2, max_replicas=3), 3.0, wanted=2)
    world.scaling.admit("a")

    assert world.pool.there["a"] == 2
    status = world.scaling.status()["a"]
    assert (status["min"], status["max"], status["places"]) == (2, 3, 4)


def test_the_next_revision_goes_on_from_what_was_seen_of_the_load(world: World) -> None:
    """Else a quiet moment after the update would end servers that are needed."""
    steady = replace(POLICY, min_replicas=1, down_s=30.0)
    world.scaling.set_policy("a", steady, 1.0, wanted=3)
    world.pass_time(10.0, in_flight=6)
    world.scaling.set_policy("b", steady, 1.0, wanted=0)
    world.scaling.wake("b", 3)
    world.scaling.admit("b", after="a")

    world.pass_time(10.0, in_flight=0, group="b")
    assert world.pool.there["b"] == 3
    world.pass_time(25.0, in_flight=0, group="b")
    assert world.pool.there["b"] == 1


def test_what_is_remembered_is_wanted_again() -> None:
    before, after = World(), World()
    before.scaling.set_policy("a", POLICY, 1.0, wanted=0)
    before.scaling.wake("a", 3)

    after.scaling.recall(before.scaling.to_json())

    assert after.pool.orders == [("a", 3)]
    assert after.scaling.to_json() == before.scaling.to_json()


def test_a_group_that_is_not_scaled_is_left_alone(world: World) -> None:
    world.scaling.look("b", 99)
    world.scaling.knock("b", 99)
    world.scaling.wake("b", 2)
    world.scaling.admit("b")
    world.scaling.at_least("b", 2)
    world.scaling.note("b")

    assert (world.pool.orders, world.said, world.scaling.status()) == ([], [], {})
