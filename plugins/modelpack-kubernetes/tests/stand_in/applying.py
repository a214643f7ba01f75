"""Server-side apply: who owns which field, what a new configuration changes, what it may not.

What always holds (Kubernetes, "Server-Side Apply"):

* a field in an applied configuration belongs to its manager; who leaves one out gives it up, and
  it goes away when nobody else owns it;
* a field that another manager owns with another value is a conflict, unless the apply is forced:
  then the other loses it; with the same value both own it;
* who updates without apply owns what has changed, and others lose that.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from .fields import MISSING, Fields, Path, owned, shown, step_of, to_v1, value_at
from .schema import Schema


class Conflict(Exception):
    """Fields that others own with other values."""

    def __init__(self, causes: list[tuple[str, Path]]) -> None:
        super().__init__("conflict")
        self.causes = [(manager, shown(path)) for manager, path in causes]


@dataclass(slots=True)
class Entry:
    """What one manager owns."""

    manager: str
    operation: str
    api_version: str
    time: str
    fields: Fields = frozenset()
    subresource: str = ""

    def to_json(self) -> dict[str, Any]:
        said = {
            "manager": self.manager,
            "operation": self.operation,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": to_v1(self.fields),
        }
        return said | ({"subresource": self.subresource} if self.subresource else {})


@dataclass(slots=True)
class Managed:
    """All managers of one object."""

    entries: list[Entry] = field(default_factory=list)

    def copy(self) -> Managed:
        return Managed([copy.copy(one) for one in self.entries])

    def of(self, manager: str, operation: str) -> Entry | None:
        for one in self.entries:
            if (one.manager, one.operation, one.subresource) == (manager, operation, ""):
                return one
        return None

    def put(self, entry: Entry) -> None:
        former = self.of(entry.manager, entry.operation)
        if former is not None:
            self.entries.remove(former)
        if entry.fields:
            self.entries.append(entry)

    def take(self, fields: Fields, but: Entry | None = None) -> None:
        """Take fields from everybody but one."""
        for one in list(self.entries):
            if one is but or one.subresource:
                continue
            one.fields -= fields
            if not one.fields:
                self.entries.remove(one)

    def to_json(self) -> list[dict[str, Any]]:
        return [one.to_json() for one in self.entries]


def apply(
    live: dict[str, Any],
    config: dict[str, Any],
    managed: Managed,
    entry: Entry,
    schema: Schema,
    *,
    force: bool,
) -> dict[str, Any]:
    """Return the object with a configuration applied, and note in ``managed`` who owns what.

    ``entry`` says who applies.  Raises Conflict.
    """
    fields = owned(config, schema)
    former = managed.of(entry.manager, "Apply")
    differing = [
        (one.manager, path)
        for one in managed.entries
        if one is not former and not one.subresource
        for path in sorted(one.fields & fields)
        if value_at(live, path, schema) != value_at(config, path, schema)
    ]
    if differing and not force:
        raise Conflict(differing)
    managed.take(frozenset(path for _, path in differing), but=former)
    result = merge(live, config, schema)
    left = (former.fields if former else frozenset()) - fields
    kept = frozenset().union(*(one.fields for one in managed.entries if one is not former))
    # What is deeper goes first; of one depth, an item of a list before the fields that name it.
    for path in sorted(left - kept, key=lambda one: (len(one), one[-1] == "."), reverse=True):
        result = _without(result, path, schema, kept | fields)
    entry.fields = fields
    managed.put(entry)
    return result


def update(
    live: dict[str, Any], wanted: dict[str, Any], managed: Managed, entry: Entry, schema: Schema
) -> None:
    """Note who owns what after an object was written as a whole."""
    before, after = owned(live, schema), owned(wanted, schema)
    changed = frozenset(
        path
        for path in before | after
        if value_at(live, path, schema) != value_at(wanted, path, schema)
    )
    own = managed.of(entry.manager, entry.operation)
    managed.take(changed, but=own)
    entry.fields = ((own.fields if own else frozenset()) | changed) & after
    managed.put(entry)


def merge(live: Any, config: Any, schema: Schema) -> Any:
    """Return the live value with all that a configuration names put into it."""
    if isinstance(config, dict) and isinstance(live, dict) and not schema.is_atomic:
        merged = dict(live)
        for name, one in config.items():
            if one is not None:
                merged[name] = merge(live.get(name), one, schema.child(name))
        return merged
    if isinstance(config, list) and isinstance(live, list) and schema.list_type != "atomic":
        there = {step_of(one, schema): one for one in live}
        for one in config:
            step = step_of(one, schema)
            there[step] = merge(there.get(step), one, schema.item)
        return list(there.values())
    return copy.deepcopy(config)


def _without(value: Any, path: Path, schema: Schema, kept: Fields) -> Any:
    """Return a value without what stands at a path, unless something below it is owned."""
    if value_at(value, path, schema) is MISSING:
        return value
    step, rest = path[0], path[1:]
    if step.startswith("f:"):
        name = step[2:]
        below = frozenset(one[1:] for one in kept if one[0] == step and len(one) > 1)
        if rest:
            inner = _without(value[name], rest, schema.child(name), below)
            is_empty = inner in ({}, []) and value[name] not in ({}, [])
        else:
            inner, is_empty = value[name], not below
        if is_empty and not below:
            return {key: one for key, one in value.items() if key != name}
        return {**value, name: inner}
    below = frozenset(one[1:] for one in kept if one[0] == step and len(one) > 1)
    found = []
    for one in value:
        if step_of(one, schema) != step:
            found.append(one)
        elif rest and rest != (".",):
            found.append(_without(one, rest, schema.item, below))
        elif below:
            found.append(one)
    return found
