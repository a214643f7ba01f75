"""A stack as CloudFormation describes it, and what its words mean for us.

    DescribeStacks + GetTemplate ──read_stack──► Stack

Facts: CloudFormation user guide, "Stack status codes".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

IN_REVIEW = "REVIEW_IN_PROGRESS"
NEVER_CAME_UP = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED")
SETTLED_WELL = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A stack as CloudFormation describes it."""

    name: str
    id: str
    status: str
    reason: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The template's ``Metadata``: what we left there."""
    resources: Mapping[str, str] = field(default_factory=dict)
    """Types of the template's resources, by logical id."""
    created: datetime | None = None
    updated: datetime | None = None

    @property
    def is_busy(self) -> bool:
        """True while CloudFormation works on it."""
        return self.status.endswith("_IN_PROGRESS") and self.status != IN_REVIEW

    @property
    def is_empty(self) -> bool:
        """True when it has a name and nothing else: a first change set was made, never executed."""
        return self.status == IN_REVIEW

    @property
    def never_came_up(self) -> bool:
        """True when all that can be done with it is to delete it."""
        return self.status in NEVER_CAME_UP

    @property
    def is_complete(self) -> bool:
        """True when the last that was done to it went well."""
        return self.status in SETTLED_WELL


def read_stack(found: Mapping[str, Any], template: Mapping[str, Any]) -> Stack:
    """Return a stack from its description and its template, which may be empty."""
    metadata, resources = template.get("Metadata"), template.get("Resources")
    return Stack(
        name=str(found["StackName"]),
        id=str(found["StackId"]),
        status=str(found["StackStatus"]),
        reason=found.get("StackStatusReason"),
        parameters={
            str(one["ParameterKey"]): str(one.get("ParameterValue", ""))
            for one in found.get("Parameters") or ()
        },
        outputs={
            str(one["OutputKey"]): str(one.get("OutputValue", ""))
            for one in found.get("Outputs") or ()
        },
        tags={str(one["Key"]): str(one["Value"]) for one in found.get("Tags") or ()},
        metadata=metadata if isinstance(metadata, Mapping) else {},
        resources={
            str(name): str(body.get("Type"))
            for name, body in (resources or {}).items()
            if isinstance(body, Mapping)
        },
        created=found.get("CreationTime"),
        updated=found.get("LastUpdatedTime"),
    )


def template_value(body: Any) -> Mapping[str, Any]:
    """Return a template as a value; botocore gives those that are JSON as values already."""
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            return {}
    return body if isinstance(body, Mapping) else {}


def is_busy(status: str) -> bool:
    """Return whether CloudFormation works on a stack of that status."""
    return status.endswith("_IN_PROGRESS") and status != IN_REVIEW
