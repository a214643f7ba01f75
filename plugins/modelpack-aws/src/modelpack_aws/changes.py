"""What CloudFormation would do to a stack, as it says itself, in words for people.

    describe_change_set ──read_changes──► StackChange per resource ──lines──► text

Wire facts: CloudFormation API reference, ``ResourceChange`` (Action, Replacement, Scope) and
``DescribeChangeSet``, whose answer comes in pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_SIGNS = {"Add": "+", "Modify": "~", "Remove": "-", "Import": "+", "Dynamic": "~"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StackChange:
    """What happens to one resource of a stack."""

    action: str
    """``Add``, ``Modify``, ``Remove`` …"""
    resource: str
    """Logical id."""
    kind: str
    """Type such as ``AWS::ECS::Service``."""
    replacement: str = "False"
    """Whether it is made anew: ``True``, ``False``, or ``Conditional`` on what is not known yet."""
    properties: tuple[str, ...] = ()
    """Names of the properties that change."""

    @property
    def sign(self) -> str:
        """``+``, ``~``, ``-``, or ``±`` for what is made anew."""
        return "±" if self.replacement == "True" else _SIGNS.get(self.action, "~")

    def __str__(self) -> str:
        changed = f": {', '.join(self.properties)}" if self.properties else ""
        return f"{self.sign} {self.kind} {self.resource}{changed}"


def read_changes(pages: Iterable[Mapping[str, Any]]) -> list[StackChange]:
    """Return the changes of a change set, in the order of the resources' names."""
    found = []
    for page in pages:
        for one in page.get("Changes") or ():
            change = one.get("ResourceChange") or {}
            targets = [detail.get("Target") or {} for detail in change.get("Details") or ()]
            names = {str(target["Name"]) for target in targets if target.get("Name")}
            names |= {
                str(target["Attribute"])
                for target in targets
                if target.get("Attribute") not in (None, "Properties")
            }
            found.append(
                StackChange(
                    action=str(change.get("Action", "")),
                    resource=str(change.get("LogicalResourceId", "")),
                    kind=str(change.get("ResourceType", "")),
                    replacement=str(change.get("Replacement") or "False"),
                    properties=tuple(sorted(names)),
                )
            )
    return sorted(found, key=lambda change: change.resource)
