"""What a deploy would change, as a value that can be read, kept and compared.

    DeploymentSpec + Live ──Target.plan──► Plan(changes) ──describe──► text for people
                                              │
                                              └──to_json / from_json, digest──► apply later

What always holds: a plan is made without changing anything; the same spec and the same live state
give the same plan and the same digest; a plan without changes is empty.  What somebody else has
changed since the last apply stands apart, as drift; notes, warnings, costs and drift are for people
and no part of the digest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
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


HOURS_A_MONTH = 730
"""What clouds count a month as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """About what a resource costs while it runs."""

    usd_per_hour: float
    """US dollars an hour."""

    note: str
    """What the price is of: ``on demand, eu-central-1, prices of 2026-08``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What happens to one resource; ``before`` and ``after`` hold only what differs."""

    action: Action
    resource: str
    """``KIND/NAME``, such as ``container/modelpack-digits``."""
    before: Mapping[str, Fact] = field(default_factory=dict)
    after: Mapping[str, Fact] = field(default_factory=dict)
    cost: Cost | None = None
    """About what the resource costs then, where a table of prices says so."""

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

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        value = {
            "action": self.action,
            "resource": self.resource,
            "before": dict(self.before),
            "after": dict(self.after),
        }
        if self.cost is not None:
            value["cost"] = asdict(self.cost)
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Change:
        """Read what ``to_json`` wrote; raises KeyError, TypeError or ValueError."""
        if value["action"] not in SIGNS:
            raise ValueError(f"unknown action {value['action']}")
        cost = value.get("cost")
        return cls(**{**value, "cost": None if cost is None else Cost(**cost)})


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

    notes: tuple[str, ...] = ()
    """What else is worth knowing, such as why the target chose what it chose."""

    drift: tuple[Change, ...] = ()
    """What differs from what was applied last, although modelpack has not changed it."""

    is_live_known: bool = True
    """False when the live state could not be read, so that this is the plan of a first apply."""

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
        for key in ("warnings", "notes", "drift", "is_live_known"):
            value.pop(key, None)
        for change in value["changes"]:
            change.pop("cost", None)
        return sha256_digest(canonical_json(value))

    def describe(self) -> str:
        """Return the plan as text for people, without a newline at the end."""
        head = f"deployment '{self.spec.name}' at target '{self.target}'"
        lines = [f"{head}: {self._summary()}"]
        for change in self.changes:
            if change.action != "none":
                lines += ["", *("  " + line for line in change.lines())]
        if self.drift:
            lines += ["", "  changed since the last apply, and not by modelpack:"]
            lines += ["  " + line for change in self.drift for line in change.lines()]
        if cost := _cost_line(change.cost for change in self.changes):
            lines += ["", f"  {cost}"]
        said = [f"  note: {note}" for note in self.notes]
        said += [f"  warning: {warning}" for warning in self.warnings]
        if not self.is_live_known:
            said.append("  warning: the live state is not known: what stands there is not compared")
        return "\n".join([*lines, *([""] if said else []), *said])

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, from which ``from_json`` makes an equal plan."""
        return {
            "target": self.target,
            "spec": self.spec.to_json(),
            "changes": [change.to_json() for change in self.changes],
            "warnings": list(self.warnings),
            **({"notes": list(self.notes)} if self.notes else {}),
            **({"drift": [change.to_json() for change in self.drift]} if self.drift else {}),
            **({} if self.is_live_known else {"is_live_known": False}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """Read what ``to_json`` wrote; raises DeployError when it is damaged."""
        try:
            return cls(
                target=str(value["target"]),
                spec=DeploymentSpec.from_json(value["spec"]),
                changes=tuple(Change.from_json(change) for change in value["changes"]),
                warnings=tuple(value["warnings"]),
                notes=tuple(value.get("notes", ())),
                drift=tuple(Change.from_json(change) for change in value.get("drift", ())),
                is_live_known=value.get("is_live_known", True) is True,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as cause:
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


def drift_of(live: Live) -> tuple[Change, ...]:
    """Return what differs from what was applied last, as a change of the deployment."""
    if live.is_absent or not live.applied:
        return ()
    before, after = difference(live.applied, live.facts)
    if not after:
        return ()
    resource = f"deployment/{live.name}"
    return (Change(action="update", resource=resource, before=before, after=after),)


def looks_secret(name: str) -> bool:
    """Return whether a variable of that name most likely holds a secret."""
    return _SECRET_NAME.search(name) is not None


def change_to(
    resource: str, live: Live, wanted: Mapping[str, Fact], *, stays: bool = False
) -> Change:
    """Return the one change that brings a resource from what is live to the wanted facts.

    Absent: create.  Other facts: replace, or update for a resource that ``stays`` and only gets
    another revision.  Only not running, or not found healthy yet: update.
    """
    if live.is_absent:
        return Change(action="create", resource=resource, after=dict(wanted))
    before, after = difference(live.facts, wanted)
    action: Action = "none"
    if after:
        action = "update" if stays else "replace"
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
    if key.startswith("env.") and looks_secret(key):
        return "(hidden)"
    if isinstance(value, str):
        if value.startswith("sha256:"):
            return value[:19]
        return value if value and value.isprintable() and value == value.strip() else repr(value)
    return str(value)


def _cost_line(costs: Iterable[Cost | None]) -> str:
    known = [cost for cost in costs if cost is not None]
    if not known:
        return ""
    hourly = sum(cost.usd_per_hour for cost in known)
    of = "; ".join(dict.fromkeys(cost.note for cost in known))
    return f"cost: about {hourly:.3g} USD an hour, {hourly * HOURS_A_MONTH:,.0f} a month ({of})"
