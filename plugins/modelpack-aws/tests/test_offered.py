"""What AWS does not have is refused before anybody is asked."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_aws import offered
from modelpack_aws.target import AwsTarget, Ec2Target, SagemakerTarget

from modelpack.deploy import Live, rollout
from modelpack.errors import UsageError
from modelpack.testing import spec_of


class Nobody:
    """Clients that must not be asked."""

    endpoint_url = None

    def __init__(self, region: str | None = "eu-west-1") -> None:
        self.region = region

    def use(self, region: str) -> None:
        self.region = region

    def client(self, service: str) -> Any:
        raise AssertionError(service)


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-2", "cn-north-1", "us-gov-west-1"])
def test_regions_of_every_partition_are_known(region: str) -> None:
    offered.require_region(region, said_by="deploy.region")


@pytest.mark.parametrize(
    ("region", "hint"),
    [
        ("mars-1", "a newer boto3 may know it: pip install -U boto3"),
        ("us-eastt-1", "did you mean 'us-east-1'?"),
        ("eu-west-1a", "did you mean 'eu-west-1'?"),
    ],
)
def test_a_region_that_is_none_is_refused_with_or_without_asking(region: str, hint: str) -> None:
    target = AwsTarget(clients=Nobody())
    wanted = spec_of(region=region)
    for ask in (
        lambda: rollout.plan_deployment(target, wanted, offline=True),
        lambda: rollout.plan_deployment(target, wanted),
        lambda: rollout.render(target, wanted),
    ):
        with pytest.raises(UsageError, match=r"deploy\.region: AWS has no region") as raised:
            ask()
        assert hint in str(raised.value.hint)


def test_a_region_of_the_surroundings_says_where_it_comes_from() -> None:
    target = AwsTarget(clients=Nobody("mars-1"))
    with pytest.raises(UsageError, match=r"region option, AWS_REGION or profile: .*'mars-1'"):
        rollout.plan_deployment(target, spec_of(), offline=True)
    assert rollout.plan_deployment(AwsTarget(clients=Nobody(None)), spec_of(), offline=True)


@pytest.mark.parametrize(
    ("target", "settings", "says"),
    [
        (AwsTarget, {"instance": "ml.banana"}, "SageMaker has no type 'ml.banana'"),
        (AwsTarget, {"instance": "ml.m5.banana"}, "SageMaker has no type 'ml.m5.banana'"),
        (SagemakerTarget, {"instance": "m5.banana"}, "SageMaker has no type 'm5.banana'"),
        (Ec2Target, {"instance": "m7i.larg"}, "EC2 has no type 'm7i.larg'"),
        (Ec2Target, {"instance": "ml.m7i.large"}, "EC2 has no type 'ml.m7i.large'"),
        (AwsTarget, {"instance": "z99.huge"}, "EC2 has no type 'z99.huge'"),
    ],
)
def test_a_type_that_is_none_is_refused(target: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        rollout.plan_deployment(target(clients=Nobody()), spec_of(**settings), offline=True)


def test_batch_transform_has_types_of_its_own() -> None:
    offered.require_type("ml.p5.48xlarge", "sagemaker")
    with pytest.raises(UsageError, match=r"batch transform of SageMaker has no type"):
        offered.require_type("ml.p5.48xlarge", "transform")


def test_the_type_that_was_meant_is_named() -> None:
    with pytest.raises(UsageError) as raised:
        offered.require_type("m7i.larg", "ec2")
    assert str(raised.value.hint).startswith("did you mean 'm7i.large'?")


def test_types_beyond_the_table_are_taken() -> None:
    for instance in ("x2iedn.32xlarge", "ml.m5.large", "auto"):
        target = AwsTarget(clients=Nobody())
        assert target.plan(spec_of(instance=instance), Live.unknown("digits")).changes


def test_what_stands_goes_back_whatever_is_known_of_its_type() -> None:
    """A revision of former days is not refused: it is there."""
    target = Ec2Target(clients=Nobody())
    from modelpack.deploy import Entry

    entry = Entry(spec=spec_of(instance="z99.huge"), image="r@sha256:1", mode="ec2")
    assert target._place.wanted_of(entry).instance == "z99.huge"
