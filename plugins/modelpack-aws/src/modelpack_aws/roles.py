"""Who may do what: roles of the things that we make, each statement with names in it.

    role(template, "TaskRole", "ecs-tasks.amazonaws.com", [pull_image(...), write_logs(...)])

No managed policy is used: those of AWS name ``*`` (threat model S21).  The only actions without a
resource are those that AWS gives none to; ``UNSCOPED`` lists them, from the Service Authorization
Reference, where their "Resource types" column is empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelpack.errors import UsageError
from modelpack_aws.template import Json, Template, arn, att, ref, tags

UNSCOPED = frozenset(
    {
        "cloudwatch:PutMetricData",
        "ec2:DescribeDhcpOptions",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "ecr:GetAuthorizationToken",
        "elasticloadbalancing:DescribeListeners",
        "elasticloadbalancing:DescribeRules",
        "elasticloadbalancing:DescribeTargetGroups",
        "elasticloadbalancing:DescribeTargetHealth",
    }
)
"""Actions that cannot be narrowed down to a resource."""

# Services whose trust may be narrowed down to this account: AWS IAM guide, "The confused deputy
# problem", and the guides of Amazon ECS and Amazon SageMaker AI on it.
_NARROWED = {"ecs.amazonaws.com", "ecs-tasks.amazonaws.com", "sagemaker.amazonaws.com"}

_ARN = re.compile(r"arn:[a-z-]+:(secretsmanager|ssm):[a-z0-9-]+:\d{12}:[A-Za-z0-9/_+=.@:!?*-]+")
_SHORT = re.compile(r"(secretsmanager|ssm):(/?[A-Za-z0-9/_+=.@-]+)")


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that is named, never held."""

    service: str
    """``secretsmanager`` or ``ssm``."""
    value_from: Any
    """What a container definition says: an ARN, as text or as a function."""
    resource: Any
    """What a policy says."""


def statement(
    actions: Sequence[str],
    resources: Sequence[Any],
    *,
    condition: Mapping[str, Any] | None = None,
    sid: str | None = None,
) -> Json:
    """Return a statement that allows; ``resources`` are texts or functions of CloudFormation."""
    found: Json = {
        "Effect": "Allow",
        "Action": sorted(actions),
        "Resource": resources[0] if len(resources) == 1 else list(resources),
    }
    if condition:
        found["Condition"] = dict(condition)
    if sid:
        found["Sid"] = sid
    return found


def role(
    template: Template,
    name: str,
    service: str,
    statements: Sequence[Json],
    *,
    own_tags: Mapping[str, str],
) -> Json:
    """Declare a role for a service of AWS and return its ARN.

    Only that service takes it on, for this account alone where the service says for whom it asks.
    """
    trust: Json = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": service},
    }
    if service in _NARROWED:
        trust["Condition"] = {"StringEquals": {"aws:SourceAccount": ref("AWS::AccountId")}}
    properties: Json = {
        "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
        "Tags": tags(own_tags),
    }
    if statements:
        document = {"Version": "2012-10-17", "Statement": list(statements)}
        properties["Policies"] = [{"PolicyName": "own", "PolicyDocument": document}]
    template.add(name, "AWS::IAM::Role", properties)
    return att(name, "Arn")


def pull_image(repository: str) -> list[Json]:
    """Return what reading the images of one repository takes."""
    return [
        statement(["ecr:GetAuthorizationToken"], ["*"], sid="LogIn"),
        statement(
            [
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:GetDownloadUrlForLayer",
            ],
            [arn("ecr", f"repository/{repository}")],
            sid="PullImage",
        ),
    ]


def write_logs(group: str) -> Json:
    """Return what writing into a log group of the template takes; ``group`` is its logical id."""
    # GetAtt of a log group ends with ':*' already: the streams in it.
    return statement(
        ["logs:CreateLogStream", "logs:PutLogEvents"], [att(group, "Arn")], sid="WriteLogs"
    )


def read_secrets(secrets: Mapping[str, str]) -> list[Json]:
    """Return what reading the named secrets takes: nothing for none; raises UsageError."""
    found = [secret_of(variable, text) for variable, text in sorted(secrets.items())]
    statements = []
    for service, action, sid in (
        ("secretsmanager", "secretsmanager:GetSecretValue", "ReadSecrets"),
        ("ssm", "ssm:GetParameters", "ReadParameters"),
    ):
        resources = [one.resource for one in found if one.service == service]
        if resources:
            unique = [one for number, one in enumerate(resources) if one not in resources[:number]]
            statements.append(statement([action], unique, sid=sid))
    return statements


def secret_of(variable: str, text: str) -> Secret:
    """Read a reference to a secret; raises UsageError.

    ``arn:aws:secretsmanager:…:secret:NAME-SUFFIX[:KEY::]``, ``arn:aws:ssm:…:parameter/NAME``,
    ``secretsmanager:NAME`` or ``ssm:/NAME``, the latter two of this account and region.
    """
    if full := _ARN.fullmatch(text):
        # What stands behind the seventh part chooses a key of the secret's JSON.
        parts = text.split(":")
        resource = ":".join(parts[:7]) if full[1] == "secretsmanager" else text
        return Secret(full[1], text, resource)
    if short := _SHORT.fullmatch(text):
        name = short[2]
        if short[1] == "ssm":
            value = arn("ssm", f"parameter/{name.lstrip('/')}")
            return Secret("ssm", value, value)
        # AWS puts a hyphen and six characters behind the name of a secret.
        return Secret(
            "secretsmanager",
            arn("secretsmanager", f"secret:{name}"),
            arn("secretsmanager", f"secret:{name}-??????"),
        )
    raise UsageError(
        f"deploy.secrets.{variable} is no reference that AWS knows",
        hint="write 'secretsmanager:NAME', 'ssm:/NAME' or the ARN of either; never the value",
    )


__all__ = [
    "UNSCOPED",
    "Secret",
    "pull_image",
    "read_secrets",
    "role",
    "secret_of",
    "statement",
    "write_logs",
]
