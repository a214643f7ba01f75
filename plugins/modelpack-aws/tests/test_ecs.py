"""A table of specs, each rendered, linted and looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from modelpack_aws import ecs, policy
from modelpack_aws.template import Template
from modelpack_aws.wanted import GIB, Accelerator, Network, Scaling, Traffic, Wanted

from modelpack.errors import UsageError

CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:on-call"


def wanted(**more: Any) -> Wanted:
    return Wanted(**{"name": "digits", "bundle": "digits:1", "revision": "a" * 12, **more})


SPECS = {
    "the least": wanted(),
    "large": wanted(cpu=16.0, memory_bytes=120 * GIB),
    "env and labels": wanted(
        env={"MAX_TOKENS": "512", "MODELPACK_WORKERS": "2"}, labels={"team": "vision"}
    ),
    "secrets": wanted(
        secrets={
            "API_TOKEN": "secretsmanager:digits/token",
            "OTHER": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x-AbCdEf:key::",
            "SHORT": "ssm:/digits/short",
        }
    ),
    "grows": wanted(scaling=Scaling(least=2, most=10, in_flight=8)),
    "grows by processor time": wanted(scaling=Scaling(least=1, most=3)),
    "public": wanted(network=Network(public=True), options={"certificate": CERTIFICATE}),
    "allowed blocks": wanted(network=Network(allow=("10.0.0.0/8", "fd00::/8"))),
    "own groups": wanted(network=Network(security_groups=("sg-0123456789abcdef0",))),
    "canary": wanted(traffic=Traffic(canary_percent=10, bake_s=600)),
    "alarms told": wanted(options={"alarm_topic": TOPIC}),
}


SAMPLE = ("canary", "grows", "secrets")
"""What the ordinary run lints: a template takes cfn-lint a second."""


@pytest.mark.parametrize("name", SPECS)
def test_every_template_keeps_our_rules(name: str) -> None:
    spec = SPECS[name]
    assert policy.lint(ecs.render(spec).to_json(), public=spec.network.public) == []


@pytest.mark.parametrize(
    "name",
    [one if one in SAMPLE else pytest.param(one, marks=pytest.mark.long) for one in SPECS],
)
def test_every_template_is_without_a_finding(
    name: str, check_template: Callable[..., None]
) -> None:
    spec = SPECS[name]
    check_template(ecs.render(spec), public=spec.network.public)


def resource(template: Template, name: str) -> dict[str, Any]:
    return template.resources[name]["Properties"]


def test_the_same_spec_gives_the_same_bytes() -> None:
    assert ecs.render(SPECS["secrets"]).text() == ecs.render(SPECS["secrets"]).text()


def test_it_is_private_and_only_the_load_balancer_reaches_replicas() -> None:
    template = ecs.render(wanted())
    assert resource(template, "LoadBalancer")["Scheme"] == "internal"
    [callers] = resource(template, "BalancerGroup")["SecurityGroupIngress"]
    assert (callers["CidrIp"], callers["FromPort"]) == ({"Ref": "VpcCidr"}, 80)
    [replicas] = resource(template, "ReplicaGroup")["SecurityGroupIngress"]
    assert replicas["SourceSecurityGroupId"] == {"Fn::GetAtt": ["BalancerGroup", "GroupId"]}


def test_a_revision_that_fails_is_taken_back_by_ecs_itself() -> None:
    deployment = resource(ecs.render(wanted()), "Service")["DeploymentConfiguration"]
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert deployment["Alarms"]["Rollback"] is True
    assert deployment["MinimumHealthyPercent"] == 100
    assert resource(ecs.render(wanted()), "Replicas")["HealthCheckPath"] == "/readyz"


def test_a_canary_gets_its_share_for_its_time() -> None:
    service = resource(ecs.render(SPECS["canary"]), "Service")
    assert service["DeploymentConfiguration"]["Strategy"] == "CANARY"
    assert service["DeploymentConfiguration"]["CanaryConfiguration"] == {
        "CanaryPercent": 10,
        "CanaryBakeTimeInMinutes": 10,
    }
    [attached] = service["LoadBalancers"]
    assert attached["AdvancedConfiguration"]["AlternateTargetGroupArn"] == {"Ref": "Canary"}


def test_replicas_follow_the_requests_in_work() -> None:
    template = ecs.render(SPECS["grows"])
    target = resource(template, "Scaling")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 10)
    tracking = resource(template, "ByRequestsInWork")["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["TargetValue"] == 8
    shown = [
        one for one in tracking["CustomizedMetricSpecification"]["Metrics"] if one["ReturnData"]
    ]
    assert [one["Expression"] for one in shown] == ["(FILL(arrived, 0) / 60) * FILL(took, 0)"]
    assert "Scaling" not in ecs.render(wanted(scaling=Scaling(least=3, most=3))).resources


def test_secrets_stand_by_name_and_roles_read_these_alone() -> None:
    template = ecs.render(SPECS["secrets"])
    [container] = resource(template, "Task")["ContainerDefinitions"]
    assert {one["Name"] for one in container["Secrets"]} == {"API_TOKEN", "OTHER", "SHORT"}
    [policy] = resource(template, "StartRole")["Policies"]
    by_sid = {one["Sid"]: one for one in policy["PolicyDocument"]["Statement"]}
    assert len(by_sid["ReadSecrets"]["Resource"]) == 2
    assert "Policies" not in resource(template, "ServiceRole")


@pytest.mark.parametrize(
    ("cpu", "gib", "size"),
    [
        (None, None, (1024, 2048)),
        (0.25, 0.5, (256, 512)),
        (0.25, 1.5, (256, 2048)),
        (0.3, 1, (512, 1024)),
        (1, 9, (2048, 9216)),
        (2, 4, (2048, 4096)),
        (5, 17, (8192, 20480)),
        (16, 120, (16384, 122880)),
    ],
)
def test_a_task_has_the_smallest_pair_that_holds_it(
    cpu: float | None, gib: float | None, size: tuple[int, int]
) -> None:
    memory = None if gib is None else int(gib * GIB)
    found = ecs.size_for(wanted(cpu=cpu, memory_bytes=memory))
    assert (found.cpu_units, found.memory_mib) == size


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"cpu": 17.0}, "Fargate has no task with 17 vCPU"),
        ({"accelerator": Accelerator(kind="nvidia-l4")}, "no accelerators"),
        ({"secrets": {"TOKEN": "hunter2"}}, "deploy.secrets.TOKEN is no reference"),
        ({"network": Network(allow=("0.0.0.0/0",))}, "is everybody"),
        ({"network": Network(allow=("10.0.0.0/40",))}, "is no address block"),
        ({"options": {"certificate": "mine.pem"}}, "must be the ARN of a certificate"),
        ({"options": {"alarm_topic": "me"}}, "must be the ARN of a topic"),
    ],
)
def test_what_cannot_be_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        ecs.render(wanted(**more))
    assert "hunter2" not in str(refused.value) + (refused.value.hint or "")


def test_the_plan_says_what_is_met_otherwise() -> None:
    assert ecs.notes(wanted(cpu=1.0, memory_bytes=2 * GIB)) == []
    assert ecs.notes(wanted(cpu=3.0)) == ["Fargate has steps: a replica gets 4 vCPU and 8 GiB"]
    assert "for one minute" in ecs.notes(wanted(traffic=Traffic(canary_percent=5)))[0]
    assert "Lambda scales to zero" in ecs.notes(wanted(scaling=Scaling(least=0)))[0]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, {"Fn::GetAtt": ["LoadBalancer", "DNSName"]}),
        (
            {"MODELPACK_ALLOWED_HOSTS": "a.example"},
            {"Fn::Join": [",", ["a.example", {"Fn::GetAtt": ["LoadBalancer", "DNSName"]}]]},
        ),
        ({"MODELPACK_ALLOWED_HOSTS": "*"}, "*"),
    ],
)
def test_the_server_knows_the_name_that_it_is_called_by(given: dict[str, str], told: Any) -> None:
    [container] = resource(ecs.render(wanted(env=given)), "Task")["ContainerDefinitions"]
    env = {one["Name"]: one["Value"] for one in container["Environment"]}
    assert env["MODELPACK_ALLOWED_HOSTS"] == told
