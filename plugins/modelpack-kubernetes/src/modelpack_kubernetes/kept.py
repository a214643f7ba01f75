"""Which revisions of a deployment were found healthy: kept in the cluster, as ControllerRevisions.

    Entry(spec, image, options) ──Kept(entry, beside)──► ControllerRevision NAME-MARK, numbered
    history ◄── the numbered ones of a deployment, oldest first; the last one is what is settled

Kubernetes has this kind for just that: a snapshot that never changes, with a number that says in
which order they were current; StatefulSets and DaemonSets keep their history so.  A Deployment's own
ReplicaSets know their pods alone: not what scaled them, who reached them, or what was asked for, and
services of KServe and Knative have none.

Of a canary that stays, ``beside`` is the revision that has the rest of the requests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from modelpack.deploy import DeploymentSpec, Fact
from modelpack.errors import DeployError
from modelpack_kubernetes.options import OF_THE_FILES, OPTIONS
from modelpack_kubernetes.wanted import Wanted, wanted_from
from modelpack_kubernetes.words import Json

MOST = 10
"""How many revisions are kept; with older ones their secrets go too."""

SINCE = "modelpack.dev/since"
OPTIONS_NOTE = "modelpack.dev/options"
"""Annotation of the workload: the options of the target that it was made with, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One revision with all that its manifests are made of."""

    spec: DeploymentSpec
    image: str
    """Reference that nodes pull; with its digest where that is known."""
    options: Mapping[str, str] = field(default_factory=dict)
    serial: int = 1
    """Which values its own secrets have; other values behind the same references are the next."""

    @property
    def mark(self) -> str:
        """Name of the revision in the cluster: other options, or other values, are another one."""
        name = self.spec.revision
        if self._told:
            text = json.dumps(self._told, sort_keys=True)
            name += f"-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
        return name if self.serial == 1 else f"{name}-{self.serial}"

    @property
    def wanted(self) -> Wanted:
        """What it asks of a cluster; raises UsageError."""
        return replace(wanted_from(self.spec, self.options, serial=self.serial), image=self.image)

    def facts(self) -> dict[str, Fact]:
        """Return what is compared: facts of the spec, and the options."""
        mode = {"mode": self.spec.settings.mode or "deployment"}
        values = {} if self.serial == 1 else {"values of secrets": f"no. {self.serial}"}
        told = {f"option.{k}": v for k, v in self._told.items()}
        return self.spec.facts() | mode | told | values

    @property
    def _told(self) -> dict[str, str]:
        """The options but for the namespace, which says where and not what."""
        return {key: one for key, one in self.options.items() if key != "namespace"}

    def to_json(self) -> Json:
        """Return plain JSON values."""
        said = {"spec": self.spec.to_json(), "image": self.image, "options": dict(self.options)}
        return said if self.serial == 1 else {**said, "serial": self.serial}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Entry:
        """Read what ``to_json`` wrote; raises DeployError when it is damaged."""
        try:
            options = {str(key): str(one) for key, one in value["options"].items()}
            spec = DeploymentSpec.from_json(value["spec"])
            serial = int(value.get("serial", 1))
            return cls(spec=spec, image=str(value["image"]), options=options, serial=serial)
        except (KeyError, TypeError, AttributeError, ValueError) as cause:
            raise DeployError(
                "what the cluster keeps of a deployment cannot be read",
                hint="deploy it again; a newer modelpack may have written it",
            ) from cause


def of_the_manifests(options: Mapping[str, str]) -> dict[str, str]:
    """Return the options that manifests depend on."""
    return {
        key: one
        for key, one in sorted(options.items())
        if key in OPTIONS and key not in OF_THE_FILES
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A revision that was found healthy."""

    entry: Entry
    number: int
    since: str
    beside: Entry | None = None
    """What has the rest of the requests, where this is a canary that stays."""
    version: str = ""
    """Of the object that holds it."""


def read(objects: Iterable[Json]) -> tuple[Kept, ...]:
    """Return what ControllerRevisions hold, oldest first; damaged ones are left out."""
    found = []
    for one in objects:
        data, meta = one.get("data") or {}, one["metadata"]
        try:
            beside = data.get("beside")
            kept = Kept(
                entry=Entry.from_json(data["entry"]),
                number=int(one["revision"]),
                since=str((meta.get("annotations") or {}).get(SINCE) or meta["creationTimestamp"]),
                beside=None if beside is None else Entry.from_json(beside),
                version=str(meta["resourceVersion"]),
            )
        except (DeployError, KeyError, TypeError, ValueError):
            continue
        found.append(kept)
    return tuple(sorted(found, key=lambda one: one.number))


def object_of(entry: Entry, beside: Entry | None, number: int) -> Json:
    """Return the object that keeps a revision which was found healthy now."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    data: Json = {"entry": entry.to_json()}
    if beside is not None:
        data["beside"] = beside.to_json()
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": entry.wanted.metadata(object_name(entry, beside), **{SINCE: now}),
        "revision": number,
        "data": data,
    }


def object_name(entry: Entry, beside: Entry | None) -> str:
    """Return the name of that object."""
    name = f"{entry.wanted.name}-{entry.mark}"
    return name if beside is None else f"{name}-beside-{beside.mark}"
