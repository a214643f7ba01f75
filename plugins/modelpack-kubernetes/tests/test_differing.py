"""What others have changed, and whose fields an apply takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from clustered import deploy, spec, target_at
from stand_in import Json, StandIn

from modelpack.deploy import rollout
from modelpack.errors import ConflictError


def edit(
    cluster: StandIn, kind: str, change: Callable[[Json], object], who: str = "kubectl"
) -> None:
    """Change an object as somebody else."""
    with cluster.store.changed:
        found = next(one for one in cluster.store.kinds if one.kind == kind)
        value = cluster.store.get(found, "default", "digits").to_json()
        change(value)
        cluster.store.replace(found, "default", "digits", value, who)


def scale_by_hand(value: Json) -> None:
    value["spec"]["replicas"] = 5


def test_what_the_cluster_fills_in_is_no_change(cluster: StandIn) -> None:
    target = target_at(cluster)
    deploy(target, spec(cpu=1.0))
    container = cluster.find("Deployment", "digits")["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "1"}
    assert rollout.plan_deployment(target, spec(cpu=1.0)).is_empty


def test_what_somebody_else_changed_is_drift_and_put_back(cluster: StandIn) -> None:
    target = target_at(cluster)
    deploy(target, spec(min_replicas=2))
    edit(cluster, "Deployment", scale_by_hand)
    plan = rollout.plan_deployment(target, spec(min_replicas=2))
    [drift] = plan.drift
    assert (drift.before, drift.after) == ({"spec.replicas": 2}, {"spec.replicas": 5})
    assert not plan.is_empty
    rollout.apply_plan(target, plan)
    assert cluster.find("Deployment", "digits")["spec"]["replicas"] == 2
    assert rollout.plan_deployment(target, spec(min_replicas=2)).is_empty


def test_an_object_that_is_gone_is_drift_too(cluster: StandIn) -> None:
    target = target_at(cluster)
    deploy(target, spec())
    with cluster.store.changed:
        cluster.store.delete(cluster.store.named("Service"), "default", "digits")
    plan = rollout.plan_deployment(target, spec())
    assert [one.resource for one in plan.drift] == ["Service/digits"]
    rollout.apply_plan(target, plan)
    assert cluster.find("Service", "digits")


def test_a_plan_says_who_owns_what_it_takes(cluster: StandIn) -> None:
    target = target_at(cluster)
    deploy(target, spec(min_replicas=2))
    edit(cluster, "Deployment", scale_by_hand, "team-tool")
    text = rollout.plan_deployment(target, spec(min_replicas=2)).describe()
    assert "owner of .spec.replicas  team-tool → modelpack" in text
    assert "Deployment/digits: '.spec.replicas' is taken from 'team-tool', who owns it" in text


def test_what_others_add_and_nobody_else_sets_stays(cluster: StandIn) -> None:
    target = target_at(cluster)
    deploy(target, spec())
    edit(cluster, "Deployment", lambda value: value["metadata"]["labels"].update(team="vision"))
    assert rollout.plan_deployment(target, spec()).is_empty
    deploy(target, spec("b"))
    assert cluster.find("Deployment", "digits")["metadata"]["labels"]["team"] == "vision"


class Late:
    """Somebody who takes a field between the plan and the apply of an object."""

    def __init__(self, cluster: StandIn) -> None:
        self.cluster, self.is_done = cluster, False

    def __call__(self, asked: Any) -> str | None:
        is_it = asked.verb == "patch" and asked.kind.kind == "Deployment" and not asked.is_dry
        if is_it and not self.is_done:
            self.is_done = True
            edit(self.cluster, "Deployment", scale_by_hand, "late-comer")
        return None


@pytest.mark.parametrize("is_granted", [True, False])
def test_a_field_that_no_plan_has_shown_is_taken_by_consent_alone(
    cluster: StandIn, is_granted: bool
) -> None:
    target, asked = target_at(cluster), []
    deploy(target, spec("a", min_replicas=2))
    plan = rollout.plan_deployment(target, spec("b", min_replicas=2))

    def confirm(question: str) -> bool:
        asked.append(question)
        return is_granted

    cluster.on_call = Late(cluster)
    if is_granted:
        assert rollout.apply_plan(target, plan, confirm=confirm).bundle == "digits:b"
    else:
        with pytest.raises(ConflictError, match=r"'\.spec\.replicas' is owned by 'late-comer'"):
            rollout.apply_plan(target, plan, confirm=confirm)
        assert target.status("digits").bundle == "digits:a"
    assert asked == ["take 1 fields of Deployment/digits from 'late-comer'?"]


def test_an_object_of_somebody_else_is_not_touched(cluster: StandIn) -> None:
    value = {"metadata": {"name": "digits"}, "spec": {"ports": [{"port": 80}]}}
    with cluster.store.changed:
        cluster.store.create(cluster.store.named("Service"), "default", value, "kubectl")
    with pytest.raises(ConflictError, match="Service/digits in the namespace 'default' was not"):
        rollout.plan_deployment(target_at(cluster), spec())
    assert cluster.resources() == ["Service default/digits"]


def test_scaling_touches_the_number_alone(cluster: StandIn) -> None:
    target = target_at(cluster)
    deploy(target, spec())
    plan = rollout.plan_scale(target, "digits", fewest=3, most=None)
    changed = [one for one in plan.changes if one.resource == "Deployment/digits"]
    assert [(one.before, one.after) for one in changed] == [
        ({"spec.replicas": 1}, {"spec.replicas": 3})
    ]
    before = {one["metadata"]["name"] for one in pods(cluster)}
    rollout.apply_plan(target, plan)
    assert before < {one["metadata"]["name"] for one in pods(cluster)}


def pods(cluster: StandIn) -> list[Json]:
    with cluster.store.changed:
        return [one.to_json() for one in cluster.store.list(cluster.store.named("Pod"))]
