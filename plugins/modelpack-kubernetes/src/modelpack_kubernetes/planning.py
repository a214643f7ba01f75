"""What a deploy would change, made of what the cluster said.

    look ─► dry runs ─► Live(facts, surroundings: what differs)          read, with the cluster
    Live ─► Plan: the deployment, its image, each object, what goes      plan, pure

The deployment's own change has the facts; the others say what becomes of each object, field by field.
Without a live state every object is to be created.
"""

from __future__ import annotations

from dataclasses import replace

from modelpack.deploy import (
    Capabilities,
    Change,
    Fact,
    Live,
    Plan,
    State,
    change_to,
)
from modelpack_kubernetes.bringing import surplus
from modelpack_kubernetes.cluster import Cluster
from modelpack_kubernetes.differing import OWNER, Found, try_all
from modelpack_kubernetes.kept import Entry
from modelpack_kubernetes.kinds import kind_of
from modelpack_kubernetes.manifests import checked, warnings
from modelpack_kubernetes.standing import Stand, Standing, canary_count, objects_of

_IMAGE = "image"
_OBJECTS = "objects"
_BESIDE = "beside"
SERIAL = "serial"


def read(cluster: Cluster, standing: Standing, entry: Entry, state: State) -> Live:
    """Return the live state, with what the cluster would change for a revision."""
    stand = standing.stand_of(entry)
    name = entry.spec.name
    newest = standing.newest
    former = newest.entry if newest is not None else None
    kept = standing.settled
    made_of: list[dict[str, object]] = []
    if former is not None:
        beside = kept.beside if kept is not None and kept.entry.mark == former.mark else None
        made_of = Stand(entry=former, beside=beside).objects()
    found = try_all(cluster, stand.objects(), made_of, name)
    for kind, one in surplus(objects_of(cluster, name), stand, standing.kept):
        if kind.name not in ("ControllerRevision", "Secret"):
            title = kind.title(one["metadata"]["name"])
            found.changes.append(Change(action="delete", resource=title))
    around: dict[str, Fact] = {_OBJECTS: found.to_json(), SERIAL: entry.serial}
    if "@" in entry.image:
        around[_IMAGE] = entry.image
    if stand.beside is not None and entry.wanted.mode != "deployment":
        around[_BESIDE] = f"{stand.beside.spec.bundle} {entry.spec.settings.canary_percent} 0"
    elif stand.beside is not None:
        count = canary_count(stand.beside.wanted, entry.spec.settings.canary_percent or 1)
        stable = max(1, stand.beside.spec.settings.min_replicas)
        around[_BESIDE] = f"{stand.beside.spec.bundle} {count} {stable}"
    if newest is None:
        return Live(name=name, surroundings=around)
    facts = {} if former is None else former.facts()
    return Live(
        name=name,
        state=state,
        facts=facts,
        applied=facts,
        surroundings=around,
        revision=None if former is None else former.spec.revision,
        is_settled=standing.is_settled,
    )


def plan(
    target: str, entry: Entry, live: Live, capabilities: Capabilities, is_pushed: bool
) -> Plan:
    """Return the plan; pure.  Raises UsageError for what no cluster could run."""
    spec, wanted = entry.spec, entry.wanted
    objects = checked(wanted)
    facts = capabilities.heeded(entry.facts())
    resource = f"deployment/{spec.name}"
    known = replace(live, facts=capabilities.heeded(live.facts))
    change = change_to(resource, known, facts)
    if change.action == "replace":  # pods are replaced one by one, and nothing goes before
        change = replace(change, action="update")
    text = live.surroundings.get(_OBJECTS)
    if text is None:
        titles = [kind_of(one).title(one["metadata"]["name"]) for one in objects]
        found = Found(changes=[Change(action="create", resource=one) for one in titles])
    else:
        found = Found.from_json(str(text))
    changes = [change, *found.changes]
    if is_pushed and "@" not in entry.image:
        pushed = Change(
            action="create", resource=f"pushed-image/{entry.image}", after={"bundle": spec.digest}
        )
        changes = [pushed, *changes] if change.action != "none" or found.changes else changes
    return Plan(
        target=target,
        spec=spec,
        changes=tuple(changes),
        warnings=(*warnings(wanted), *_warnings(found, entry, live, is_pushed)),
        notes=tuple(_notes(live)),
        drift=tuple(found.drift),
    )


def _warnings(found: Found, entry: Entry, live: Live, is_pushed: bool) -> list[str]:
    said = []
    for change in found.changes:
        taken: dict[str, list[str]] = {}
        for key, manager in change.before.items():
            if key.startswith(OWNER):
                taken.setdefault(str(manager), []).append(key.removeprefix(OWNER))
        said += [_taken(change.resource, manager, paths) for manager, paths in taken.items()]
    if not is_pushed:
        said.append(
            f"no '--option registry=HOST/PATH': every node must have the image '{entry.image}'"
        )
    former = live.facts.get("mode")
    if former not in (None, entry.wanted.mode):
        said.append(f"it moves from '{former}' to '{entry.wanted.mode}' and gets another address")
    return said


def _taken(resource: str, manager: str, paths: list[str]) -> str:
    if len(paths) > 1:
        return f"{resource}: {len(paths)} fields are taken from '{manager}', who owns them"
    return f"{resource}: '{paths[0]}' is taken from '{manager}', who owns it"


def _notes(live: Live) -> list[str]:
    beside = live.surroundings.get(_BESIDE)
    if beside is None:
        return []
    bundle, count, stable = str(beside).rsplit(" ", 2)
    if stable == "0":  # shares that the cluster itself keeps to
        return [f"a canary gets {count} % of the requests; '{bundle}' has the rest"]
    total = int(count) + int(stable)
    share = f"{count} of {total} replicas, about {round(100 * int(count) / total)} %"
    return [f"a canary gets {share} of the requests; '{bundle}' has the rest"]
