"""The objects of the cluster: versions, watches, deletion, and who owns whom.

    write ──► checks, defaults ──► a new resourceVersion ──► log of events ──► watches
    delete ──► finalizers? marked, and gone when the last one is ──► what it owned follows

What always holds: every write has a number of its own, and so has every event; a watch that begins at
a number sees all that came after it, unless the log was compacted since: then it is told so (410).
"""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from . import applying, defaults, refusals
from .applying import Conflict, Entry, Managed
from .kinds import CUSTOM, KINDS, Kind
from .schema import schema_of

Json = dict[str, Any]


@dataclass(slots=True)
class Item:
    """One object with what is known of its fields' owners."""

    kind: Kind
    value: Json
    managed: Managed = field(default_factory=Managed)

    @property
    def name(self) -> str:
        return str(self.value["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.value["metadata"].get("namespace", ""))

    def to_json(self) -> Json:
        said = copy.deepcopy(self.value)
        said["metadata"]["managedFields"] = self.managed.to_json()
        return said


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a watch is told."""

    version: int
    type: str
    kind: Kind
    value: Json


class Store:
    """All objects of one cluster; ``changed`` is notified after every write."""

    def __init__(self, *, has_custom: bool = True) -> None:
        self.kinds = (*KINDS, *CUSTOM) if has_custom else KINDS
        self.items: dict[tuple[tuple[str, str], str, str], Item] = {}
        self.version = 1
        self.compacted = 0
        self.log: list[Event] = []
        self.changed = threading.Condition(threading.RLock())

    # Reading

    def kind_of(self, group: str, plural: str) -> Kind:
        for one in self.kinds:
            if one.key == (group, plural):
                return one
        raise refusals.no_such_page()

    def named(self, kind: str, group: str = "") -> Kind:
        return next(one for one in self.kinds if one.kind == kind and one.group == group)

    def get(self, kind: Kind, namespace: str, name: str) -> Item:
        item = self.items.get((kind.key, namespace, name))
        if item is None:
            raise refusals.not_found(_full(kind), name)
        return item

    def list(self, kind: Kind, namespace: str | None = None) -> list[Item]:
        found = [
            item
            for (key, space, _), item in self.items.items()
            if key == kind.key and namespace in (None, space)
        ]
        return sorted(found, key=lambda one: (one.namespace, one.name))

    # Writing

    def create(
        self, kind: Kind, namespace: str, value: Json, manager: str, *, dry_run: bool = False
    ) -> Item:
        """Put a new object there; raises Refused."""
        value = copy.deepcopy(value)
        meta = value.setdefault("metadata", {})
        if "name" not in meta and "generateName" in meta:
            meta["name"] = meta["generateName"] + uuid.uuid4().hex[:5]
        name = str(meta.get("name", ""))
        if (kind.key, namespace, name) in self.items:
            raise refusals.exists(_full(kind), name)
        item = Item(kind, self._fresh(kind, namespace, value))
        applying.update({}, item.value, item.managed, self._entry(kind, manager), schema_of(kind))
        return self._keep(item, None, dry_run=dry_run)

    def replace(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        value: Json,
        manager: str,
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Item:
        """Write an object as a whole, or only its status; raises Refused."""
        former = self.get(kind, namespace, name)
        value = copy.deepcopy(value)
        asked = value.get("metadata", {}).get("resourceVersion")
        if asked is not None and asked != former.value["metadata"]["resourceVersion"]:
            raise refusals.stale(_full(kind), name)
        if subresource == "status":
            wanted = {**former.value, "status": value.get("status", {})}
            item = Item(kind, copy.deepcopy(wanted), former.managed)
            return self._keep(item, former, dry_run=dry_run)
        if kind.has_status:
            value.pop("status", None)
            if "status" in former.value:
                value["status"] = former.value["status"]
        value["metadata"] = {**value.get("metadata", {}), **_identity(former.value)}
        value["metadata"].pop("managedFields", None)
        item = Item(kind, value, former.managed.copy())
        entry = self._entry(kind, manager)
        applying.update(former.value, value, item.managed, entry, schema_of(kind))
        return self._keep(item, former, dry_run=dry_run)

    def apply(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        config: Json,
        manager: str,
        *,
        force: bool = False,
        dry_run: bool = False,
    ) -> Item:
        """Apply a configuration server-side; raises Refused."""
        meta = config.get("metadata") or {}
        if meta.get("namespace", namespace) != namespace:
            raise refusals.bad("the namespace of the provided object does not match the namespace")
        if meta.get("name") != name:
            raise refusals.bad("name in URL does not match name in request object")
        if meta.get("managedFields"):
            raise refusals.bad("metadata.managedFields must be nil")
        former = self.items.get((kind.key, namespace, name))
        live = (
            former.value if former else self._fresh(kind, namespace, {"metadata": {"name": name}})
        )
        asked = meta.get("resourceVersion")
        if asked is not None and asked != live["metadata"].get("resourceVersion"):
            raise refusals.stale(_full(kind), name)
        managed = former.managed.copy() if former else Managed()
        config = defaults.shortened({key: one for key, one in config.items() if key != "status"})
        entry = self._entry(kind, manager, "Apply")
        try:
            value = applying.apply(live, config, managed, entry, schema_of(kind), force=force)
        except Conflict as cause:
            raise refusals.conflict(cause.causes) from cause
        item = Item(kind, value, managed)
        if former is not None and self._is_same(item, former):
            return former
        return self._keep(item, former, dry_run=dry_run)

    def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        propagation: str = "Background",
        preconditions: Mapping[str, str] | None = None,
        dry_run: bool = False,
    ) -> Item:
        """Delete an object, or mark it when somebody has to finish first; raises Refused."""
        item = self.get(kind, namespace, name)
        meta = item.value["metadata"]
        for key, wanted in (preconditions or {}).items():
            if meta[key] != wanted:
                raise refusals.stale(_full(kind), name)
        if dry_run:
            return item
        owned = self.owned_by(meta["uid"])
        if propagation == "Orphan":
            for one in owned:
                del one.value["metadata"]["ownerReferences"]
                self._write(one, "MODIFIED")
            owned = []
        if meta.get("finalizers"):
            if "deletionTimestamp" not in meta:
                meta["deletionTimestamp"] = now()
                self._write(item, "MODIFIED")
            return item
        if propagation == "Foreground":
            self._delete_all(owned)
            owned = []
        self._remove(item)
        self._delete_all(owned)
        return item

    def owned_by(self, uid: str) -> list[Item]:
        """Return what an object owns."""
        return [
            item
            for item in self.items.values()
            if any(ref["uid"] == uid for ref in item.value["metadata"].get("ownerReferences", ()))
        ]

    def compact(self) -> None:
        """Forget the events so far, as etcd does every five minutes."""
        with self.changed:
            self.log.clear()
            self.compacted = self.version
            self.changed.notify_all()

    def set_status(self, item: Item, status: Json) -> None:
        """Write the status of an object, as a controller does, if it is another one."""
        if item.value.get("status") != status and self._is_there(item):
            item.value["status"] = status
            self._write(item, "MODIFIED")

    # How it is done

    def _is_there(self, item: Item) -> bool:
        return self.items.get((item.kind.key, item.namespace, item.name)) is item

    def _delete_all(self, items: Iterable[Item]) -> None:
        for one in list(items):
            if self._is_there(one):
                self.delete(one.kind, one.namespace, one.name)

    def _fresh(self, kind: Kind, namespace: str, value: Json) -> Json:
        meta = {**value.get("metadata", {})}
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "generation": 1}
        if kind.is_namespaced:
            meta["namespace"] = namespace
        if kind.has_status:
            value = {key: one for key, one in value.items() if key != "status"}
        return {**value, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta}

    def _entry(self, kind: Kind, manager: str, operation: str = "Update") -> Entry:
        return Entry(manager, operation, kind.api_version, now())

    def _is_same(self, item: Item, former: Item) -> bool:
        value = item.value
        if item.kind.crd is None:
            value = defaults.with_defaults(item.kind.kind, value)
        fields = [
            [(one.manager, one.fields) for one in each.managed.entries] for each in (item, former)
        ]
        return value == former.value and fields[0] == fields[1]

    def _keep(self, item: Item, former: Item | None, *, dry_run: bool) -> Item:
        kind = item.kind
        if kind.is_namespaced:
            space = self.items.get((self.kinds[0].key, "", item.namespace))
            if space is None:
                raise refusals.not_found("namespaces", item.namespace)
        item.value = _without_nulls(item.value)
        self._check(item, former)
        if former is not None:
            meta, before = item.value["metadata"], former.value
            keep = _identity(before)
            meta.update(keep)
            same = {k: v for k, v in item.value.items() if k not in ("metadata", "status")}
            if same != {k: v for k, v in before.items() if k not in ("metadata", "status")}:
                meta["generation"] = before["metadata"]["generation"] + 1
        if dry_run:
            return item
        if former is not None:
            former.value, former.managed = item.value, item.managed
            item = former
        self.items[kind.key, item.namespace, item.name] = item
        self._write(item, "MODIFIED" if former is not None else "ADDED")
        meta = item.value["metadata"]
        if "deletionTimestamp" in meta and not meta.get("finalizers"):
            owned = self.owned_by(meta["uid"])
            self._remove(item)
            self._delete_all(owned)
        return item

    def _check(self, item: Item, former: Item | None) -> None:
        kind = item.kind
        item.value = {**item.value, "apiVersion": kind.api_version, "kind": kind.kind}
        wrong = list(schema_of(kind).check(item.value))
        unknown = [one for one in wrong if one.startswith("unknown field")]
        if unknown:
            said = ", ".join(f"strict decoding error: {one}" for one in unknown)
            raise refusals.bad(f"{kind.kind} in version {kind.version!r} cannot be handled: {said}")
        if not wrong and kind.crd is None:
            item.value = defaults.with_defaults(kind.kind, item.value)
            wrong = list(defaults.mistakes(kind.kind, item.value, former and former.value))
        if wrong:
            raise refusals.invalid(f"{kind.kind}.{kind.group}".rstrip("."), item.name, wrong)

    def _remove(self, item: Item) -> None:
        del self.items[item.kind.key, item.namespace, item.name]
        self._write(item, "DELETED")

    def _write(self, item: Item, type_: str) -> None:
        with self.changed:
            self.version += 1
            item.value["metadata"]["resourceVersion"] = str(self.version)
            self.log.append(Event(self.version, type_, item.kind, item.to_json()))
            self.changed.notify_all()


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _identity(value: Json) -> Json:
    keys = ("uid", "creationTimestamp", "generation", "namespace", "name", "deletionTimestamp")
    return {key: value["metadata"][key] for key in keys if key in value["metadata"]}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


def _full(kind: Kind) -> str:
    return f"{kind.plural}.{kind.group}".rstrip(".")


def owner_of(item: Item) -> Json:
    value = item.value
    uid = value["metadata"]["uid"]
    said = {"apiVersion": value["apiVersion"], "kind": value["kind"], "name": item.name, "uid": uid}
    return {**said, "controller": True, "blockOwnerDeletion": True}
