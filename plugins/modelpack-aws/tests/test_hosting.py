"""Functions and endpoints over a small AWS in memory: the whole contract, and faults on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from modelpack_aws import sagemaker_mode
from modelpack_aws.target import AwsTarget, LambdaTarget, SagemakerTarget

from modelpack.deploy import (
    SILENT,
    DeploymentSpec,
    Journal,
    State,
    marked,
    records,
    rollout,
)
from modelpack.errors import DeployError
from modelpack.testing import CLAIMS, Claim, Hours, TargetCase, fault_at_every, spec_of

from .fake_hosting import FakeHosting

CANARY = {"canary_percent": 20, "bake_s": 30.0}
KINDS: dict[str, tuple[type[AwsTarget], dict[str, str], dict[str, Any]]] = {
    "function": (LambdaTarget, {}, {}),
    "function, canary": (LambdaTarget, {"timeout": "90"}, CANARY),
    "endpoint": (SagemakerTarget, {}, {}),
    "variants, canary": (SagemakerTarget, {"kind": "variants"}, {**CANARY, "max_replicas": 3}),
}


@pytest.fixture
def aws() -> Iterator[FakeHosting]:
    fake = FakeHosting()
    yield fake
    fake.close()


@pytest.fixture(autouse=True)
def apis(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store of this machine has the bundle, with one api."""
    record = {"name": "predict", "route": "/predict", "input": {"type": "object"}}
    monkeypatch.setattr(sagemaker_mode, "apis_of", lambda bundle: (record,))


def target_of(aws: FakeHosting, kind: str) -> AwsTarget:
    made, options, _ = KINDS[kind]
    return made(clients=aws, given=options, push=aws.push, clock=Hours().clock())


def spec(kind: str, version: str = "a", **more: Any) -> DeploymentSpec:
    return spec_of(version, **{"ready_timeout_s": 0.2, **KINDS[kind][2], **more})


def deploy(target: AwsTarget, wanted: DeploymentSpec) -> Any:
    return rollout.apply_plan(target, rollout.plan_deployment(target, wanted))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind == "function, canary" else pytest.mark.long)
        for kind in KINDS
    ],
)
def test_the_contract_of_targets(kind: str, claim: Claim, aws: FakeHosting) -> None:
    claim(
        TargetCase(
            target=target_of(aws, kind),
            spec=spec(kind, "a"),
            changed=spec(kind, "b", memory_bytes=2 * 1024**3),
            broken=spec(kind, "c", FAKE_MODE="crash"),
            resources=aws.resources,
            most_kills=3,
        )
    )


def test_calls_of_a_function_move_from_version_to_version(aws: FakeHosting) -> None:
    target = target_of(aws, "function, canary")
    deploy(target, spec("function, canary", "a"))
    deploy(target, spec("function, canary", "b"))

    # The first; the second beside it; its share; all of it.
    assert aws.moves == [{"1": 1.0}, {"1": 1.0}, {"2": 0.2, "1": 0.8}, {"2": 1.0}]
    assert [number for number, _ in aws.versions["modelpack-digits"].values()] == [2]


def test_calls_of_an_endpoint_move_from_variant_to_variant(aws: FakeHosting) -> None:
    kind = "variants, canary"
    target, first, second = target_of(aws, kind), spec(kind, "a"), spec(kind, "b")
    old, new = (f"r{marked(one.revision, KINDS[kind][1])}" for one in (first, second))
    deploy(target, first)
    deploy(target, second)

    assert aws.moves == [
        {old: 1.0},
        {new: 0.0, old: 1.0},
        {new: 0.2, old: 0.8},
        {new: 1.0, old: 0.0},
        {new: 1.0},
    ]


@pytest.mark.parametrize("kind", ["function, canary", "variants, canary"])
def test_a_canary_that_does_not_hold_is_taken_back(kind: str, aws: FakeHosting) -> None:
    target = target_of(aws, kind)
    deploy(target, spec(kind, "a"))
    aws.alarms, before = "ALARM", aws.moves[-1]

    with pytest.raises(DeployError, match="does not hold: calls failed"):
        deploy(target, spec(kind, "b"))

    assert target.status("digits").bundle == "digits:a"
    assert target.status("digits").state is State.RUNNING
    assert aws.moves[-1] == before
    assert rollout.plan_deployment(target, spec(kind, "a")).is_empty
    aws.alarms = "OK"
    assert deploy(target, spec(kind, "b")).bundle == "digits:b"


@pytest.mark.parametrize("kind", KINDS)
def test_a_rollback_is_a_deploy_of_what_stood_before(kind: str, aws: FakeHosting) -> None:
    target = target_of(aws, kind)
    deploy(target, spec(kind, "a"))
    deploy(target, spec(kind, "b"))

    status = rollout.apply_plan(target, rollout.plan_rollback(target, "digits"))

    assert status.bundle == "digits:a"
    assert target.history("digits")[-1].bundle == "digits:a"


@pytest.mark.parametrize("kind", ["function", "endpoint"])
def test_another_option_alone_is_a_deploy_with_a_way_back(kind: str, aws: FakeHosting) -> None:
    target = target_of(aws, kind)
    deploy(target, spec(kind))
    records.forget("digits")  # as from another machine
    other = replace(target, given={"retention": "60"})

    changed = rollout.plan_deployment(other, spec(kind))
    other.apply(changed, Journal(), SILENT)
    before_it_is_settled = other.read_live(spec(kind)).is_settled
    other.revert("digits")

    assert "option.retention" in changed.describe()
    assert not before_it_is_settled
    assert rollout.plan_deployment(target, spec(kind)).is_empty
    assert not rollout.plan_deployment(other, spec(kind)).is_empty


@pytest.mark.parametrize("kind", ["function, canary", "variants, canary"])
@pytest.mark.parametrize("every", [13, pytest.param(1, marks=pytest.mark.long)])
def test_a_fault_at_any_call_leaves_what_the_next_deploy_brings_to_its_end(
    aws: FakeHosting, kind: str, every: int
) -> None:
    case = TargetCase(
        target=target_of(aws, kind),
        spec=spec(kind, "a"),
        changed=spec(kind, "b"),
        broken=spec(kind, "c", FAKE_MODE="crash"),
        resources=aws.resources,
    )

    def all_that_is_left() -> None:
        assert sorted(aws.resources()) == ["repository modelpack/digits", "stack modelpack-digits"]

    hit = fault_at_every(case, aws, every=every, look=all_that_is_left)
    if every == 1:
        assert {"create_change_set", "execute_change_set", "describe_alarms"} <= hit
