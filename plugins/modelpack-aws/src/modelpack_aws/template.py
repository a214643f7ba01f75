"""A CloudFormation template as a value, and the few functions that its texts are made with.

    Template(description).add("Service", "AWS::ECS::Service", {...}) ──to_json──► text ──► a stack

The same calls give the same bytes: keys are sorted, nothing of the clock or the machine is in it.
What differs from account to account (image, network) is a parameter, so that a template can be
written without credentials.  Form and limits: AWS CloudFormation user guide, "Template anatomy" and
"Understand CloudFormation quotas" (51,200 bytes in a request, logical ids of letters and digits).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelpack.errors import DeployError

MOST_BYTES = 51_200
"""Longest template that a request can carry."""

_LOGICAL_ID = re.compile(r"[A-Za-z][A-Za-z0-9]{0,254}")

Json = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Template:
    """Parameters, resources and outputs; raises ValueError for a name twice or none that can be."""

    description: str
    """One line that consoles show."""
    metadata: Json = field(default_factory=dict)
    """What the stack remembers for us; it decides nothing."""
    parameters: Json = field(default_factory=dict)
    conditions: Json = field(default_factory=dict)
    resources: Json = field(default_factory=dict)
    outputs: Json = field(default_factory=dict)

    def parameter(self, name: str, about: str, kind: str = "String", **more: Any) -> Json:
        """Declare a parameter and return a reference to it; ``more`` is default, pattern and such."""
        _put(self.parameters, name, {"Type": kind, "Description": about, **more})
        return ref(name)

    def add(
        self,
        name: str,
        kind: str,
        properties: Mapping[str, Any],
        *,
        after: Sequence[str] = (),
        **attributes: Any,
    ) -> Json:
        """Declare a resource and return a reference to it.

        Properties that are None are left out.  ``after`` are resources that have to be there
        before; ``attributes`` stand beside the properties, such as ``DeletionPolicy``.
        """
        body: Json = {"Type": kind, "Properties": without_none(properties), **attributes}
        if after:
            body["DependsOn"] = sorted(after)
        _put(self.resources, name, body)
        return ref(name)

    def output(self, name: str, about: str, value: Any) -> None:
        """Declare what the stack tells about itself."""
        _put(self.outputs, name, {"Description": about, "Value": value})

    def to_json(self) -> Json:
        """Return plain JSON values; empty sections are left out."""
        sections = {
            "AWSTemplateFormatVersion": "2010-09-09",
            "Description": self.description,
            "Metadata": self.metadata,
            "Parameters": self.parameters,
            "Conditions": self.conditions,
            "Resources": self.resources,
            "Outputs": self.outputs,
        }
        return {key: value for key, value in sections.items() if value}

    def text(self) -> str:
        """Return the template for people: indented, keys sorted, a newline at the end."""
        return json.dumps(self.to_json(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def body(self) -> str:
        """Return the template for a request; raises DeployError when it is too long for one."""
        text = json.dumps(self.to_json(), separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        if len(text.encode()) > MOST_BYTES:
            raise DeployError(
                f"the template of this deployment has {len(text.encode())} bytes, "
                f"CloudFormation takes {MOST_BYTES}",
                hint="most of it is 'deploy.env': keep long values in the bundle",
            )
        return text


def without_none(value: Any) -> Any:
    """Return the value without the keys, at any depth, whose value is None."""
    if isinstance(value, Mapping):
        return {key: without_none(one) for key, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [without_none(one) for one in value]
    return value


def ref(name: str) -> Json:
    """Return the value of a parameter, or the identifier of a resource."""
    return {"Ref": name}


def att(name: str, attribute: str) -> Json:
    """Return an attribute of a resource, such as ``Arn``."""
    return {"Fn::GetAtt": [name, attribute]}


def sub(text: str, **values: Any) -> Json:
    """Return text with ``${NAME}`` in it: parameters, resources, pseudo parameters, ``values``."""
    return {"Fn::Sub": [text, values] if values else text}


def arn(service: str, resource: str, **values: Any) -> Json:
    """Return the name of a resource of this account and region, in any partition."""
    return sub(
        f"arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}:{resource}",
        **values,
    )


def tags(values: Mapping[str, str]) -> list[Json]:
    """Return tags in the form that most resources take, sorted."""
    return [{"Key": key, "Value": value} for key, value in sorted(values.items())]


def _put(section: Json, name: str, value: Json) -> None:
    if not _LOGICAL_ID.fullmatch(name):
        raise ValueError(f"'{name}' is no logical id")
    if name in section:
        raise ValueError(f"'{name}' is there already")
    section[name] = value
