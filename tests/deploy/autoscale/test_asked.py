"""What the settings of a deployment ask for, as a policy and as words for the keeper."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest

from modelpack.config.deploying import GROUPS, DeploySettings
from modelpack.deploy.autoscale.asked import IN_FLIGHT, policy_of, policy_words
from modelpack.deploy.autoscale.policy import Policy


@pytest.mark.parametrize(
    "numbers",
    [{}, {"min_replicas": 3}, {"max_replicas": 1}, {"min_replicas": 2, "max_replicas": 2}],
)
def test_with_one_number_of_replicas_nothing_is_scaled(numbers: dict[str, Any]) -> None:
    settings = DeploySettings(**numbers)
    assert not settings.is_scaling
    assert policy_of(settings) is None


@pytest.mark.parametrize("numbers", [{"min_replicas": 0}, {"max_replicas": 2}])
def test_what_is_not_set_is_as_the_formula_has_it(numbers: dict[str, Any]) -> None:
    policy = policy_of(DeploySettings(**numbers))
    usual = Policy(in_flight=IN_FLIGHT)
    assert policy is not None
    for item in fields(Policy):
        if item.name not in ("min_replicas", "max_replicas"):
            assert getattr(policy, item.name) == getattr(usual, item.name), item.name


def test_every_setting_of_scaling_reaches_the_policy() -> None:
    asked: dict[str, Any] = {
        "min_replicas": 0,
        "max_replicas": 7,
        "in_flight": 3,
        "idle_s": 11.0,
        "cooldown_up_s": 12.0,
        "cooldown_down_s": 13.0,
        "every_s": 14.0,
        "window_s": 15.0,
        "max_up_factor": 16.0,
        "max_down_factor": 0.17,
        "up_tolerance": 0.18,
        "down_tolerance": 0.19,
    }
    assert set(asked) == set(GROUPS["scaling"])
    policy = policy_of(DeploySettings(**asked))
    assert policy is not None
    names = {"cooldown_up_s": "up_s", "cooldown_down_s": "down_s"}
    assert policy.to_json() == {names.get(name, name): value for name, value in asked.items()}


def test_words_of_a_policy_have_one_space_and_come_back() -> None:
    policy = Policy(min_replicas=0, max_replicas=4, in_flight=2.5)
    serial, text = policy_words(policy, 1732353600.25).split()
    assert float(serial) == 1732353600.25
    assert Policy.from_json(json.loads(text)) == policy


def test_a_policy_of_a_newer_modelpack_is_read_as_far_as_it_is_known() -> None:
    assert Policy.from_json({"min_replicas": 2, "by_the_moon": "full"}) == Policy(min_replicas=2)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "x",
        {"in_flight": "2"},
        {"in_flight": True},
        {"min_replicas": None},
        {"max_replicas": float("inf")},
    ],
)
def test_what_is_no_policy_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"must be a number|an object"):
        Policy.from_json(value)
