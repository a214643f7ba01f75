"""How many instances of a variant there are, by Application Auto Scaling.

    in_flight set     calls at once in each replica (SageMaker counts them every ten seconds)
    otherwise         processor time, 60 % of what the instance has
    a queue           requests that wait for each instance; the first one that waits starts one

Facts: Amazon SageMaker AI developer guide, "Automatic scaling of models" and "Autoscale an
asynchronous endpoint"; Application Auto Scaling API, predefined metrics.
"""

from __future__ import annotations

from modelpack_aws.hosted import hosted_on
from modelpack_aws.template import Json, Template, tags
from modelpack_aws.wanted import Wanted

BUSY_PERCENT = 60
WAITING_PER_INSTANCE = 4


def scale(
    template: Template, wanted: Wanted, endpoint: str, variant: str, *, is_queue: bool
) -> None:
    """Declare how the variant scales; nothing, when it has a fixed number of instances."""
    scaling = wanted.scaling
    if scaling.most <= scaling.least or wanted.options.get("kind") == "serverless":
        return
    name = f"Scaling{_word(variant)}"
    target = template.add(
        name,
        "AWS::ApplicationAutoScaling::ScalableTarget",
        {
            "ServiceNamespace": "sagemaker",
            "ResourceId": f"endpoint/{endpoint}/variant/{variant}",
            "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
            "MinCapacity": scaling.least if is_queue else max(1, scaling.least),
            "MaxCapacity": scaling.most,
        },
        after=["Endpoint"],
    )
    tracked = _waiting(endpoint, wanted) if is_queue else _busy(endpoint, variant, wanted)
    template.add(
        f"{name}Policy",
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        {
            "PolicyName": f"{endpoint}-{variant}",
            "PolicyType": "TargetTrackingScaling",
            "ScalingTargetId": target,
            "TargetTrackingScalingPolicyConfiguration": {
                **tracked,
                "ScaleOutCooldown": scaling.out_cooldown_s,
                "ScaleInCooldown": (
                    int(scaling.idle_s)
                    if is_queue and scaling.idle_s is not None
                    else scaling.in_cooldown_s
                ),
            },
        },
    )
    if is_queue and scaling.least == 0:
        _from_none(template, wanted, endpoint, name, target)


def _busy(endpoint: str, variant: str, wanted: Wanted) -> Json:
    if wanted.scaling.in_flight is not None:
        kind = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
        return {
            "TargetValue": wanted.scaling.in_flight,
            "PredefinedMetricSpecification": {"PredefinedMetricType": kind},
        }
    # SageMaker counts 100 % for each processor.
    return {
        "TargetValue": BUSY_PERCENT * hosted_on(wanted).vcpu,
        "CustomizedMetricSpecification": {
            "Namespace": "/aws/sagemaker/Endpoints",
            "MetricName": "CPUUtilization",
            "Statistic": "Average",
            "Dimensions": [
                {"Name": "EndpointName", "Value": endpoint},
                {"Name": "VariantName", "Value": variant},
            ],
        },
    }


def _waiting(endpoint: str, wanted: Wanted) -> Json:
    return {
        "TargetValue": wanted.scaling.in_flight or WAITING_PER_INSTANCE,
        "CustomizedMetricSpecification": {
            "Namespace": "AWS/SageMaker",
            "MetricName": "ApproximateBacklogSizePerInstance",
            "Statistic": "Average",
            "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
        },
    }


def _from_none(template: Template, wanted: Wanted, endpoint: str, name: str, target: Json) -> None:
    """With no instance there is no backlog for each: one that waits starts the first."""
    policy = template.add(
        f"{name}First",
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        {
            "PolicyName": f"{endpoint}-first",
            "PolicyType": "StepScaling",
            "ScalingTargetId": target,
            "StepScalingPolicyConfiguration": {
                "AdjustmentType": "ChangeInCapacity",
                "MetricAggregationType": "Average",
                "Cooldown": wanted.scaling.in_cooldown_s,
                "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
            },
        },
    )
    template.add(
        f"{name}Waiting",
        "AWS::CloudWatch::Alarm",
        {
            "AlarmDescription": "requests wait and no instance is there",
            "Namespace": "AWS/SageMaker",
            "MetricName": "HasBacklogWithoutCapacity",
            "Statistic": "Average",
            "Period": 60,
            "EvaluationPeriods": 2,
            "DatapointsToAlarm": 2,
            "Threshold": 1,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "TreatMissingData": "missing",
            "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
            "AlarmActions": [policy],
            "Tags": tags(wanted.tags()),
        },
    )


def _word(variant: str) -> str:
    return "".join(part.capitalize() for part in variant.split("-"))
