"""What an apply would change in each object, as the cluster itself says, and whose fields those are.

    own objects ──dry run──► object as it would be ──compare──► changes: path, before, after
                    └─ 409: others own these fields ──► owners, and the dry run again by force
    a path on which the manifests of then and now agree, and the cluster does not ──► drift

Values that the cluster fills in, writes shorter or keeps for itself are on both sides, so only what
really changes is told.  Variables are ``env.NAME``, so that values that look secret are hidden.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelpack.deploy import Change, Fact
from modelpack.errors import DeployError, UsageError
from modelpack_kubernetes.answers import ApiError, as_ours
from modelpack_kubernetes.cluster import Cluster
from modelpack_kubernetes.kinds import Kind, kind_of
from modelpack_kubernetes.standing import require_ours
from modelpack_kubernetes.words import DEPLOYMENT, VERSION_LABEL, Json

OWNER = "owner of "
"""Begins the key of a change by which a field is taken from somebody else."""

_DOMAIN = DEPLOYMENT.partition("/")[0] + "/"
_MOST_TEXT = 160
_EMPTY = frozenset({None, "{}", "[]"})
_NAMES = ("name", "containerPort", "port", "ip", "mountPath", "topologyKey", "type")


@dataclass(slots=True)
class Found:
    """What the dry runs have shown."""

    changes: list[Change] = field(default_factory=list)
    drift: list[Change] = field(default_factory=list)

    def to_json(self) -> str:
        """Return it as one text, for the surroundings of a live state."""
        value = {"changes": [one.to_json() for one in self.changes]}
        value["drift"] = [one.to_json() for one in self.drift]
        return json.dumps(value, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Found:
        """Read what ``to_json`` wrote."""
        value = json.loads(text)
        return cls(*([Change.from_json(one) for one in value[key]] for key in ("changes", "drift")))


def try_all(cluster: Cluster, wanted: Sequence[Json], standing: Iterable[Json], name: str) -> Found:
    """Ask the cluster what applying these would change; changes nothing.

    wanted    manifests, in their order
    standing  the manifests that what stands was made of
    name      of the deployment

    Raises DeployError for what the cluster does not take, ConflictError for objects of others.
    """
    found = Found()
    former = {(kind_of(one), one["metadata"]["name"]): flat(one) for one in standing}
    for manifest in wanted:
        kind, title = kind_of(manifest), manifest["metadata"]["name"]
        live = cluster.get(kind, title)
        if live is not None:
            require_ours(live, kind, name)
        would, owners = try_one(cluster, manifest)
        resource = kind.title(title)
        made_of = former.get((kind, title))
        if live is None:
            found.changes.append(Change(action="create", resource=resource))
            if made_of is not None:
                gone = Change(
                    action="update",
                    resource=resource,
                    before={"is there": "yes"},
                    after={"is there": "no"},
                )
                found.drift.append(gone)
            continue
        _compare(found, resource, (flat(live), flat(would)), (made_of, flat(manifest)), owners)
    return found


def try_one(cluster: Cluster, manifest: Json) -> tuple[Json, tuple[tuple[str, str], ...]]:
    """Return what would come out of applying a manifest, and who owns what it takes."""
    try:
        try:
            return cluster.apply(manifest, is_trial=True), ()
        except ApiError as error:
            if not error.owners:
                raise
            return cluster.apply(manifest, is_trial=True, force=True), error.owners
    except ApiError as error:
        raise refusal(error, kind_of(manifest), cluster.namespace) from error


def refusal(error: ApiError, kind: Kind, namespace: str) -> Exception:
    """Return why the cluster does not take a manifest, with what to do about it."""
    if error.status != 404:
        return as_ours(error)
    if "namespaces" in error.message:
        return DeployError(
            f"the cluster has no namespace '{namespace}'",
            hint=f"run 'kubectl create namespace {namespace}', or name another: "
            "--option namespace=NAME",
        )
    return UsageError(
        f"the cluster has no {kind.name} of {kind.api_version}",
        hint="install what brings it, or take the mode or option out that asks for it",
    )


def _compare(
    found: Found,
    resource: str,
    sides: tuple[Mapping[str, Fact], Mapping[str, Fact]],
    manifests: tuple[Mapping[str, Fact] | None, Mapping[str, Fact]],
    owners: Iterable[tuple[str, str]],
) -> None:
    """Sort what differs into what the revision changes and what somebody else has changed."""
    live, would = sides
    made_of, wanted = manifests
    before: dict[str, Fact] = {}
    after: dict[str, Fact] = {}
    by_others: list[str] = []
    for path in (*would, *(one for one in live if one not in would)):
        if live.get(path) == would.get(path) or {live.get(path), would.get(path)} <= _EMPTY:
            continue
        before[path], after[path] = live.get(path), would.get(path)
        if made_of is not None and made_of.get(path) == wanted.get(path):
            by_others.append(path)
    for manager, path in owners:
        before[f"{OWNER}{path}"], after[f"{OWNER}{path}"] = manager, "modelpack"
    if before:
        found.changes.append(Change(action="update", resource=resource, before=before, after=after))
    if by_others:
        was = {path: would.get(path) for path in by_others}
        now = {path: live.get(path) for path in by_others}
        found.drift.append(Change(action="update", resource=resource, before=was, after=now))


def owners_of(changes: Iterable[Change], resource: str) -> frozenset[tuple[str, str]]:
    """Return the fields of an object that a plan says are taken, as pairs of manager and path."""
    return frozenset(
        (str(manager), key.removeprefix(OWNER))
        for one in changes
        if one.resource == resource
        for key, manager in one.before.items()
        if key.startswith(OWNER)
    )


def flat(value: Json) -> dict[str, Fact]:
    """Return the fields of an object by their paths, without what is not for people to change."""
    return dict(_walk({key: one for key, one in value.items() if key in _told(value)}, ""))


def _told(value: Json) -> set[str]:
    return set(value) - {"status", "apiVersion", "kind"}


def _walk(value: Any, path: str) -> Iterator[tuple[str, Fact]]:
    if isinstance(value, dict) and value:
        for key, one in value.items():
            if not _is_kept_back(path, key):
                yield from _walk(one, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list) and (key := _name_of(value)):
        for one in value:
            name = one[key]
            inside = f"env.{name}" if path.endswith(".env") else f"{path}[{name}]"
            yield from _walk({k: v for k, v in one.items() if k != key} or True, inside)
    else:
        yield path.removesuffix(".value") if path.startswith("env.") else path, _fact(value)


def _is_kept_back(path: str, key: str) -> bool:
    """Return whether a field is the cluster's, or is told otherwise: revision and spec."""
    if path == "metadata":
        return key not in ("labels", "annotations")
    if path.endswith("annotations"):
        return key.startswith((_DOMAIN, "deployment.kubernetes.io/")) or (
            "knative.dev/" in key and (key.endswith(("creator", "lastModifier")))
        )
    return path.endswith("labels") and key == VERSION_LABEL


def _name_of(items: Sequence[Any]) -> str | None:
    """Return the key by which the items of a list are told apart."""
    for key in _NAMES:
        names = [one.get(key) for one in items if isinstance(one, dict)]
        if (
            len(names) == len(items)
            and None not in names
            and len(set(map(str, names))) == len(names)
        ):
            return key
    return None


def _fact(value: Any) -> Fact:
    if value is None or (isinstance(value, int | float | str) and not isinstance(value, bool)):
        return value if not isinstance(value, str) else value[:_MOST_TEXT]
    return json.dumps(value, sort_keys=True)[:_MOST_TEXT]
