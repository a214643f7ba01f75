"""Numbers of replicas change while they run: nothing is built anew, and done is what is there."""

from __future__ import annotations

import pytest
from modelpack_ray.target import RayTarget

from modelpack.deploy import rollout
from modelpack.errors import DeployError

from .conftest import deploy, spec
from .ray_stand_in import StandIn


def test_scaling_builds_nothing_anew(ray: StandIn, target: RayTarget) -> None:
    deploy(target, spec("a"))
    builds, names = ray.builds, list(ray.apps)
    plan = rollout.plan_scale(target, "digits", fewest=2, most=5)
    assert [change.action for change in plan.changes] == ["update"]
    status = rollout.apply_plan(target, plan)
    assert (ray.builds, list(ray.apps)) == (builds, names)
    assert status.replicas is not None
    assert str(status.replicas) == "2 of 5 awake"
    service = ray.apps[names[0]]["config"]["deployments"][0]
    assert service["autoscaling_config"]["max_replicas"] == 5
    assert [one.spec.settings.most_replicas for one in target.history("digits") if one.spec] == [
        1,
        5,
    ]


@pytest.mark.parametrize("more", [{}, {"most": 9}])
def test_a_scaling_is_done_when_the_replicas_are_there(
    ray: StandIn, target: RayTarget, more: dict[str, int]
) -> None:
    deploy(target, spec("a"))
    (name,) = ray.apps
    for fewest in (5, 2):
        plan = rollout.plan_scale(target, "digits", fewest=fewest, most=more.get("most"))
        rollout.apply_plan(target, plan)
        assert ray.apps[name]["replicas"] == fewest


def test_a_scaling_that_finds_no_room_is_taken_back_and_says_how_far_it_came(
    ray: StandIn, target: RayTarget
) -> None:
    deploy(target, spec("a", ready_timeout_s=0.3))
    ray.room = 2
    with pytest.raises(DeployError, match=r"2 of 5 replicas ran") as caught:
        rollout.apply_plan(target, rollout.plan_scale(target, "digits", fewest=5, most=None))
    assert "ray status" in (caught.value.hint or "")
    current = target.current("digits")
    assert current is not None
    assert current.settings.min_replicas == 1


def test_what_somebody_else_has_scaled_is_drift(ray: StandIn, target: RayTarget) -> None:
    deploy(target, spec("a", min_replicas=2))
    (app,) = ray.apps.values()
    app["config"]["deployments"][0]["num_replicas"] = 7
    plan = rollout.plan_deployment(target, spec("a", min_replicas=2))
    assert [change.after["min_replicas"] for change in plan.drift] == [7]
    rollout.apply_plan(target, plan)
    assert app["config"]["deployments"][0]["num_replicas"] == 2


def test_a_service_that_may_sleep_is_on_trial_awake(ray: StandIn, target: RayTarget) -> None:
    deploy(target, spec("a", min_replicas=0, max_replicas=3, idle_s=60.0))
    (app,) = ray.apps.values()
    auto = app["config"]["deployments"][0]["autoscaling_config"]
    assert (auto["min_replicas"], auto["initial_replicas"]) == (0, 1)
    assert auto["downscale_to_zero_delay_s"] == 60.0
