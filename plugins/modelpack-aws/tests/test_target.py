"""The target over a small AWS in memory: the whole contract, and a fault at every single call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from modelpack_aws.push import Repositories
from modelpack_aws.target import AwsTarget, EcsTarget
from modelpack_aws.wanted import Wanted

from modelpack.deploy import DeploymentSpec, State, records, rollout, survey
from modelpack.errors import ConflictError, ModelpackError
from modelpack.testing import CLAIMS, Claim, Hours, TargetCase, fault_at_every, spec_of

from .fake_aws import FakeAws


@pytest.fixture
def aws() -> Iterator[FakeAws]:
    fake = FakeAws()
    yield fake
    fake.close()


def target_of(aws: FakeAws, kind: type[AwsTarget] = AwsTarget) -> AwsTarget:
    return kind(clients=aws, push=aws.push, clock=Hours().clock())


@pytest.fixture
def case(aws: FakeAws) -> TargetCase:
    return TargetCase(
        target=target_of(aws),
        spec=spec_of("a"),
        changed=spec_of("b", cpu=2.0),
        broken=spec_of("c", FAKE_MODE="crash"),
        resources=aws.resources,
        most_kills=4,
    )


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_the_contract_of_targets(claim: Claim, case: TargetCase) -> None:
    claim(case)


def deploy(target: AwsTarget, wanted: DeploymentSpec) -> Any:
    return rollout.apply_plan(target, rollout.plan_deployment(target, wanted))


@pytest.mark.parametrize("is_update", [False, True], ids=["first", "update"])
@pytest.mark.parametrize("every", [19, pytest.param(1, marks=pytest.mark.long)])
def test_a_fault_at_any_call_leaves_what_the_next_deploy_brings_to_its_end(
    aws: FakeAws, case: TargetCase, every: int, is_update: bool
) -> None:
    def all_that_is_left() -> None:
        assert sorted(aws.resources()) == ["repository modelpack/digits", "stack modelpack-digits"]

    hit = fault_at_every(case, aws, every=every, is_update=is_update, look=all_that_is_left)
    if every == 1:
        assert {"push", "create_change_set", "execute_change_set"} <= hit
        assert is_update or "create_repository" in hit
        assert {"tag_resource", "describe_stacks", "describe_services"} <= hit


def test_what_somebody_else_made_is_not_touched(aws: FakeAws) -> None:
    deploy(target_of(aws, EcsTarget), spec_of())
    with pytest.raises(ConflictError, match="stands at target 'aws-ecs'"):
        target_of(aws).status("digits")
    aws.stacks["modelpack-digits"].tags = []
    with pytest.raises(ConflictError, match="was not made by modelpack"):
        target_of(aws, EcsTarget).destroy("digits")
    assert "stack modelpack-digits" in aws.resources()


def test_a_change_set_that_makes_the_balancer_anew_is_dropped(aws: FakeAws) -> None:
    target = target_of(aws)
    deploy(target, spec_of())
    aws.replaced = {"LoadBalancer"}
    with pytest.raises(ConflictError, match="± AWS::ElasticLoadBalancingV2::LoadBalancer"):
        deploy(target, spec_of("b", public=True))
    assert target.status("digits").bundle == "digits:a"
    assert sorted(aws.resources()) == ["repository modelpack/digits", "stack modelpack-digits"]


def test_one_that_is_consented_to_is_executed(aws: FakeAws) -> None:
    target = target_of(aws)
    deploy(target, spec_of())
    aws.replaced = {"LoadBalancer"}
    asked: list[str] = []
    plan = rollout.plan_deployment(target, spec_of("b", public=True))
    rollout.apply_plan(target, plan, confirm=lambda question: not asked.append(question))
    assert target.status("digits").bundle == "digits:b"
    (question,) = asked
    assert question.startswith("CloudFormation would also ± AWS::ElasticLoadBalancingV2::")


def test_the_plan_says_which_service_was_chosen_and_why(aws: FakeAws) -> None:
    target = target_of(aws)
    for more, words in (
        ({}, "ecs: no machines to look after"),
        ({"accelerator": "nvidia-l4:1"}, "sagemaker: Fargate has no 'nvidia-l4:1'"),
        ({"instance": "m7i.large"}, "ec2: 'm7i.large' is asked for"),
        ({"min_replicas": 0}, "lambda: it alone costs nothing while nobody asks"),
        ({"mode": "ec2"}, "ec2: asked for"),
    ):
        plan = rollout.plan_deployment(target, spec_of(**more), offline=True)
        assert words in plan.describe(), more


def test_a_failed_change_says_what_cloudformation_said(aws: FakeAws) -> None:
    target = target_of(aws)
    deploy(target, spec_of())
    with pytest.raises(ModelpackError) as failed:
        deploy(target, spec_of("c", FAKE_MODE="crash"))
    assert "AWS::ECS::Service Service: error: it crashes" in failed.value.message
    assert "'digits:a'" in str(failed.value.hint) or "digits:a" in str(failed.value.hint)
    assert target.status("digits").bundle == "digits:a"


def test_scaling_touches_the_number_alone(aws: FakeAws) -> None:
    target = target_of(aws)
    deploy(target, spec_of())
    plan = rollout.plan_scale(target, "digits", fewest=3, most=None)
    [change] = [one for one in plan.changes if one.action != "none"]
    assert (change.before, change.after) == ({"min_replicas": None}, {"min_replicas": 3})
    aws.calls.clear()
    rollout.apply_plan(target, plan)
    assert "push" not in aws.calls


def test_the_page_names_every_permission_that_a_deploy_needs(aws: FakeAws) -> None:
    target = target_of(aws)
    deploy(target, spec_of())
    with suppress(ModelpackError):
        deploy(target, spec_of("c", FAKE_MODE="crash"))
    list(target.logs("digits"))
    target.list()
    target.destroy("digits")
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "deploy-to-aws.md").read_text()
    needed = {
        "".join(word.capitalize() for word in name.split("_")) for name in aws.calls if "_" in name
    }
    assert {name for name in needed if f"`{name}`" not in page} == set()


def test_an_option_may_change_from_deploy_to_deploy(aws: FakeAws) -> None:
    deploy(target_of(aws), spec_of())
    topic = "arn:aws:sns:us-east-1:123456789012:on-call"
    other = AwsTarget(
        clients=aws, given={"alarm_topic": topic}, push=aws.push, clock=Hours().clock()
    )
    plan = rollout.plan_deployment(other, spec_of())
    [change] = [one for one in plan.changes if one.action != "none"]
    assert change.after == {"option.alarm_topic": topic}
    assert rollout.apply_plan(other, plan).state is State.RUNNING
    record = records.read("digits")
    assert record is not None
    assert survey.is_sent_to(record, target_of(aws))
    assert not survey.is_sent_to(record, AwsTarget.from_options({"region": "eu-west-1"}))


def test_functions_may_read_their_image_and_nobody_else(aws: FakeAws) -> None:
    images = Repositories(clients=aws)
    images.ensure(Wanted(name="digits", bundle="digits:1", revision="a" * 12, mode="lambda"))
    [statement] = aws.repositories["modelpack/digits"]["policy"]["Statement"]
    assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
    functions = "arn:aws:lambda:us-east-1:123456789012:function:modelpack-*"
    assert statement["Condition"] == {"StringLike": {"aws:sourceArn": functions}}
    images.ensure(Wanted(name="other", bundle="digits:1", revision="a" * 12, mode="ecs"))
    assert "policy" not in aws.repositories["modelpack/other"]


def test_what_is_not_aws_is_said_in_our_words(aws: FakeAws) -> None:
    target = AwsTarget.from_options({"endpoint_url": aws.endpoint_url})
    with pytest.raises(ModelpackError, match="what answered is not AWS") as failed:
        target.status("digits")
    assert "endpoint_url" in str(failed.value.hint)
