"""Every rule finds what breaks it, in a template that is otherwise in order."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from modelpack_aws import ec2, ecs, policy
from modelpack_aws.wanted import Wanted

from modelpack.errors import RefusedError

Template = dict[str, Any]


def template_of(module: Any) -> Template:
    wanted = Wanted(name="digits", bundle="digits:1", revision="a" * 12)
    return copy.deepcopy(module.render(wanted).to_json())


def properties(template: Template, name: str) -> dict[str, Any]:
    return template["Resources"][name]["Properties"]


def statement(template: Template, number: int = 1) -> dict[str, Any]:
    [own] = properties(template, "StartRole")["Policies"]
    return own["PolicyDocument"]["Statement"][number]


def container(template: Template) -> dict[str, Any]:
    return properties(template, "Task")["ContainerDefinitions"][0]


def broken(template: Template, name: str) -> None:
    """Break one rule."""
    match name:
        case "an action with a star":
            statement(template)["Action"] = ["ecr:*"]
        case "every resource":
            statement(template)["Resource"] = "*"
        case "a list with every resource":
            statement(template)["Resource"] = ["arn:aws:ecr:::x", "*"]
        case "all but some actions":
            statement(template)["NotAction"] = statement(template).pop("Action")
        case "a managed policy":
            arn = "arn:aws:iam::aws:policy/AmazonECS_FullAccess"
            properties(template, "StartRole")["ManagedPolicyArns"] = [arn]
        case "a role for everybody":
            trust = properties(template, "StartRole")["AssumeRolePolicyDocument"]
            trust["Statement"][0]["Principal"] = {"AWS": "*"}
        case "a balancer in the internet":
            properties(template, "LoadBalancer")["Scheme"] = "internet-facing"
        case "a balancer without a word":
            del properties(template, "LoadBalancer")["Scheme"]
        case "a group for everybody":
            group = properties(template, "BalancerGroup")
            group["SecurityGroupIngress"][0]["CidrIp"] = "0.0.0.0/0"
        case "a group for everybody by IPv6":
            group = properties(template, "ReplicaGroup")
            group["SecurityGroupIngress"][0]["CidrIpv6"] = "::/0"
        case "a log for ever":
            del properties(template, "Logs")["RetentionInDays"]
        case "a log of nobody":
            container(template)["LogConfiguration"]["Options"]["awslogs-group"] = "somewhere"
        case "no tags":
            properties(template, "Replicas")["Tags"] = []
        case "no alarm":
            for alarm in ("FailedAnswers", "NotReady"):
                del template["Resources"][alarm]
        case "a secret in the open":
            container(template)["Environment"].append({"Name": "DB_PASSWORD", "Value": "x"})
        case "a privileged container":
            container(template)["Privileged"] = True
        case "a container that is root":
            container(template)["User"] = "0:0"
        case "a container without a user":
            del container(template)["User"]
        case "something that stays":
            template["Resources"]["Logs"]["DeletionPolicy"] = "Retain"
        case _:
            raise AssertionError(name)


BREAKS = {
    "an action with a star": "grants",
    "every resource": "grants",
    "a list with every resource": "grants",
    "all but some actions": "grants",
    "a managed policy": "grants",
    "a role for everybody": "grants",
    "a balancer in the internet": "network",
    "a balancer without a word": "network",
    "a group for everybody": "network",
    "a group for everybody by IPv6": "network",
    "a log for ever": "logs",
    "a log of nobody": "logs",
    "no tags": "tags",
    "no alarm": "alarms",
    "a secret in the open": "secrets",
    "a privileged container": "hardening",
    "a container that is root": "hardening",
    "a container without a user": "hardening",
    "something that stays": "leavings",
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_breaks_a_rule_is_found(name: str) -> None:
    template = template_of(ecs)
    assert policy.lint(template) == []
    broken(template, name)
    assert {one.rule for one in policy.lint(template)} == {BREAKS[name]}
    with pytest.raises(RefusedError, match="not safe to apply"):
        policy.check(template)


Break = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data["MetadataOptions"].update(HttpTokens="optional"),
        lambda data: data["BlockDeviceMappings"][0]["Ebs"].update(Encrypted=False),
        lambda data: data.pop("BlockDeviceMappings"),
    ],
    ids=["metadata for all", "an open disk", "a disk of no word"],
)
def test_an_instance_is_hardened(spoil: Break) -> None:
    template = template_of(ec2)
    assert policy.lint(template) == []
    spoil(properties(template, "Launch")["LaunchTemplateData"])
    assert {one.rule for one in policy.lint(template)} == {"hardening"}


def test_public_is_meant_or_it_is_not() -> None:
    template = template_of(ecs)
    broken(template, "a group for everybody")
    broken(template, "a balancer in the internet")
    assert policy.lint(template, public=True) == []
    assert len(policy.lint(template)) == 2


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("AWS::Lambda::Url", {"AuthType": "AWS_IAM"}, {"AuthType": "NONE"}),
        ("AWS::Lambda::Permission", {"Principal": "123456789012"}, {"Principal": "*"}),
    ],
)
def test_functions_are_called_by_those_who_may(
    kind: str, good: dict[str, str], bad: dict[str, str]
) -> None:
    def found(properties: dict[str, str]) -> set[str]:
        return {
            one.rule
            for one in policy.lint({"Resources": {"X": {"Type": kind, "Properties": properties}}})
        }

    assert (found(good), found(bad)) == (set(), {"network"})


def test_a_bucket_is_closed_and_encrypted() -> None:
    bucket = {
        "PublicAccessBlockConfiguration": {
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": False,
        },
        "Tags": [{"Key": "modelpack:deployment", "Value": "digits"}],
    }
    found = policy.lint({"Resources": {"B": {"Type": "AWS::S3::Bucket", "Properties": bucket}}})
    assert [one.what for one in found] == [
        "the bucket can be made public",
        "the bucket is not encrypted",
    ]
