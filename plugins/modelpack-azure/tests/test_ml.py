"""Online endpoints over a small Azure on loopback: the whole contract, shares of the calls, faults."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from modelpack_azure import ml_asking
from modelpack_azure.target import MlTarget

from modelpack.deploy import DeploymentSpec, marked, rollout
from modelpack.errors import DeployError, UsageError
from modelpack.testing import CLAIMS, KILLS, Claim, TargetCase, fault_at_every, spec_of

from .azure_cases import ML, deploy, target_of
from .fake_azure import FakeAzure


def deployment_of(wanted: DeploymentSpec, **options: str) -> str:
    """Return what Azure calls the deployment of a spec."""
    return f"r{marked(wanted.revision, {**ML, **options})}"


@pytest.fixture(autouse=True)
def apis(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store of this machine has the bundle, with one api."""
    record = {"name": "predict", "route": "/predict", "input": {"type": "object"}}
    monkeypatch.setattr(ml_asking, "apis_of", lambda bundle: (record,))


def case_of(azure: FakeAzure, *, changed: DeploymentSpec) -> TargetCase:
    return TargetCase(
        target=target_of(azure, MlTarget),
        spec=spec_of("a"),
        changed=changed,
        broken=spec_of("c", FAKE_MODE="crash"),
        resources=azure.resources,
        most_kills=3,
    )


@pytest.mark.parametrize(
    "claim",
    [pytest.param(one, marks=pytest.mark.long if one in KILLS else ()) for one in CLAIMS],
    ids=lambda claim: claim.__name__,
)
def test_the_contract_of_targets(claim: Claim, azure: FakeAzure) -> None:
    claim(case_of(azure, changed=spec_of("b", cpu=4.0, max_replicas=3)))


CANARY: dict[str, Any] = {"canary_percent": 20, "bake_s": 60.0}


def test_calls_go_by_a_copy_and_a_canary_to_the_new_deployment(azure: FakeAzure) -> None:
    target = target_of(azure, MlTarget, mirror="10")
    deploy(target, spec_of("a"))
    deploy(target, spec_of("b", **CANARY))

    first, second = (
        deployment_of(one, mirror="10") for one in (spec_of("a"), spec_of("b", **CANARY))
    )
    assert azure.endpoints.moves == [
        {},
        {first: 100},
        {first: 80, second: 20},
        {second: 100},
    ]
    assert azure.endpoints.copies == [{second: 10}]
    assert f"deployment {second}" in azure.resources()
    assert f"deployment {first}" not in azure.resources()


def test_a_canary_that_does_not_hold_loses_its_share(azure: FakeAzure) -> None:
    target, canary = target_of(azure, MlTarget), spec_of("b", **CANARY)
    deploy(target, spec_of("a"))
    azure.endpoints.flaws.add(deployment_of(canary))

    with pytest.raises(DeployError, match="does not hold"):
        deploy(target, canary)

    assert azure.endpoints.moves[-1] == {deployment_of(spec_of("a")): 100}
    assert target.status("digits").bundle == "digits:a"
    assert rollout.plan_deployment(target, spec_of("a")).is_empty


def test_a_canary_without_a_time_stays_until_the_next_deploy(azure: FakeAzure) -> None:
    target, canary = target_of(azure, MlTarget), spec_of("b", canary_percent=20)
    deploy(target, spec_of("a"))
    deploy(target, canary)
    shares = {deployment_of(spec_of("a")): 80, deployment_of(canary): 20}
    assert azure.endpoints.moves[-1] == shares
    assert rollout.plan_deployment(target, canary).is_empty

    with pytest.raises(DeployError):
        deploy(target, spec_of("c", FAKE_MODE="crash"))
    assert azure.endpoints.moves[-1] == shares, "a failed deploy has moved the calls"

    rollout.apply_plan(target, rollout.plan_rollback(target, "digits"))
    assert azure.endpoints.moves[-1] == {deployment_of(spec_of("a")): 100}


def test_the_new_deployment_alone_is_asked_before_it_gets_calls(azure: FakeAzure) -> None:
    target = target_of(azure, MlTarget)
    deploy(target, spec_of("a"))
    azure.endpoints.answers = 500

    with pytest.raises(DeployError, match="answers an example with HTTP 500"):
        deploy(target, spec_of("b"))

    assert azure.endpoints.scored == [deployment_of(spec_of("a")), deployment_of(spec_of("b"))]
    assert target.status("digits").bundle == "digits:a"


def test_the_number_of_instances_has_rules_of_its_own(azure: FakeAzure) -> None:
    target = target_of(azure, MlTarget)
    deploy(target, spec_of("a", max_replicas=4))
    [rules] = [one for path, one in azure.things.items() if "autoscalesettings" in path]
    [profile] = rules["properties"]["profiles"]
    assert profile["capacity"] == {"minimum": "1", "maximum": "4", "default": "1"}
    assert rules["properties"]["targetResourceUri"].endswith(
        f"/deployments/{deployment_of(spec_of('a', max_replicas=4))}"
    )

    deploy(target, spec_of("b"))
    assert not any("autoscalesettings" in path for path in azure.things)


def test_what_cannot_be_is_said_before_anything_is_done(azure: FakeAzure) -> None:
    target = target_of(azure, MlTarget)
    for more, words in (
        ({"min_replicas": 0}, "cannot sleep"),
        ({"accelerator": "nvidia-h100:1"}, "no machine of our table has 'nvidia-h100'"),
        ({"cpu": 500.0}, "no machine of our table has as much"),
        ({"allow": ("10.0.0.0/8",)}, "up to the network of the workspace"),
        ({"secrets": {"T": "env:T"}}, "not a reference that the target"),
        ({"secrets": {"T": "keyvault:http://x"}}, "not the address of a secret of Key Vault"),
    ):
        with pytest.raises(UsageError, match=words):
            rollout.plan_deployment(target, spec_of(**more))
    for option, value in (("timeout", "900"), ("mirror", "80"), ("timeout", "x")):
        with pytest.raises(UsageError, match=f"option '{option}': must be 1 to"):
            rollout.plan_deployment(target_of(azure, MlTarget, **{option: value}), spec_of())
    assert azure.resources() == []


@pytest.mark.long
@pytest.mark.timeout(4 * 3600)  # thousands of calls: hours are no sign that it hangs
@pytest.mark.parametrize("kind", ["refused", "lost"])
def test_a_fault_at_any_call_leaves_what_the_next_deploy_brings_to_its_end(
    azure: FakeAzure, kind: str
) -> None:
    case = case_of(azure, changed=spec_of("b", **CANARY))
    fault_at_every(case, azure, kinds=(kind,), look=lambda: one_stands(azure))


def one_stands(azure: FakeAzure) -> None:
    standing = [one for one in azure.resources() if one.startswith("deployment")]
    assert len(standing) == 1, standing


def test_the_registry_of_the_workspace_is_taken_where_none_is_named(azure: FakeAzure) -> None:
    target = replace(target_of(azure, MlTarget), given={"workspace": "work"})

    deploy(target, spec_of())
    assert any("roleassignments" in path for path in azure.things)

    target.destroy("digits")
    assert azure.resources() == []
