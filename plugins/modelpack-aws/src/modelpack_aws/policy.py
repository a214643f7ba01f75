"""Rules that every template keeps, ours and those that plugins of ours make (threat model S21).

    Template.to_json() ──lint──► findings; none: it may be sent

    grants     no '*' in an action or a resource, but for actions that know no resource; no managed
               policies; roles are for one service of AWS
    network    nothing is reachable from everywhere unless the deployment is public
    logs       every log group forgets; whatever runs has a group of its own
    tags       everything that can carry tags says whose it is
    alarms     whatever serves has one at least
    secrets    no variable that is named like a secret has its value in the template
    hardening  disks and buckets are encrypted, metadata services want a token, no privileges
    leavings   nothing stays behind when the stack goes

The rules know nothing of how a template was made: a template written by hand can be checked too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelpack.errors import RefusedError
from modelpack_aws.roles import UNSCOPED
from modelpack_aws.template import Json
from modelpack_aws.wanted import NAME_TAG

EVERYWHERE = ("0.0.0.0/0", "::/0")

_SECRET_NAME = re.compile(
    r"(secret|password|passwd|token|credentials?|api_?key|private_?key|access_?key)$", re.IGNORECASE
)

# Types of ours that carry tags as a list of Key and Value (CloudFormation's resource reference).
_TAGGED = {
    "AWS::AutoScaling::AutoScalingGroup",
    "AWS::CloudWatch::Alarm",
    "AWS::EC2::LaunchTemplate",
    "AWS::EC2::SecurityGroup",
    "AWS::ECS::Cluster",
    "AWS::ECS::Service",
    "AWS::ECS::TaskDefinition",
    "AWS::ElasticLoadBalancingV2::LoadBalancer",
    "AWS::ElasticLoadBalancingV2::TargetGroup",
    "AWS::IAM::Role",
    "AWS::Lambda::Function",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
    "AWS::SNS::Topic",
    "AWS::SQS::Queue",
    "AWS::SageMaker::Endpoint",
    "AWS::SageMaker::EndpointConfig",
    "AWS::SageMaker::Model",
}
_SERVING = {
    "AWS::AutoScaling::AutoScalingGroup",
    "AWS::ECS::Service",
    "AWS::Lambda::Function",
    "AWS::SageMaker::Endpoint",
}


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One rule that one resource breaks."""

    resource: str
    """Logical id; empty for the template as a whole."""
    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.resource or 'template'}: {self.rule}: {self.what}"


Found = Iterator[tuple[str, str]]
"""Rule and what is wrong, for one resource."""
_Rule = Callable[[str, Json, bool], Found]


def lint(template: Mapping[str, Any], *, public: bool = False) -> list[Finding]:
    """Return every rule that the template breaks, sorted; ``public``: from everywhere is meant so."""
    resources: Mapping[str, Json] = template.get("Resources") or {}
    findings = {
        Finding(name, rule, what)
        for name, body in resources.items()
        for check in _RULES
        for rule, what in check(str(body.get("Type")), body.get("Properties") or {}, public)
    }
    for name, body in resources.items():
        findings |= {Finding(name, "leavings", what) for what in _leavings(body)}
    kinds = {str(body.get("Type")) for body in resources.values()}
    if kinds & _SERVING and "AWS::CloudWatch::Alarm" not in kinds:
        findings.add(Finding("", "alarms", "it serves and has no alarm"))
    return sorted(findings)


def check(template: Mapping[str, Any], *, public: bool = False) -> None:
    """Raise RefusedError for the first rule that the template breaks."""
    findings = lint(template, public=public)
    if findings:
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        raise RefusedError(
            f"the template is not safe to apply: {findings[0]}{more}",
            hint="nothing was sent; this is a mistake of the plugin, please report it",
        )


def _grants(kind: str, properties: Json, _: bool) -> Found:
    if properties.get("ManagedPolicyArns"):
        yield "grants", "managed policies name '*'; write the statements out"
    trust = properties.get("AssumeRolePolicyDocument")
    for one in _statements(trust):
        if set(one.get("Principal") or {}) != {"Service"}:
            yield "grants", "a role is taken on by a service of AWS alone"
    documents = [policy.get("PolicyDocument") for policy in properties.get("Policies") or ()]
    if kind != "AWS::IAM::Role":
        documents.append(properties.get("PolicyDocument"))
    for document in documents:
        for one in _statements(document):
            yield from _broad(one)


def _broad(statement: Json) -> Found:
    if statement.get("Effect") != "Allow":
        return
    for key in ("NotAction", "NotResource", "NotPrincipal"):
        if key in statement:
            yield "grants", f"{key} allows what it does not name"
    actions = _many(statement.get("Action"))
    for action in actions:
        if "*" in str(action):
            yield "grants", f"the action '{action}' is not one action"
    # Streams of a log group, objects of a bucket: what stands before the star is one thing.
    unnamed = [one for one in _many(statement.get("Resource")) if str(one) == "*"]
    if unnamed and not set(actions) <= UNSCOPED:
        yield "grants", f"{', '.join(sorted(set(actions) - UNSCOPED))} on every resource"


def _network(kind: str, properties: Json, public: bool) -> Found:
    if public:
        return
    if kind == "AWS::ElasticLoadBalancingV2::LoadBalancer" and (
        properties.get("Scheme") != "internal"
    ):
        yield "network", "the load balancer is reachable from the internet"
    for rule in _ingress(kind, properties):
        if any(rule.get(key) in EVERYWHERE for key in ("CidrIp", "CidrIpv6")):
            yield "network", "a security group lets everybody in"
    if kind == "AWS::Lambda::Url" and properties.get("AuthType") != "AWS_IAM":
        yield "network", "the function's address asks nobody who they are"
    if kind == "AWS::Lambda::Permission" and properties.get("Principal") == "*":
        yield "network", "everybody may invoke the function"


def _ingress(kind: str, properties: Json) -> list[Json]:
    if kind == "AWS::EC2::SecurityGroupIngress":
        return [properties]
    return list(properties.get("SecurityGroupIngress") or ())


def _logs(kind: str, properties: Json, _: bool) -> Found:
    if kind == "AWS::Logs::LogGroup" and not properties.get("RetentionInDays"):
        yield "logs", "it keeps its lines for ever"
    for container in properties.get("ContainerDefinitions") or ():
        options = (container.get("LogConfiguration") or {}).get("Options") or {}
        if "Ref" not in (options.get("awslogs-group") or {}):
            yield "logs", f"the container '{container.get('Name')}' has no log group of the stack"
    if kind == "AWS::Lambda::Function" and not properties.get("LoggingConfig", {}).get("LogGroup"):
        yield "logs", "the function makes a log group that nobody owns"


def _tags(kind: str, properties: Json, _: bool) -> Found:
    if kind not in _TAGGED:
        return
    groups = [properties.get("Tags")]
    if kind == "AWS::EC2::LaunchTemplate":
        groups = [one.get("Tags") for one in properties.get("TagSpecifications") or [{}]]
        data = properties.get("LaunchTemplateData") or {}
        groups += [one.get("Tags") for one in data.get("TagSpecifications") or [{}]]
    for group in groups:
        if NAME_TAG not in {one.get("Key") for one in group or ()}:
            yield "tags", f"it has no tag '{NAME_TAG}'"


def _secrets(kind: str, properties: Json, _: bool) -> Found:
    variables: dict[str, Any] = {}
    for container in properties.get("ContainerDefinitions") or ():
        variables |= {one["Name"]: one["Value"] for one in container.get("Environment") or ()}
    if kind == "AWS::Lambda::Function":
        variables |= (properties.get("Environment") or {}).get("Variables") or {}
    if kind == "AWS::SageMaker::Model":
        for container in [
            properties.get("PrimaryContainer"),
            *(properties.get("Containers") or ()),
        ]:
            variables |= (container or {}).get("Environment") or {}
    for name, value in sorted(variables.items()):
        is_reference = isinstance(value, dict) or str(value).startswith("{{resolve:")
        if _SECRET_NAME.search(name) and not is_reference:
            yield "secrets", f"the value of '{name}' stands in the template"


def _hardening(kind: str, properties: Json, _: bool) -> Found:
    for container in properties.get("ContainerDefinitions") or ():
        name = container.get("Name")
        if container.get("Privileged"):
            yield "hardening", f"the container '{name}' is privileged"
        if str(container.get("User") or "root").split(":")[0] in ("0", "root"):
            yield "hardening", f"the container '{name}' runs as root"
    if kind == "AWS::EC2::LaunchTemplate":
        data = properties.get("LaunchTemplateData") or {}
        if (data.get("MetadataOptions") or {}).get("HttpTokens") != "required":
            yield "hardening", "the metadata service answers without a token"
        disks = [one.get("Ebs") or {} for one in data.get("BlockDeviceMappings") or ()]
        if not disks or not all(disk.get("Encrypted") is True for disk in disks):
            yield "hardening", "its disk is not encrypted"
    if kind == "AWS::S3::Bucket":
        block = properties.get("PublicAccessBlockConfiguration") or {}
        if len(block) != 4 or not all(value is True for value in block.values()):
            yield "hardening", "the bucket can be made public"
        if "BucketEncryption" not in properties:
            yield "hardening", "the bucket is not encrypted"


def _leavings(body: Json) -> Iterator[str]:
    for key in ("DeletionPolicy", "UpdateReplacePolicy"):
        if body.get(key) in ("Retain", "Snapshot", "RetainExceptOnCreate"):
            yield f"{key} leaves it behind when the deployment is destroyed"


def _statements(document: Any) -> list[Json]:
    return [] if not document else _many(document.get("Statement"))


def _many(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


_RULES: tuple[_Rule, ...] = (_grants, _network, _logs, _tags, _secrets, _hardening)
