"""What a plan says, what it refuses, and the files that would be sent."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from modelpack_heroku.target import HerokuTarget

from modelpack.deploy import DeploymentSpec, Live, State, rollout
from modelpack.errors import UsageError

from .heroku_cases import MAIN, TRIAL, spec


def plan_of(wanted: DeploymentSpec, **options: str) -> Any:
    return rollout.plan_deployment(HerokuTarget(given=options), wanted, offline=True)


def test_a_first_plan_says_both_apps_what_it_costs_and_how_it_goes() -> None:
    text = plan_of(spec("a", min_replicas=2)).describe()

    for said in (
        f"+ app/{MAIN}",
        f"+ app/{TRIAL}",
        f"+ pushed-image/{MAIN}/web",
        "dyno          standard-1x",
        "cost: about 0.0694 USD an hour",
        "512 MB",
        f"tried in the app '{TRIAL}'",
    ):
        assert said in text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"public": False}, "answers the whole internet"),
        ({"region": "frankfurt"}, "has no region 'frankfurt'"),
        ({"min_replicas": 0}, "nobody wakes a dyno of standard-1x"),
        ({"accelerator": "nvidia-l4:1"}, "Heroku has no accelerators"),
        ({"canary_percent": 10}, "gets all calls at once"),
        ({"mode": "slug"}, "there is one way only"),
        ({"allow": ("10.0.0.0/8",)}, "no network of its own"),
        ({"PORT": "80"}, "deploy.env.PORT is set by the target"),
        ({"HEROKU_KEY": "1"}, "Heroku keeps such names for itself"),
        ({"MODELPACK_KEPT": "1"}, "deploy.env.MODELPACK_KEPT is set by the target"),
        ({"secrets": {"DYNO": "env:X"}}, "deploy.secrets.DYNO is set by the target"),
        ({"secrets": {"A": "vault:x"}}, "not a reference that the target 'heroku' follows"),
        ({"BIG": "x" * 33000}, "room for 32768"),
        ({"instance": "huge"}, "no dynos of the size 'huge'"),
    ],
)
def test_what_heroku_would_refuse_is_refused_in_the_plan(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        plan_of(spec("a", **settings))
    assert len(str(caught.value).splitlines()) <= 4


def test_what_is_passed_over_is_a_warning_with_its_reason() -> None:
    wanted = spec("a", cpu=2.0, max_replicas=5, labels={"team": "x"}, MODELPACK_GRACE_S="60")
    warnings = " ".join(plan_of(wanted).warnings)
    for said in ("share of its size", "autoscaling is set in its dashboard", "has 30 s to end"):
        assert said in warnings


def test_an_eco_dyno_may_sleep_and_a_basic_one_leaves_a_gap() -> None:
    plan = plan_of(spec("a", instance="eco", min_replicas=0))
    assert any("sleeps after 30 minutes" in note for note in plan.notes)
    assert any("calls wait meanwhile" in one for one in plan.warnings)
    assert not any("calls wait" in one for one in plan_of(spec("a")).warnings)


def test_the_files_are_those_of_heroku_and_hold_no_secret() -> None:
    wanted = spec("a", LEVEL="1", secrets={"TOKEN": "env:SOURCE"})
    files = rollout.render(HerokuTarget(), wanted).files

    assert yaml.safe_load(files["heroku.yml"]) == {
        "build": {"docker": {"web": "Dockerfile"}},
        "setup": {"config": {"LEVEL": "1"}},
    }
    described = json.loads(files["app.json"])
    assert described["env"] == {"LEVEL": {"value": "1"}, "TOKEN": {"required": True}}
    assert described["formation"] == {"web": {"quantity": 1, "size": "standard-1x"}}
    requests = json.loads(files["requests.json"])
    assert [one["method"] for one in requests] == ["POST", "PATCH", "PATCH", "PATCH"]
    assert requests[1]["body"]["TOKEN"] == "(of env:)"


def test_another_bundle_is_pushed_and_another_number_of_dynos_is_not() -> None:
    target, wanted = HerokuTarget(), spec("a")
    facts = target._planner.facts(wanted)
    live = Live(name="digits", state=State.RUNNING, facts=facts, surroundings={"trial": TRIAL})
    scaled = replace(wanted, settings=replace(wanted.settings, min_replicas=3))

    kinds = [[one.kind for one in target.plan(one, live).changes] for one in (scaled, spec("b"))]

    assert kinds == [["app"], ["pushed-image", "app"]]
    assert target.plan(wanted, live).is_empty
