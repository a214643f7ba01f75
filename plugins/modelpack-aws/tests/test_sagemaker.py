"""Templates of endpoints: what they say, and that linters and service models find nothing in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from modelpack_aws import policy, sagemaker, strict
from modelpack_aws.hosted import NOT_FOR_JOBS, NOT_HOSTED, hosted_on
from modelpack_aws.instances import TABLE
from modelpack_aws.sagemaker import render
from modelpack_aws.template import Template
from modelpack_aws.wanted import GIB, Accelerator, Network, Scaling, Traffic, Wanted

from modelpack.errors import UsageError

from .linted import findings
from .requests_of import requests_of, update_endpoint_of

WANTED = Wanted(
    name="digits", bundle="digits:7c1f0b2e9a44", revision="0123456789ab", mode="sagemaker"
)
FORMER = replace(WANTED, revision="fedcba987654", bundle="digits:0000")
ANSWERS = "s3://bucket-of-ours/answers"
INSIDE = Network(subnets=("subnet-0123456789abcdef0",), security_groups=("sg-0123456789abcdef0",))
CANARY = Traffic(canary_percent=10, bake_s=600)


def of_kind(kind: str, **more: Any) -> Wanted:
    options = {"kind": kind} | ({"output": ANSWERS} if kind in ("async", "transform") else {})
    return replace(WANTED, **{"options": options, **more})


SPECS = {
    "plain": WANTED,
    "canary, scaled by calls": replace(
        WANTED, traffic=CANARY, scaling=Scaling(least=2, most=10, in_flight=8)
    ),
    "gpu, scaled by processor": replace(
        WANTED, accelerator=Accelerator(kind="nvidia-l4"), scaling=Scaling(least=1, most=4)
    ),
    "inferentia": replace(WANTED, accelerator=Accelerator(kind="inferentia2")),
    "network": replace(WANTED, network=INSIDE, options={"egress": "yes", "volume": "64"}),
    "secrets and labels": replace(
        WANTED,
        env={"GREETING": "hello"},
        secrets={
            "API_TOKEN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:bank-abcdef:key::"
        },
        labels={"team": "fraud"},
    ),
    "serverless": of_kind("serverless", memory_bytes=3 * GIB, scaling=Scaling(least=0, most=10)),
    "serverless, warm": of_kind("serverless", scaling=Scaling(least=5, most=50), traffic=CANARY),
    "async": of_kind("async", scaling=Scaling(least=0, most=4, idle_s=600)),
    "async, fixed": of_kind("async", scaling=Scaling(least=1, most=1, in_flight=16)),
    "variants": of_kind("variants", scaling=Scaling(least=1, most=4)),
    "transform": of_kind("transform"),
    "long name": replace(WANTED, name="a" + "-bc" * 20),
}


def resource(template: Template, name: str) -> Any:
    return template.resources[name]["Properties"]


def of_type(template: Template, kind: str) -> list[str]:
    return sorted(name for name, body in template.resources.items() if body["Type"] == kind)


MADE = {"CreateModel", "CreateEndpointConfig", "CreateEndpoint", "PutMetricAlarm"}
SAMPLE = ("canary, scaled by calls", "network", "async", "variants")
"""Specs that the slow linter sees every time; it sees all of them on demand."""


def templates_of(name: str) -> list[Template]:
    """Return the templates that a spec has, one after the other."""
    wanted = SPECS[name]
    templates = [render(wanted)]
    if name == "variants":
        former = of_kind("variants", revision=FORMER.revision)
        templates.append(render(wanted, former=former, share=0.1))
    return templates


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.long) for name in SPECS],
)
def test_cfn_lint_finds_nothing(name: str) -> None:
    """Errors, warnings and notes; of the last template, which has all that the others have."""
    assert findings(templates_of(name)[-1]) == []


@pytest.mark.parametrize("name", SPECS)
def test_no_rule_and_no_model_is_broken(name: str) -> None:
    """Our own rules, and the models of the services that CloudFormation asks."""
    for template in templates_of(name):
        assert policy.lint(template.to_json(), public=SPECS[name].network.public) == []
        operations = set()
        for service, operation, parameters in requests_of(template.to_json()):
            operations.add(operation)
            assert strict.problems(service, operation, parameters) == [], operation
        assert operations >= MADE or name == "transform"


@pytest.mark.parametrize("name", [name for name in SPECS if name not in ("transform", "variants")])
def test_the_update_of_an_endpoint_is_one_that_sagemaker_takes(name: str) -> None:
    """What CloudFormation asks ``UpdateEndpoint`` for, by botocore and by the whole model."""
    client = boto3.client(
        "sagemaker", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    strict.guard(client)
    asked = update_endpoint_of(render(SPECS[name]).to_json())
    with Stubber(client) as stub:
        arn = "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/x"
        stub.add_response("update_endpoint", {"EndpointArn": arn}, asked)

        assert client.update_endpoint(**asked)["EndpointArn"] == arn


def test_such_a_stub_refuses_what_sagemaker_would() -> None:
    asked = update_endpoint_of(render(SPECS["canary, scaled by calls"]).to_json())
    policy_of = asked["DeploymentConfig"]["BlueGreenUpdatePolicy"]
    policy_of["MaximumExecutionTimeoutInSeconds"] = 28_801
    policy_of["TrafficRoutingConfiguration"]["Type"] = "CANARI"

    found = strict.problems("sagemaker", "UpdateEndpoint", asked)

    assert len(found) == 2
    assert "at most 28800" in " ".join(found)


def test_a_canary_bakes_and_goes_back_when_its_alarm_rings() -> None:
    template = render(SPECS["canary, scaled by calls"])

    config = resource(template, "Endpoint")["DeploymentConfig"]
    routing = config["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert routing["Type"] == "CANARY"
    assert routing["CanarySize"] == {"Type": "CAPACITY_PERCENT", "Value": 10}
    assert routing["WaitIntervalInSeconds"] == 600
    assert config["AutoRollbackConfiguration"] == {"Alarms": [{"AlarmName": {"Ref": "Failing"}}]}


def test_a_canary_needs_the_variant_to_keep_its_name() -> None:
    names = {sagemaker.variant_of(one) for one in (WANTED, FORMER)}

    assert names == {sagemaker.VARIANT}


def test_two_variants_share_the_calls_of_one_endpoint() -> None:
    former = of_kind("variants", revision=FORMER.revision)
    wanted = of_kind("variants")
    template = render(wanted, former=former, share=0.1)

    new, old = resource(template, "Config")["ProductionVariants"]
    assert (new["VariantName"], new["InitialVariantWeight"]) == (f"r{wanted.mark}", 0.1)
    assert (old["VariantName"], old["InitialVariantWeight"]) == (f"r{former.mark}", 0.9)
    images = [
        resource(template, name)["PrimaryContainer"]["Image"]["Ref"]
        for name in of_type(template, "AWS::SageMaker::Model")
    ]
    assert sorted(images) == ["FormerImage", "Image"]


def test_an_asynchronous_endpoint_goes_down_to_none_and_comes_back_for_one_request() -> None:
    template = render(SPECS["async"])

    assert resource(template, "ScalingMain")["MinCapacity"] == 0
    assert resource(template, "Config")["ProductionVariants"][0]["InitialInstanceCount"] == 1
    steps = resource(template, "ScalingMainFirst")["StepScalingPolicyConfiguration"]
    assert steps["StepAdjustments"] == [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}]
    alarm = resource(template, "ScalingMainWaiting")
    assert alarm["MetricName"] == "HasBacklogWithoutCapacity"
    assert alarm["AlarmActions"] == [{"Ref": "ScalingMainFirst"}]


def test_an_asynchronous_endpoint_writes_below_its_place_alone_and_tells_two_topics() -> None:
    template = render(
        of_kind(
            "async",
            options={"kind": "async", "output": ANSWERS, "input": "s3://bucket-of-others/rows"},
        )
    )

    statements = resource(template, "Role")["Policies"][0]["PolicyDocument"]["Statement"]
    by_sid = {one["Sid"]: one for one in statements}
    assert by_sid["ReadRequests"]["Resource"] == {
        "Fn::Sub": "arn:${AWS::Partition}:s3:::bucket-of-others/rows/*"
    }
    assert by_sid["WriteAnswers"]["Resource"] == {
        "Fn::Sub": "arn:${AWS::Partition}:s3:::bucket-of-ours/answers/*"
    }
    for name in ("ReadRequests", "WriteAnswers", "LookIntoBuckets"):
        assert by_sid[name]["Condition"] == {
            "StringEquals": {"aws:ResourceAccount": {"Ref": "AWS::AccountId"}}
        }
    assert by_sid["Tell"]["Resource"] == [{"Ref": "Done"}, {"Ref": "Failed"}]
    output = resource(template, "Config")["AsyncInferenceConfig"]["OutputConfig"]
    assert output["S3FailurePath"] == f"{ANSWERS}/failed"


def test_a_container_has_no_way_out_unless_it_is_told() -> None:
    shut, open_ = render(WANTED), render(SPECS["network"])

    assert resource(shut, "Model0123456789ab")["EnableNetworkIsolation"] is True
    assert resource(open_, f"Model{SPECS['network'].mark}")["EnableNetworkIsolation"] is False


@pytest.mark.parametrize(
    ("scaling", "memory", "config"),
    [
        (Scaling(least=0, most=10), None, {"MemorySizeInMB": 2048, "MaxConcurrency": 10}),
        (Scaling(), 3 * GIB + 1, {"MemorySizeInMB": 4096, "MaxConcurrency": 20}),
        (
            Scaling(least=5, most=50),
            None,
            {"MemorySizeInMB": 2048, "MaxConcurrency": 50, "ProvisionedConcurrency": 5},
        ),
    ],
)
def test_serverless_has_steps_of_memory(scaling: Scaling, memory: int | None, config: Any) -> None:
    template = render(of_kind("serverless", scaling=scaling, memory_bytes=memory))

    (variant,) = resource(template, "Config")["ProductionVariants"]
    assert variant["ServerlessConfig"] == config
    assert of_type(template, "AWS::ApplicationAutoScaling::ScalableTarget") == []


@pytest.mark.parametrize(
    ("scaling", "target"),
    [
        (Scaling(least=1, most=4, in_flight=8), 8),
        # 60 % of each of its two processors
        (Scaling(least=1, most=4), 120),
    ],
)
def test_instances_follow_calls_or_processor_time(scaling: Scaling, target: float) -> None:
    template = render(replace(WANTED, scaling=scaling, instance="m7i.large"))

    tracked = resource(template, "ScalingMainPolicy")["TargetTrackingScalingPolicyConfiguration"]
    assert tracked["TargetValue"] == target
    assert resource(template, "Endpoint")["RetainAllVariantProperties"] is True


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"network": Network(public=True)}, "callers with AWS credentials alone"),
        ({"network": Network(allow=("10.0.0.0/8",))}, "callers with AWS credentials alone"),
        ({"scaling": Scaling(least=0, most=2)}, "one replica at least"),
        ({"traffic": Traffic(canary_percent=60)}, "at most 50 on SageMaker, got 60"),
        ({"env": {"TEXT": "x" * 1025}}, "1024 characters, this has 1025"),
        ({"options": {"kind": "real-time"}}, "did you mean"),
        ({"options": {"kind": "async"}}, "needs a place for its answers"),
        ({"options": {"kind": "async", "output": "bucket/x"}}, "no place in S3"),
        ({"options": {"kind": "async", "output": "s3://b_ad/x"}}, "no place in S3"),
        (
            {"options": {"kind": "serverless"}, "accelerator": Accelerator(kind="nvidia-t4")},
            "no accelerators without instances",
        ),
        (
            {"options": {"kind": "serverless"}, "network": INSIDE},
            "no network for what is serverless",
        ),
        ({"options": {"kind": "serverless"}, "memory_bytes": 7 * GIB}, "at most 6144 MB"),
        ({"options": {"kind": "serverless"}, "scaling": Scaling(least=1, most=201)}, "at most 200"),
        ({"instance": "t3.large"}, "is no instance type of an endpoint"),
        (
            {"options": {"kind": "transform", "output": ANSWERS}, "instance": "p5.48xlarge"},
            "transform",
        ),
    ],
)
def test_what_sagemaker_cannot_do_is_refused(changed: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError) as caught:
        render(replace(WANTED, **changed))

    assert what in f"{caught.value.message} {caught.value.hint}"


def test_the_table_of_instances_is_that_of_the_service() -> None:
    model = strict._model("sagemaker")
    endpoints = set(model.shape_for("ProductionVariantInstanceType").enum)
    jobs = set(model.shape_for("TransformInstanceType").enum)

    names = {one.name for one in TABLE}
    assert {one for one in names if f"ml.{one}" not in endpoints} == NOT_HOSTED
    assert {one for one in names if f"ml.{one}" not in jobs} == NOT_FOR_JOBS


@pytest.mark.parametrize(
    ("accelerator", "kind"),
    [(None, "ml.c7i.large"), ("nvidia-l4", "ml.g6.xlarge"), ("inferentia2", "ml.inf2.xlarge")],
)
def test_the_cheapest_instance_that_fits_is_taken(accelerator: str | None, kind: str) -> None:
    wanted = replace(WANTED, accelerator=accelerator and Accelerator(kind=accelerator))

    found = hosted_on(wanted)

    assert found.type == kind
    assert found.why.startswith(kind)


def test_what_means_little_here_is_said() -> None:
    wanted = replace(WANTED, traffic=CANARY, scaling=Scaling(idle_s=60))
    serverless = of_kind("serverless", scaling=Scaling(in_flight=4))

    said = " | ".join(sagemaker.notes(wanted) + sagemaker.notes(serverless))

    for word in ("ml.c7i.large", "canary_percent", "idle_s", "in_flight"):
        assert word in said
