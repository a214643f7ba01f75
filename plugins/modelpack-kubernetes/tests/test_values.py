"""Values of secrets that change behind the same references: pods get them, and nobody sees them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from clustered import deploy, spec, target_at
from stand_in import Asked, StandIn

from modelpack.deploy import DeploymentSpec, State, rollout
from modelpack.errors import ModelpackError, UsageError

FIRST, SECOND = "first-value", "second-value"


@pytest.fixture(autouse=True)
def _value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", FIRST)


def wanted(version: str = "a", **more: Any) -> DeploymentSpec:
    return spec(version, secrets={"TOKEN": "env:HERE"}, **more)


def value_of_pods(cluster: StandIn) -> str:
    """Return what the pods of the Deployment get."""
    [container] = cluster.find("Deployment", "digits")["spec"]["template"]["spec"]["containers"]
    [ref] = [one["valueFrom"]["secretKeyRef"] for one in container["env"] if "valueFrom" in one]
    data = cluster.find("Secret", ref["name"])["data"]
    return base64.b64decode(data[ref["key"]]).decode()


def secrets(cluster: StandIn) -> list[str]:
    return [one for one in cluster.resources() if one.startswith("Secret")]


def test_another_value_replaces_the_pods_and_is_not_shown(
    cluster: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_at(cluster)
    deploy(target, wanted())
    assert rollout.plan_deployment(target, wanted()).is_empty
    monkeypatch.setenv("HERE", SECOND)
    plan = rollout.plan_deployment(target, wanted())
    assert "values of secrets" in plan.describe()
    assert FIRST not in str(plan.to_json()) + plan.describe()
    assert SECOND not in str(plan.to_json()) + plan.describe()
    generation = cluster.find("Deployment", "digits")["metadata"]["generation"]
    assert rollout.apply_plan(target, plan).state is State.RUNNING
    assert value_of_pods(cluster) == SECOND
    assert cluster.find("Deployment", "digits")["metadata"]["generation"] > generation
    assert rollout.plan_deployment(target, wanted()).is_empty
    assert [one.note for one in target.history("digits")] == [None, "other values of its secrets"]


def test_the_value_of_before_is_the_secret_of_before(
    cluster: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_at(cluster)
    for value in (FIRST, SECOND, FIRST):
        monkeypatch.setenv("HERE", value)
        deploy(target, wanted())
        assert value_of_pods(cluster) == value
    assert len(secrets(cluster)) == 2


def test_values_that_do_not_get_through_leave_those_of_before(
    cluster: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Secret of the running pods is not touched, so what goes back finds it as it was."""
    target = target_at(cluster)
    deploy(target, wanted())

    def refuse(asked: Asked) -> str | None:
        is_it = (asked.verb, asked.kind.plural, asked.is_dry) == ("patch", "deployments", False)
        return "refused" if is_it and asked.query.get("force") != "true" else None

    monkeypatch.setenv("HERE", SECOND)
    cluster.on_call = refuse
    with pytest.raises(ModelpackError):
        deploy(target, wanted())
    cluster.on_call = lambda _: None
    assert value_of_pods(cluster) == FIRST
    assert len(secrets(cluster)) == 1
    assert deploy(target, wanted()).state is State.RUNNING
    assert value_of_pods(cluster) == SECOND


def test_a_rollback_brings_the_values_that_are_here(
    cluster: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_at(cluster)
    deploy(target, wanted("a"))
    deploy(target, wanted("b"))
    monkeypatch.setenv("HERE", SECOND)
    rollout.apply_plan(target, rollout.plan_rollback(target, "digits"))
    assert target.status("digits").bundle == "digits:a"
    assert value_of_pods(cluster) == SECOND


def test_whoever_has_no_value_sees_no_change_and_can_apply_none(
    cluster: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_at(cluster)
    deploy(target, wanted())
    monkeypatch.delenv("HERE")
    assert rollout.plan_deployment(target, wanted()).is_empty
    with pytest.raises(UsageError, match="the variable 'HERE' is not set"):
        deploy(target, wanted(cpu=2.0))
    assert value_of_pods(cluster) == FIRST


@pytest.mark.parametrize("mode", ["knative", "kserve"])
def test_services_of_others_get_new_revisions_of_the_same_bundle(
    cluster: StandIn, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_at(cluster)
    for value in (FIRST, SECOND):
        monkeypatch.setenv("HERE", value)
        assert deploy(target, wanted(mode=mode)).state is State.RUNNING
    assert rollout.plan_deployment(target, wanted(mode=mode)).is_empty
    assert len(secrets(cluster)) == 2
