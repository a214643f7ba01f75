"""What a deploy would change, as a value that can be read, kept and compared.

    DeploymentSpec + Live ──Target.plan──► Plan(changes) ──describe──► text for people
                                              │
                                              └──to_json / from_json, digest──► apply later

What always holds: a plan is made without changing anything; the same spec and the same live state
give the same plan and the same digest; a plan without changes is empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.deploy.state import NEEDS_START, Live, State
from modelpack.errors import DeployError
from modelpack.manifest import canonical_json, sha256_digest

Action = Literal["create", "update", "replace", "delete", "none"]

SIGNS: Mapping[Action, str] = {
    "create": "+",
    "update": "~",
    "replace": "±",
    "delete": "-",
    "none": " ",
}
_DONE: Mapping[Action, str] = {
    "create": "to create",
    "update": "to update",
    "replace": "to replace",
    "delete": "to delete",
}

IMAGE = "image"
"""Kind of the one resource that is made before a plan is applied."""

# A plan ends up in the logs of a build server; values of variables named like this do not.
_SECRET_NAME = re.compile(r"secret|token|passw|credential|api_?key|private", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What happens to one resource; ``before`` and ``after`` hold only what differs."""

    action: Action
    resource: str
    """``KIND/NAME``, such as ``container/modelpack-digits``."""
    before: Mapping[str, Fact] = field(default_factory=dict)
    after: Mapping[str, Fact] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What is before the first slash of the resource."""
        return self.resource.partition("/")[0]

    @property
    def title(self) -> str:
        """What is behind the first slash of the resource."""
        return self.resource.partition("/")[2]

    def lines(self) -> list[str]:
        """Return the change as lines for people: the resource, then one line a field."""
        lines = [f"{SIGNS[self.action]} {self.resource}"]
        keys = [*self.after, *(key for key in self.before if key not in self.after)]
        width = max((len(key) for key in keys), default=0)
        for key in keys:
            before, after = (_shown(key, side.get(key)) for side in (self.before, self.after))
            if self.action in ("create", "delete"):
                what = after if self.action == "create" else before
            else:
                what = f"{before} → {after}"
            lines.append(f"    {key:<{width}}  {what}")
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that one apply would do, in the order in which it would do it."""

    target: str
    """Name of the target."""

    spec: DeploymentSpec
    """What shall run in the end."""

    changes: tuple[Change, ...] = ()

    warnings: tuple[str, ...] = ()
    """What the target cannot do of what the spec asks for."""

    @property
    def is_empty(self) -> bool:
        """True when everything stands already as it should."""
        return all(change.action == "none" for change in self.changes)

    @property
    def missing_image(self) -> str | None:
        """Reference of the image that must be built before this plan can be applied."""
        for change in self.changes:
            if change.kind == IMAGE and change.action in ("create", "replace"):
                return change.title
        return None

    @property
    def digest(self) -> str:
        """``sha256:HEX`` of all that the plan does; warnings do not count."""
        value = self.to_json()
        del value["warnings"]
        return sha256_digest(canonical_json(value))

    def describe(self) -> str:
        """Return the plan as text for people, without a newline at the end."""
        head = f"deployment '{self.spec.name}' at target '{self.target}'"
        lines = [f"{head}: {self._summary()}"]
        for change in self.changes:
            if change.action != "none":
                lines += ["", *("  " + line for line in change.lines())]
        if self.warnings:
            lines += ["", *(f"  note: {warning}" for warning in self.warnings)]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, from which ``from_json`` makes an equal plan."""
        return {
            "target": self.target,
            "spec": self.spec.to_json(),
            "changes": [
                {
                    "action": change.action,
                    "resource": change.resource,
                    "before": dict(change.before),
                    "after": dict(change.after),
                }
                for change in self.changes
            ],
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """Read what ``to_json`` wrote; raises DeployError when it is damaged."""
        try:
            changes = tuple(Change(**change) for change in value["changes"])
            if unknown := {change.action for change in changes} - set(SIGNS):
                raise ValueError(f"unknown actions {unknown}")
            return cls(
                target=value["target"],
                spec=DeploymentSpec.from_json(value["spec"]),
                changes=changes,
                warnings=tuple(value["warnings"]),
            )
        except (KeyError, TypeError, ValueError) as cause:
            raise DeployError("the kept plan cannot be read", hint="plan again") from cause

    def _summary(self) -> str:
        if self.is_empty:
            return "nothing to change"
        counts = []
        for action, done in _DONE.items():
            count = sum(change.action == action for change in self.changes)
            if count:
                counts.append(f"{count} {done}")
        return ", ".join(counts)


def difference(
    before: Mapping[str, Fact], after: Mapping[str, Fact]
) -> tuple[dict[str, Fact], dict[str, Fact]]:
    """Return the facts that differ, from both sides; a fact that one side lacks is None there."""
    keys = [*after, *(key for key in before if key not in after)]
    differing = [key for key in keys if before.get(key) != after.get(key)]
    return {key: before.get(key) for key in differing}, {key: after.get(key) for key in differing}


def change_to(resource: str, live: Live, wanted: Mapping[str, Fact]) -> Change:
    """Return the one change that brings a resource from what is live to the wanted facts.

    Absent: create.  Other facts: replace.  Only not running, or not found healthy yet: update.
    """
    if live.is_absent:
        return Change(action="create", resource=resource, after=dict(wanted))
    before, after = difference(live.facts, wanted)
    action: Action = "replace" if after else "none"
    if live.state in NEEDS_START:
        before["state"], after["state"] = live.state.value, State.RUNNING.value
    if not live.is_settled:
        before["checked"], after["checked"] = "no", "yes"
    if after and action == "none":
        action = "update"
    return Change(action=action, resource=resource, before=before, after=after)


def _shown(key: str, value: Fact) -> str:
    if value is None:
        return "(not set)"
    if key.startswith("env.") and _SECRET_NAME.search(key):
        return "(hidden)"
    if isinstance(value, str):
        if value.startswith("sha256:"):
            return value[:19]
        return value if value and value.isprintable() and value == value.strip() else repr(value)
    return str(value)
