"""Secrets of services that take variables alone: CloudFormation puts the values in.

    {"TOKEN": "secretsmanager:bank"} ──resolved──► "{{resolve:secretsmanager:bank:SecretString}}"

The value is read by CloudFormation when the stack changes, with the rights of who deploys; template,
plan, change set and events hold the reference.  Whoever may read the configuration of the function
or the model reads the value there.  A secret that changes takes effect with the next deploy.

Form: CloudFormation user guide, "Get values stored in other services using dynamic references";
secure strings of Systems Manager are not among what these services take.
"""

from __future__ import annotations

from collections.abc import Mapping

from modelpack_aws.roles import secret_of


def resolved(secrets: Mapping[str, str]) -> dict[str, str]:
    """Return each variable with the dynamic reference to its value; raises UsageError."""
    return {variable: _reference(variable, text) for variable, text in sorted(secrets.items())}


def _reference(variable: str, text: str) -> str:
    service = secret_of(variable, text).service
    if service == "ssm":
        if text.startswith("arn:"):
            name = text.partition(":parameter/")[2]
            # A name with folders begins with a slash, which its ARN does not repeat.
            name = f"/{name}" if "/" in name else name
        else:
            name = text.partition(":")[2]
        return "{{resolve:ssm:" + name + "}}"
    if not text.startswith("arn:"):
        return "{{resolve:secretsmanager:" + text.partition(":")[2] + ":SecretString}}"
    parts = text.split(":")
    name, key = ":".join(parts[:7]), ":".join(parts[7:8])
    return "{{resolve:secretsmanager:" + name + ":SecretString" + (f":{key}" if key else "") + "}}"
