"""Brings the objects of a revision into the cluster, waits until it runs, and tidies up.

    bring     secret ─► every object, server-side applied, one step each ─► rolled out, or why not
    keep      the revision is noted as healthy ─► what does not belong to it is removed
    go_back   the objects of what was healthy last again ─► what does not belong to it is removed

Applying is safe to repeat.  A field that somebody else owns is taken only where the plan has said so,
or after consent; going back takes what is needed, since it undoes our own doing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial

from modelpack.deploy import Change, Clock, Journal, Progress, State
from modelpack.deploy.references import resolve
from modelpack.errors import ConflictError, DeployError
from modelpack_kubernetes import kept as history
from modelpack_kubernetes.answers import ApiError, as_ours
from modelpack_kubernetes.cluster import Cluster
from modelpack_kubernetes.differing import owners_of, refusal
from modelpack_kubernetes.kept import Entry, Kept
from modelpack_kubernetes.kinds import (
    CONTROLLER_REVISION,
    DEPLOYMENT,
    POD,
    SECRET,
    SERVICE,
    Kind,
    kind_of,
)
from modelpack_kubernetes.loglines import last_words
from modelpack_kubernetes.looking import Sight, pods_of, sight_of
from modelpack_kubernetes.manifests import secret
from modelpack_kubernetes.standing import Item, Stand, Standing, is_owned, look, objects_of
from modelpack_kubernetes.values import own_references
from modelpack_kubernetes.wanted import own_secret, selector_of
from modelpack_kubernetes.words import Json, resource_name

_LOOK_S = 1
_GONE_S = 60.0
_MOST_SAID = 200


def bring(
    cluster: Cluster,
    stand: Stand,
    *,
    planned: Iterable[Change],
    journal: Journal,
    progress: Progress,
    clock: Clock,
) -> None:
    """Apply every object of a revision and wait until it runs.

    Raises ConflictError for fields of others that nobody gave consent to, DeployError when it does
    not come to run.
    """
    ensure_secret(cluster, stand.entry, journal)
    changes = list(planned)
    for manifest in stand.objects():
        title = kind_of(manifest).title(manifest["metadata"]["name"])
        owners = owners_of(changes, title)
        do = partial(_apply_one, cluster, manifest, owners, journal, progress)
        journal.step(f"apply/{title}", do)
    wait(cluster, stand, progress, clock)
    if stand.beside is None:
        _end_canary(cluster, stand.entry, journal)


def ensure_secret(cluster: Cluster, entry: Entry, journal: Journal) -> None:
    """Have the Secret of a revision, with the values as they are now; nothing where it has none.

    It never changes, so one with other values is made anew.  Raises UsageError for a value that is
    not there.
    """
    own = own_references(entry.spec)
    if not own:
        return
    manifest = secret(entry.wanted, resolve(own))
    name = own_secret(entry.wanted)

    def do() -> None:
        there = cluster.get(SECRET, name)
        if there is not None and there.get("data") == manifest["data"]:
            return
        if there is not None:
            cluster.delete(SECRET, name)
        try:
            cluster.create(manifest)
        except ApiError as error:
            raise as_ours(error) from error

    journal.step(f"create/Secret/{name}", do)


def _end_canary(cluster: Cluster, entry: Entry, journal: Journal) -> None:
    """Remove a canary of before, now that what takes its place runs."""
    name = entry.wanted.canary_name
    for kind in (SERVICE, DEPLOYMENT):
        there = cluster.get(kind, name)
        if there is not None and not is_owned(there):
            do = partial(_delete, cluster, kind, name)
            journal.step(f"delete/{kind.title(name)}", do)


def _delete(cluster: Cluster, kind: Kind, name: str) -> None:
    cluster.delete(kind, name, foreground=kind is DEPLOYMENT)


def wait(cluster: Cluster, stand: Stand, progress: Progress, clock: Clock) -> None:
    """Wait until a revision runs; raises DeployError with the reason when it does not."""
    name, timeout_s = stand.entry.spec.name, stand.entry.spec.settings.ready_timeout_s
    until, told = clock.now() + timeout_s, ""
    while True:
        item = look(cluster, name).item_of(stand)
        if item is None:
            raise DeployError(f"the workload of '{name}' is gone", hint="deploy it again")
        sight = sight_of(cluster, item)
        if sight.state is State.RUNNING:
            return
        if sight.state is State.FAILED:
            said = last_words(cluster, pods_of(cluster, item))
            why = f"{sight.detail}: {_telling(said)}" if _telling(said) else sight.detail
            raise DeployError(f"'{name}' does not come up: {why}", log_lines=said)
        if clock.now() >= until:
            raise DeployError(
                f"'{name}' was not ready within {timeout_s:g} s: {sight.detail}",
                hint="a slow model wants more 'deploy.ready_timeout_s'",
            )
        if sight.detail and sight.detail != told:
            told = sight.detail
            progress.note(told)
        _await_change(cluster, item)


def _telling(lines: Iterable[str]) -> str:
    """Return what the last line says that speaks of an error."""
    errors = [line for line in lines if "error" in line.lower()]
    if not errors:
        return ""
    try:
        said = str(json.loads(errors[-1])["error"])
    except (ValueError, KeyError, TypeError):
        said = errors[-1]
    return "".join(c if c.isprintable() else " " for c in said).strip()[:_MOST_SAID]


def _await_change(cluster: Cluster, item: Item) -> None:
    """Return when the workload has changed, or after a second: pods change without it too."""
    meta = item.value["metadata"]
    labels = meta.get("labels") or {}
    selector = {key: labels[key] for key in selector_of(meta["name"]) if key in labels}
    try:
        for event in cluster.watch(
            item.kind, selector, str(meta["resourceVersion"]), for_s=_LOOK_S
        ):
            if event.get("type") != "BOOKMARK":
                return
    except ApiError as error:
        if error.status != 410:  # too long ago: who waits looks again anyway
            raise as_ours(error) from error


def keep(cluster: Cluster, standing: Standing, stand: Stand) -> None:
    """Note that a revision is healthy, and remove what does not belong to it; safe to repeat."""
    entry, last = stand.entry, standing.settled
    is_last = last is not None and last.entry.mark == entry.mark
    if not (is_last and last is not None and _mark(last.beside) == _mark(stand.beside)):
        number = 1 + (0 if last is None else last.number)
        _write(cluster, history.object_of(entry, stand.beside, number))
    tidy(cluster, stand)


def _write(cluster: Cluster, manifest: Json) -> None:
    """Make the object that keeps a revision, or give it a new number where it is there."""
    there = cluster.get(CONTROLLER_REVISION, manifest["metadata"]["name"])
    try:
        if there is None:
            cluster.create(manifest)
            return
        notes = {**(there["metadata"].get("annotations") or {})}
        notes |= manifest["metadata"]["annotations"]
        meta = {**there["metadata"], "annotations": notes}
        cluster.replace({**there, "metadata": meta, "revision": manifest["revision"]})
    except ApiError as error:
        raise as_ours(error) from error


def tidy(cluster: Cluster, stand: Stand) -> None:
    """Remove what is of the deployment and not of the revision: older history, other secrets."""
    name = stand.entry.spec.name
    found = objects_of(cluster, name)
    revisions = [one for kind, one in found if kind is CONTROLLER_REVISION]
    kept = history.read(revisions)
    newest = {history.object_name(one.entry, one.beside) for one in kept[-history.MOST :]}
    for kind, one in surplus(found, stand, kept):
        if kind is not CONTROLLER_REVISION or one["metadata"]["name"] not in newest:
            cluster.delete(kind, one["metadata"]["name"], foreground=kind is DEPLOYMENT)


def surplus(
    found: Iterable[tuple[Kind, Json]], stand: Stand, kept: tuple[Kept, ...]
) -> list[tuple[Kind, Json]]:
    """Return the objects that do not belong to a revision, nor to the history."""
    wanted = {(kind_of(one), one["metadata"]["name"]) for one in stand.objects()}
    entries = [stand.entry, *([stand.beside] if stand.beside else [])]
    for one in kept[-history.MOST :]:
        entries += [one.entry, *([one.beside] if one.beside else [])]
    wanted |= {(SECRET, own_secret(entry.wanted)) for entry in entries}
    return [(kind, one) for kind, one in found if (kind, one["metadata"]["name"]) not in wanted]


def go_back(cluster: Cluster, name: str, clock: Clock) -> None:
    """Put back what was found healthy last, or leave nothing; safe to repeat."""
    standing = look(cluster, name)
    kept = standing.settled
    if kept is None:
        remove(cluster, name, clock)
        return
    stand = Stand(entry=kept.entry, beside=kept.beside)
    for manifest in stand.objects():
        try:
            cluster.apply(manifest, force=True)
        except ApiError as error:
            raise refusal(error, kind_of(manifest), cluster.namespace) from error
    tidy(cluster, stand)
    until = clock.now() + kept.entry.spec.settings.ready_timeout_s
    while clock.now() < until:
        item = look(cluster, name).item_of(stand)
        if item is None or sight_of(cluster, item).state is not State.STARTING:
            return
        _await_change(cluster, item)


def remove(cluster: Cluster, name: str, clock: Clock) -> bool:
    """Remove everything of a deployment, its pods too; return whether there was anything."""
    found = objects_of(cluster, name)
    for kind, one in found:
        cluster.delete(kind, one["metadata"]["name"], foreground=kind is DEPLOYMENT)
    until = clock.now() + _GONE_S
    while left := _left(cluster, name):
        if clock.now() >= until:
            raise DeployError(
                f"{left} of '{name}' is still ending",
                hint="it goes by itself; see 'kubectl get pods' if it does not",
            )
        clock.sleep(0.1)
    return bool(found)


def _left(cluster: Cluster, name: str) -> str:
    """Return something of a deployment that is still there; empty: nothing is."""
    found = objects_of(cluster, name)
    if found:
        kind, one = found[0]
        return kind.title(one["metadata"]["name"])
    pods, _ = cluster.find(POD, selector_of(resource_name(name)))
    return POD.title(pods[0]["metadata"]["name"]) if pods else ""


def _apply_one(
    cluster: Cluster,
    manifest: Json,
    planned: frozenset[tuple[str, str]],
    journal: Journal,
    progress: Progress,
) -> None:
    """Apply one object; take fields of others only where that was planned, or is consented to."""
    kind = kind_of(manifest)
    try:
        try:
            cluster.apply(manifest)
        except ApiError as error:
            if not error.owners:
                raise
            _require_consent(
                kind.title(manifest["metadata"]["name"]), error, planned, journal, progress
            )
            cluster.apply(manifest, force=True)
    except ApiError as error:
        raise refusal(error, kind, cluster.namespace) from error


def _require_consent(
    title: str,
    error: ApiError,
    planned: frozenset[tuple[str, str]],
    journal: Journal,
    progress: Progress,
) -> None:
    fresh = [one for one in error.owners if one not in planned]
    if not fresh:
        return
    for manager, path in fresh:
        progress.note(f"{title}: '{path}' is owned by '{manager}'")
    if not journal.confirm(f"take {len(fresh)} fields of {title} from '{fresh[0][0]}'?"):
        manager, path = fresh[0]
        raise ConflictError(
            f"{title}: '{path}' is owned by '{manager}', who set another value",
            hint="plan it again to see it, and consent with '--yes', or have it given up there",
        )


def _mark(entry: Entry | None) -> str | None:
    return None if entry is None else entry.mark


def bake(cluster: Cluster, stand: Stand, bake_s: float, clock: Clock) -> None:
    """Watch a canary for so long; raises DeployError when it does not do well."""
    until, name = clock.now() + bake_s, stand.entry.spec.name
    while True:
        item = look(cluster, name).item_of(stand)
        gone = Sight(state=State.FAILED, detail="it is gone")
        sight = gone if item is None else sight_of(cluster, item)
        if sight.state is not State.RUNNING or sight.restarts:
            why = sight.detail or "it was started again"
            raise DeployError(f"the canary of '{name}' did not do well: {why}")
        left = until - clock.now()
        if left <= 0:
            return
        clock.sleep(min(left, 1.0))
