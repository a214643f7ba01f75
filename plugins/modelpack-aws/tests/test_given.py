"""Options that cannot be are refused with what to do, and each has a mode that it is for."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_aws.given import address_of, bucket_and_prefix, is_on, number, one_of, shortened
from modelpack_aws.target import AwsTarget, Ec2Target, EcsTarget, LambdaTarget, SagemakerTarget

from modelpack.deploy import Live, State, rollout
from modelpack.errors import UsageError
from modelpack.testing import spec_of


class Nobody:
    """Clients that must not be asked."""

    region = "eu-west-1"
    endpoint_url = None

    def use(self, region: str) -> None:
        raise AssertionError(region)

    def client(self, service: str) -> Any:
        raise AssertionError(service)


def planned(kind: Any, options: dict[str, str], **settings: Any) -> Any:
    target = kind(clients=Nobody(), given=options)
    return rollout.plan_deployment(target, spec_of(**settings), offline=True)


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        (EcsTarget, {"certificate": "x"}, "must be the ARN of a certificate"),
        (Ec2Target, {"alarm_topic": "arn:aws:s3:::b"}, "must be the ARN of a topic of SNS"),
        (Ec2Target, {"spot": "maybe"}, "option 'spot': must be yes or no, got 'maybe'"),
        (LambdaTarget, {"ephemeral": "0"}, "must be 512 to 10240 MB, got '0'"),
        (LambdaTarget, {"platform": "arm"}, "must be linux/amd64 or linux/arm64"),
        (LambdaTarget, {"timeout": "9999"}, "must be 1 to 900 seconds"),
        (LambdaTarget, {"stream": "si"}, "must be yes or no"),
        (LambdaTarget, {"reserved": "0"}, "must be 1 to 10000"),
        (SagemakerTarget, {"kind": "realtim"}, "option 'kind': must be realtime"),
        (SagemakerTarget, {"retention": "2"}, "option 'retention': must be 30, 1, 3"),
        (SagemakerTarget, {"volume": "513"}, "must be 1 to 512 GB"),
        (SagemakerTarget, {"output": "s3://b/x"}, "for the kinds async and transform"),
        (SagemakerTarget, {"kind": "async", "output": "b"}, "'b' is no place in S3"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_the_plan(
    kind: Any, options: dict[str, str], says: str
) -> None:
    with pytest.raises(UsageError, match=says) as raised:
        planned(kind, options)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("options", "settings", "says"),
    [
        (
            {"timeout": "5"},
            {"mode": "ecs"},
            "'timeout' is for the mode 'lambda', and this is 'ecs'",
        ),
        ({"spot": "yes"}, {"mode": "ecs"}, "'spot' is for the mode 'ec2'"),
        ({"certificate": "x"}, {"mode": "lambda"}, "for the mode 'ecs' or 'ec2'"),
        ({"retention": "7"}, {}, "for the mode 'lambda' or 'sagemaker'"),
    ],
)
def test_an_option_of_another_mode_is_refused(
    options: dict[str, str], settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        planned(AwsTarget, options, **settings)


def test_the_files_of_an_option_of_another_mode_are_not_written() -> None:
    target = AwsTarget(clients=Nobody(), given={"timeout": "5"})
    with pytest.raises(UsageError, match="'timeout' is for the mode 'lambda'"):
        rollout.render(target, spec_of())


def test_going_back_to_another_mode_is_not_refused_for_options_that_stand() -> None:
    """A record has the options of the deploy that it goes back from."""
    target = AwsTarget(clients=Nobody(), given={"timeout": "5"})
    facts = {"mode": "lambda", "option.timeout": "5"}
    live = Live(name="digits", state=State.RUNNING, facts=facts)
    assert not target.plan(spec_of(mode="ecs"), live).is_empty


def test_spot_chooses_instances_and_no_does_not() -> None:
    assert "ec2: spot instances" in planned(AwsTarget, {"spot": "yes"}).describe()
    with pytest.raises(UsageError, match="'spot' is for the mode 'ec2', and this is 'ecs'"):
        planned(AwsTarget, {"spot": "no"})


@pytest.mark.parametrize("text", ["x", "localhost:4566", "ftp://host", "http://"])
def test_an_endpoint_is_an_address(text: str) -> None:
    with pytest.raises(UsageError, match=r"option 'endpoint_url': .* is no address"):
        AwsTarget.from_options({"endpoint_url": text})


def test_an_endpoint_may_come_from_the_surroundings() -> None:
    assert address_of({}, "endpoint_url") is None
    assert address_of({}, "endpoint_url", "http://a") == "http://a"
    assert address_of({"endpoint_url": "https://b"}, "endpoint_url", "http://a") == "https://b"


def test_values_are_read_as_what_they_are() -> None:
    assert number({"timeout": "90"}, "timeout", 60, least=1, most=900) == 90
    assert number({}, "timeout", 60, least=1, most=900) == 60
    assert (is_on({"x": "Yes"}, "x"), is_on({"x": "off"}, "x"), is_on({}, "x", default=True)) == (
        True,
        False,
        True,
    )
    assert one_of({}, "kind", ("a", "b")) == "a"
    assert bucket_and_prefix("output", "s3://bucket/a/b/") == ("bucket", "a/b")


def test_long_names_are_cut_and_stay_apart() -> None:
    one, other = shortened("a" * 70, 63), shortened("a" * 71, 63)
    assert len(one) == len(other) == 63
    assert one != other
    assert shortened("a" * 63, 63) == "a" * 63
