"""What stands of a deployment, as the cluster says: its workload, a canary beside it, its history.

    Cluster ──look(name)──► Standing(stable, canary, kept)
                               newest    what was applied last
                               settled   what was found healthy last: where a revert goes back to

    Stand(entry, beside) ──objects──► all that belongs to it, in the order in which it is applied

Everything is found by its labels, never by what this machine remembers.  An object under one of our
names that does not have them is somebody else's, and is not touched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from modelpack.deploy import DeploymentSpec, check_name
from modelpack.errors import ConflictError, DeployError, RefusedError, UsageError
from modelpack_kubernetes import kept as history
from modelpack_kubernetes.cluster import Cluster
from modelpack_kubernetes.kept import OPTIONS_NOTE, Entry, Kept
from modelpack_kubernetes.kinds import CONTROLLER_REVISION, DEPLOYMENT, MADE, WORKLOADS, Kind
from modelpack_kubernetes.manifests import manifests
from modelpack_kubernetes.wanted import PORT_NAME, SERVICE_PORT, Wanted, selector_of
from modelpack_kubernetes.words import (
    CANARY,
    INSTANCE_LABEL,
    MANAGED_BY_LABEL,
    MANAGER,
    SPEC,
    Json,
    resource_name,
)
from modelpack_kubernetes.words import (
    DEPLOYMENT as DEPLOYMENT_NOTE,
)
from modelpack_kubernetes.workload import deployment

_OF_KUBERNETES = frozenset({"", "apps", "autoscaling", "networking.k8s.io", "policy"})
"""Groups that every cluster has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """A revision as it shall stand; with ``beside``, as a canary beside that one."""

    entry: Entry
    beside: Entry | None = None

    def objects(self) -> list[Json]:
        """Return every object, in the order in which they are applied; raises UsageError."""
        wanted, beside = self.entry.wanted, self.beside
        if beside is None:  # all requests are its own
            settings = replace(wanted.settings, canary_percent=None, bake_s=None)
            alone = manifests(replace(wanted, settings=settings))
            return [_marked(one, self.entry) for one in alone]
        if wanted.mode == "deployment":
            former = [_marked(one, beside) for one in manifests(beside.wanted)]
            return [*former, *(_marked(one, self.entry) for one in _canary(self.entry, beside))]
        return [_marked(one, self.entry) for one in manifests(wanted, former=beside.wanted)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A workload that stands, and what it was made of."""

    kind: Kind
    value: Json
    entry: Entry | None
    """None: it is ours, and what it was made of cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What stands under one name."""

    name: str
    stable: Item | None = None
    canary: Item | None = None
    others: tuple[Item, ...] = ()
    """Workloads of another mode, which a change of modes has not removed yet."""
    kept: tuple[Kept, ...] = ()

    @property
    def newest(self) -> Item | None:
        """What was applied last: a canary, unless what it stands beside has changed since."""
        kept, stable = self.settled, self.stable
        if self.canary is None or stable is None:
            return self.canary or stable
        former = None if kept is None else (kept.beside or kept.entry)
        is_same = (
            former is not None and stable.entry is not None and stable.entry.mark == former.mark
        )
        return self.canary if is_same else stable

    def item_of(self, stand: Stand) -> Item | None:
        """Return the workload that a revision stands as."""
        is_pair = stand.beside is not None and stand.entry.wanted.mode == "deployment"
        return self.canary if is_pair else self.stable

    @property
    def settled(self) -> Kept | None:
        """What was found healthy last."""
        return self.kept[-1] if self.kept else None

    @property
    def is_settled(self) -> bool:
        """Whether what was applied last is what was found healthy last."""
        item, kept = self.newest, self.settled
        if item is None or item.entry is None or kept is None or self.others:
            return False
        if item.kind is DEPLOYMENT and (self.canary is None) != (kept.beside is None):
            return False
        return item.entry.mark == kept.entry.mark

    def stand_of(self, entry: Entry) -> Stand:
        """Return how a revision shall stand: a canary beside what is settled, or alone."""
        kept = self.settled
        if kept is None or entry.spec.settings.canary_percent is None:
            return Stand(entry=entry)
        if kept.entry.mark == entry.mark:
            return Stand(entry=entry, beside=kept.beside)
        former = kept.beside or kept.entry
        if _pods(former) == _pods(entry) or former.wanted.mode != entry.wanted.mode:
            return Stand(entry=entry)
        return Stand(entry=entry, beside=former)

    def image_of(self, spec: DeploymentSpec, reference: str) -> str | None:
        """Return the pinned image that was pushed for the bundle before; None: not known."""
        entries = [one.entry for one in reversed(self.kept)]
        entries += [one.entry for one in (self.stable, self.canary) if one and one.entry]
        for entry in entries:
            known = entry.image
            if entry.spec.digest == spec.digest and known.startswith(f"{reference}@"):
                return known
        return None


def look(cluster: Cluster, name: str) -> Standing:
    """Return what stands under a name; raises TagError, ConflictError when somebody else made it."""
    name = check_name(name)
    plain = resource_name(name)
    items = []
    for kind in WORKLOADS.values():
        value = _workload(cluster, kind, plain)
        if value is not None:
            items.append(_item(kind, value, name))
    found = cluster.get(DEPLOYMENT, f"{plain}-{CANARY}")
    revisions, _ = cluster.find(CONTROLLER_REVISION, selector_of(plain))
    kept = history.read(revisions)
    stable, others = _chosen(items, kept)
    canary = None if found is None else _item(DEPLOYMENT, found, name)
    return Standing(name=name, stable=stable, canary=canary, others=others, kept=kept)


def every(cluster: Cluster) -> list[str]:
    """Return the names of all deployments in the namespace."""
    names = set()
    for kind in WORKLOADS.values():
        for one in _listed(cluster, kind, {MANAGED_BY_LABEL: MANAGER}):
            note = (one["metadata"].get("annotations") or {}).get(DEPLOYMENT_NOTE)
            if note and not is_owned(one):
                names.add(str(note))
    return sorted(names)


def objects_of(cluster: Cluster, name: str) -> list[tuple[Kind, Json]]:
    """Return every object of a deployment that nobody else owns, in the order of removal."""
    plain = resource_name(check_name(name))
    found = []
    for kind in MADE:
        objects = _listed(cluster, kind, selector_of(plain))
        found += [(kind, one) for one in objects if not is_owned(one)]
    return found


def _listed(cluster: Cluster, kind: Kind, selector: Mapping[str, str]) -> list[Json]:
    """Return the objects of a kind with these labels.

    A kind that is not installed, or that is not Kubernetes' own and may not be read, has none: it is
    not needed by who has no right to it, and who needs it is told when it is applied.
    """
    if kind.group in _OF_KUBERNETES:
        return cluster.find(kind, selector)[0]
    with suppress(RefusedError):
        if cluster.has(kind):
            return cluster.find(kind, selector)[0]
    return []


def _workload(cluster: Cluster, kind: Kind, name: str) -> Json | None:
    """Return a workload by its name; as for lists, one that may not be read is none."""
    if kind is DEPLOYMENT:
        return cluster.get(kind, name)
    with suppress(RefusedError):
        if cluster.has(kind):
            return cluster.get(kind, name)
    return None


def is_owned(value: Json) -> bool:
    """Return whether something in the cluster keeps the object, and takes it along."""
    return any(one.get("controller") for one in value["metadata"].get("ownerReferences") or ())


def require_ours(value: Json, kind: Kind, name: str) -> None:
    """Raise ConflictError for an object that another one than this deployment has made."""
    meta = value["metadata"]
    labels, notes = meta.get("labels") or {}, meta.get("annotations") or {}
    is_ours = labels.get(MANAGED_BY_LABEL) == MANAGER and INSTANCE_LABEL in labels
    if not is_ours or notes.get(DEPLOYMENT_NOTE, name) != name:
        raise ConflictError(
            f"{kind.title(meta['name'])} in the namespace '{meta.get('namespace')}' was not made "
            f"by modelpack for '{name}'",
            hint="remove it, give the deployment another '--name', or take another namespace",
        )


def _item(kind: Kind, value: Json, name: str) -> Item:
    require_ours(value, kind, name)
    notes = value["metadata"].get("annotations") or {}
    entry = None
    try:
        note = json.loads(notes[OPTIONS_NOTE])
        spec = DeploymentSpec.from_json(json.loads(notes[SPEC]))
        entry = Entry(
            spec=spec,
            image=str(note["image"]),
            options=dict(note["options"]),
            serial=int(note.get("serial", 1)),
        )
    except (KeyError, ValueError, TypeError, DeployError, UsageError):
        entry = None
    return Item(kind=kind, value=value, entry=entry)


def _chosen(items: list[Item], kept: tuple[Kept, ...]) -> tuple[Item | None, tuple[Item, ...]]:
    """Return the workload that was applied last, where a change of modes has left two."""
    if len(items) < 2:
        return (items[0] if items else None), ()
    former = kept[-1].entry.mark if kept else None
    fresh = [one for one in items if one.entry is None or one.entry.mark != former]
    chosen = fresh[-1] if fresh else items[-1]
    return chosen, tuple(one for one in items if one is not chosen)


def _marked(manifest: Json, entry: Entry) -> Json:
    """Return a manifest of a workload with the options and image that it was made with."""
    meta = manifest["metadata"]
    notes = meta.get("annotations") or {}
    if SPEC not in notes:
        return manifest
    told = {key: one for key, one in entry.to_json().items() if key != "spec"}
    note = json.dumps(told, sort_keys=True)
    return {**manifest, "metadata": {**meta, "annotations": {**notes, OPTIONS_NOTE: note}}}


def _canary(entry: Entry, beside: Entry) -> list[Json]:
    """Return the few pods of a canary, and a Service by which they alone are asked."""
    wanted, former = entry.wanted, beside.wanted
    count = canary_count(former, entry.spec.settings.canary_percent or 1)
    port = {"name": PORT_NAME, "port": SERVICE_PORT, "targetPort": PORT_NAME, "protocol": "TCP"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": wanted.metadata(wanted.canary_name),
        "spec": {"type": "ClusterIP", "selector": wanted.selector(CANARY), "ports": [port]},
    }
    return [service, deployment(wanted, track=CANARY, replicas=count)]


def canary_count(former: Wanted, percent: int) -> int:
    """Return how many canaries have about that share beside the replicas of the former."""
    stable = max(1, former.settings.min_replicas)
    return max(1, round(stable * percent / (100 - percent)))


def _pods(entry: Entry) -> Mapping[str, object]:
    wanted = replace(entry.wanted, canonical="")
    told = {"image": entry.image, "options": dict(entry.options), "serial": entry.serial}
    return {"pods": wanted.pods, **told}
