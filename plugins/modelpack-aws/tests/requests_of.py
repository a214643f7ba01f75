"""What CloudFormation asks the services for when it makes the resources of a template.

    Template.to_json() ──requests_of──► (service, operation, parameters) per resource

The properties of these types carry the names of the parameters of the API, so that each resource can
be held against the service's own model.  References become values of the right form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

ACCOUNT, REGION = "123456789012", "eu-west-1"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/modelpack/digits@sha256:{'0' * 64}"

_ARNS = {
    "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/modelpack",
    "AWS::SNS::Topic": f"arn:aws:sns:{REGION}:{ACCOUNT}:modelpack",
}
_OPERATIONS = {
    "AWS::SageMaker::Model": ("sagemaker", "CreateModel", "ModelName"),
    "AWS::SageMaker::EndpointConfig": ("sagemaker", "CreateEndpointConfig", "EndpointConfigName"),
    "AWS::SageMaker::Endpoint": ("sagemaker", "CreateEndpoint", "EndpointName"),
    "AWS::Lambda::Function": ("lambda", "CreateFunction", "FunctionName"),
    "AWS::ApplicationAutoScaling::ScalableTarget": (
        "application-autoscaling",
        "RegisterScalableTarget",
        None,
    ),
    "AWS::CloudWatch::Alarm": ("cloudwatch", "PutMetricAlarm", "AlarmName"),
}


def requests_of(
    template: Mapping[str, Any], **parameters: str
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield what is asked for each resource that has one request."""
    given = {"Image": IMAGE, "FormerImage": IMAGE, **parameters}
    resources = template["Resources"]
    for name, body in resources.items():
        if body["Type"] not in _OPERATIONS:
            continue
        service, operation, named = _OPERATIONS[body["Type"]]
        asked = resolved(body["Properties"], resources, given)
        if named is not None:
            asked.setdefault(named, f"modelpack-{name}")
        if service == "lambda":
            # The API has a map here where CloudFormation has a list.
            asked["Tags"] = {one["Key"]: one["Value"] for one in asked["Tags"]}
            if (most := asked.pop("ReservedConcurrentExecutions", None)) is not None:
                reserved = {"ReservedConcurrentExecutions": most}
                yield "lambda", "PutFunctionConcurrency", {"FunctionName": "x", **reserved}
        if operation == "CreateEndpoint":
            for only_at_updates in (
                "RetainAllVariantProperties",
                "ExcludeRetainedVariantProperties",
            ):
                asked.pop(only_at_updates, None)
        yield service, operation, asked


def update_endpoint_of(template: Mapping[str, Any]) -> dict[str, Any]:
    """Return what CloudFormation asks ``UpdateEndpoint`` for."""
    resources = template["Resources"]
    asked = resolved(resources["Endpoint"]["Properties"], resources, {"Image": IMAGE})
    asked.pop("Tags")
    return asked


def resolved(value: Any, resources: Mapping[str, Any], given: Mapping[str, str]) -> Any:
    """Return a value without functions of CloudFormation."""
    if isinstance(value, list):
        return [resolved(one, resources, given) for one in value]
    if not isinstance(value, Mapping):
        return value
    if set(value) == {"Ref"}:
        name = value["Ref"]
        if name in given:
            return given[name]
        if name.startswith("AWS::"):
            return {"AWS::Region": REGION, "AWS::AccountId": ACCOUNT}[name]
        return _identity(name, resources)
    if set(value) == {"Fn::GetAtt"}:
        name, attribute = value["Fn::GetAtt"]
        if attribute == "Arn":
            return _ARNS[resources[name]["Type"]]
        if attribute == "Version":
            return "7"
        return _identity(name, resources)
    return {key: resolved(one, resources, given) for key, one in value.items()}


def _identity(name: str, resources: Mapping[str, Any]) -> str:
    body = resources[name]
    if body["Type"] in _ARNS:
        return _ARNS[body["Type"]]
    if body["Type"] == "AWS::ApplicationAutoScaling::ScalingPolicy":
        return (
            f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:scalingPolicy:"
            "01234567-89ab-cdef-0123-456789abcdef:resource/sagemaker/x:policyName/y"
        )
    properties = body["Properties"]
    own = [properties[key] for key in ("FunctionName", "LogGroupName") if key in properties]
    return own[0] if own and isinstance(own[0], str) else f"modelpack-{name}"
