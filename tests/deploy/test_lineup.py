"""Which replicas stay, which are made, which go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.deploy import DeploymentSpec, DeploySettings
from modelpack.deploy.container import Container
from modelpack.deploy.engine_words import replica_name
from modelpack.deploy.fleet import Group
from modelpack.deploy.lineup import lineup


def spec(**settings: Any) -> DeploymentSpec:
    return DeploymentSpec(
        name="digits",
        bundle="digits:a",
        digest="sha256:" + "a" * 64,
        image="digits:a",
        settings=DeploySettings(**settings),
    )


def group(numbers: dict[int, DeploymentSpec]) -> Group:
    """Make a group; each number was made for a spec."""
    return Group("f" * 12, tuple(container(number, numbers[number]) for number in sorted(numbers)))


def container(number: int, made_for: DeploymentSpec) -> Container:
    return Container(
        name=replica_name("digits", "f" * 12, number),
        deployment="digits",
        role="replica",
        group="f" * 12,
        is_kept=True,
        spec=made_for,
        facts={},
        phase="running",
        health=None,
        url=None,
        created=f"{number:06}",
        since=None,
        restarts=0,
        detail=None,
        program="",
        words=1,
    )


def numbers(found: Any) -> tuple[list[int], list[int], list[int]]:
    stay, surplus = ([one.number for one in ones] for ones in (found.stay, found.surplus))
    return stay, list(found.fresh), surplus


FORMER = spec(max_replicas=4, in_flight=7)


@pytest.mark.parametrize(
    ("there", "wanted", "said"),
    [
        ({}, spec(min_replicas=2), ([], [1, 2], [])),
        ([1, 2, 3], spec(min_replicas=2), ([1, 2], [], [3])),
        ([1, 3], spec(min_replicas=3), ([1, 3], [2], [])),
        ({}, spec(max_replicas=3), ([], [1, 2, 3], [])),
        ([1, 2, 3, 4], FORMER, ([1, 2, 3, 4], [], [])),
        ([1, 2, 4], FORMER, ([1, 2, 4], [5], [])),
        ([1, 2, 3, 4], spec(max_replicas=4, in_flight=2), ([1, 2, 3], [5], [4])),
        ([1, 2, 3, 4], spec(max_replicas=2), ([1], [5], [2, 3, 4])),
        ([1, 2, 3, 4], spec(max_replicas=6), ([1, 2, 3, 4], [5, 6], [])),
        ([2], spec(min_replicas=0), ([], [3], [2])),
    ],
)
def test_what_becomes_of_whom(there: Any, wanted: DeploymentSpec, said: Any) -> None:
    found = group(dict.fromkeys(there, FORMER)) if there else None
    assert numbers(lineup(found, wanted)) == said


def test_one_that_was_cut_short_goes_on_with_what_it_has_made() -> None:
    wanted = replace(FORMER, settings=replace(FORMER.settings, in_flight=2))
    found = group({1: FORMER, 2: FORMER, 3: FORMER, 4: FORMER, 5: wanted})

    assert numbers(lineup(found, wanted)) == ([1, 2, 3, 5], [], [4])


@given(
    there=st.dictionaries(st.integers(1, 9), st.sampled_from([1, 2, 3]), max_size=6),
    most=st.integers(2, 6),
    in_flight=st.sampled_from([1, 2, 3]),
)
def test_there_are_as_many_as_wanted_and_the_newest_knows_the_policy(
    there: dict[int, int], most: int, in_flight: int
) -> None:
    made = {number: spec(max_replicas=most, in_flight=one) for number, one in there.items()}
    wanted = spec(max_replicas=most, in_flight=in_flight)

    found = lineup(group(made) if made else None, wanted)

    stay, fresh, surplus = numbers(found)
    assert len(stay) + len(fresh) == most
    assert sorted(stay + surplus) == sorted(there)
    newest = max(stay + fresh)
    assert newest in fresh or there[newest] == in_flight
    assert newest >= max(there, default=0)
