"""A request is held against everything that the service's model says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from modelpack_aws import strict

from modelpack.errors import UsageError

VARIANT = {
    "VariantName": "main",
    "ModelName": "digits",
    "InstanceType": "ml.m7i.large",
    "InitialInstanceCount": 1,
}
CONFIG = {"EndpointConfigName": "digits", "ProductionVariants": [VARIANT]}


def with_variant(**changed: Any) -> Mapping[str, Any]:
    return {**CONFIG, "ProductionVariants": [{**VARIANT, **changed}]}


def test_a_request_that_the_service_would_take_passes() -> None:
    assert strict.problems("sagemaker", "CreateEndpointConfig", CONFIG) == []


@pytest.mark.parametrize(
    ("parameters", "what"),
    [
        (with_variant(InstanceType="ml.z9.big"), "is none of its"),
        (with_variant(VariantName="-main"), "does not match"),
        (with_variant(VariantName="m" * 64), "64 characters, at most 63"),
        (with_variant(InitialInstanceCount=0), "0, at least 1"),
        (with_variant(InitialInstanceCount=True), "must be a whole number, got bool"),
        (with_variant(InitialVariantWeight="1"), "must be a number, got str"),
        (with_variant(VolumeSizeInGB=513), "513, at most 512"),
        (with_variant(Instancetype="ml.m7i.large"), "there is no such member"),
        ({**CONFIG, "ProductionVariants": []}, "0 items, at least 1"),
        ({**CONFIG, "ProductionVariants": [VARIANT] * 11}, "11 items, at most 10"),
        ({**CONFIG, "ProductionVariants": VARIANT}, "must be a list, got dict"),
        ({"EndpointConfigName": "digits"}, "ProductionVariants: is required"),
    ],
)
def test_one_that_it_would_refuse_is_told(parameters: Mapping[str, Any], what: str) -> None:
    found = strict.problems("sagemaker", "CreateEndpointConfig", parameters)

    assert any(what in one for one in found), found


def test_variables_of_a_model_have_a_length_and_a_form() -> None:
    container = {"Image": "x", "Environment": {"NAME": "v" * 1025, "1st": "v"}}

    found = strict.problems(
        "sagemaker", "CreateModel", {"ModelName": "m", "PrimaryContainer": container}
    )

    assert any("1025 characters, at most 1024" in one for one in found)
    assert any("'1st' does not match" in one for one in found)


def test_all_mistakes_are_found_at_once() -> None:
    parameters = {**with_variant(InstanceType="no", VolumeSizeInGB=0), "More": 1}

    assert len(strict.problems("sagemaker", "CreateEndpointConfig", parameters)) == 3


@pytest.mark.parametrize(
    ("service", "operation"), [("sagemakr", "CreateModel"), ("sagemaker", "MakeModel")]
)
def test_what_botocore_does_not_know_is_no_request(service: str, operation: str) -> None:
    with pytest.raises(UsageError, match=r"AWS has no service|has no operation"):
        strict.problems(service, operation, {})


def test_most_patterns_of_the_services_can_be_read() -> None:
    """A pattern that Python cannot read says nothing, so there may be few of them."""
    shapes = [
        strict._model(service).shape_for(name)
        for service in ("sagemaker", "lambda", "application-autoscaling", "cloudformation")
        for name in strict._model(service).shape_names
    ]
    patterns = {shape.metadata["pattern"] for shape in shapes if "pattern" in shape.metadata}

    unread = [pattern for pattern in patterns if strict._compiled(pattern) is None]

    assert len(patterns) > 300
    assert len(unread) < len(patterns) / 50, unread


def test_a_guarded_client_sends_nothing_that_is_wrong() -> None:
    client = boto3.client(
        "sagemaker", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    strict.guard(client)
    with Stubber(client) as stub:
        stub.add_response("create_endpoint_config", {"EndpointConfigArn": "a" * 20})
        with pytest.raises(
            UsageError, match=r"CreateEndpointConfig would be refused: .*ml\.z9\.big"
        ):
            client.create_endpoint_config(**with_variant(InstanceType="ml.z9.big"))
        client.create_endpoint_config(**CONFIG)

        stub.assert_no_pending_responses()
