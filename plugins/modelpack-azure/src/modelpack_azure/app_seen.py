"""What Azure says of a container app, in our words; reads only.

name ──read_app──► app + its revisions ──► Standing: the newest active revision, how it is, which were
                                           healthy, and what somebody changed of it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modelpack.deploy import Entry, Fact, Sight, State, moment, one_line
from modelpack_azure.app_body import API, CONTAINER, KIND, speaks_grpc, variables
from modelpack_azure.arm import Json
from modelpack_azure.kept import VARIABLE, read
from modelpack_azure.modes import Place, Standing
from modelpack_azure.naming import app_name, settled_of
from modelpack_azure.sizes import size_of

WORD = "container-apps"
_RUNNING = {"Running", "RunningAtMaxScale", "ScaledToZero", "Unknown"}


def app_path(place: Place, name: str) -> str:
    """Return the path of the app of a deployment; raises TagError."""
    return place.account.path(KIND, app_name(name))


def properties_of(resource: Mapping[str, Any]) -> Json:
    """Return the properties of a resource, empty where it has none."""
    found = resource.get("properties")
    return found if isinstance(found, dict) else {}


def read_app(place: Place, name: str) -> Standing | None:
    """Return the app of a deployment, None for nothing; raises ConflictError for somebody else's."""
    path = app_path(place, name)
    app = place.calls.get(path, API)
    if app is None:
        return None
    place.require_ours(f"container app '{app_name(name)}'", name, app.get("tags") or {})
    revisions = sorted(
        place.calls.pages(f"{path}/revisions", API),
        key=lambda one: (str(properties_of(one).get("createdTime") or ""), str(one.get("name"))),
    )
    return _standing(place, name, app, revisions)


def _standing(place: Place, name: str, app: Json, revisions: list[Json]) -> Standing:
    """Return what an app with these revisions, oldest first, means to us."""
    newest = newest_active(revisions)
    settled = settled_of(app.get("tags") or {})
    known = {
        entry.mark: (entry, moment(properties_of(one).get("createdTime")))
        for one in revisions
        if (entry := _entry(one)) is not None
    }
    entry = None if newest is None else _entry(newest)
    if entry is None and settled[-1:] and settled[-1] in known:
        entry = known[settled[-1]][0]  # somebody has stopped it
    sight = _sight(
        place, name, app, newest, entry, is_settled=bool(entry and settled[-1:] == (entry.mark,))
    )
    since = None if newest is None else moment(properties_of(newest).get("createdTime"))
    if newest is not None and sight.state is State.RUNNING:
        sight = replace(sight, detail=_part(app, revisions, newest) or sight.detail)
    return Standing(
        name=name,
        word=WORD,
        entry=entry,
        sight=replace(sight, since=since),
        settled=settled,
        known=known,
        is_busy=str(properties_of(app).get("provisioningState")) in ("InProgress", "Deleting"),
        found=(app, revisions),
    )


def newest_active(revisions: list[Json]) -> Json | None:
    """Return the revision that is meant to run; None when none is."""
    return next((one for one in reversed(revisions) if properties_of(one).get("active")), None)


def revision_of(revisions: list[Json], marks: tuple[str, ...], *, but: str = "") -> Json | None:
    """Return the newest revision of a mark, one that is active before all others."""
    found = [
        one
        for one in revisions
        if (entry := _entry(one)) is not None and entry.mark in marks and one["name"] != but
    ]
    return (
        max(found, key=lambda one: bool(properties_of(one).get("active")), default=None)
        if found
        else None
    )


def _container(revision: Json) -> Json:
    containers = (properties_of(revision).get("template") or {}).get("containers") or []
    return next((one for one in containers if one.get("name") == CONTAINER), {})


def _entry(revision: Json) -> Entry | None:
    env = {one.get("name"): one.get("value") for one in _container(revision).get("env") or ()}
    return read(env.get(VARIABLE))


def shares_of(app: Json) -> list[Json]:
    """Return who gets calls, as the app has it."""
    ingress = (properties_of(app).get("configuration") or {}).get("ingress") or {}
    return [one for one in ingress.get("traffic") or () if one.get("weight")]


def share(revision: Json, weight: int, label: str) -> Json:
    """Return the entry that gives a revision a share of the calls, in percent."""
    return {"revisionName": str(revision["name"]), "weight": weight, "label": label}


def _sight(
    place: Place,
    name: str,
    app: Json,
    revision: Json | None,
    entry: Entry | None,
    *,
    is_settled: bool,
) -> Sight:
    fqdn = ((properties_of(app).get("configuration") or {}).get("ingress") or {}).get("fqdn")
    if revision is None:
        state = str(properties_of(app).get("provisioningState"))
        if state == "InProgress":
            return Sight(state=State.STARTING, detail="Azure makes the app")
        if state == "Failed":
            return Sight(state=State.FAILED, detail="Azure could not make the app")
        return Sight(state=State.STOPPED, detail="no revision is active")
    found = properties_of(revision)
    host = fqdn if is_settled else found.get("fqdn") or fqdn
    # Where gRPC is spoken, an address would be asked for what HTTP alone has.
    is_http = entry is None or not speaks_grpc(entry.options)
    url = f"https://{host}" if host and is_http else None
    state, detail = state_of(revision)
    restarts = 0
    if state is not State.RUNNING:
        restarts, why = replicas_of(place, name, str(revision["name"]))
        detail = why or detail
    facts = {} if entry is None else drift_of(entry, revision)
    return Sight(state=state, detail=detail, url=url, restarts=restarts, facts=facts)


def state_of(revision: Json) -> tuple[State, str | None]:
    """Return how a revision is, by its own words, and why."""
    found = properties_of(revision)
    made, runs = str(found.get("provisioningState")), str(found.get("runningState"))
    health, error = str(found.get("healthState")), found.get("provisioningError")
    why = one_line(str(error)) if error else None
    if "Failed" in (made, runs) or runs == "ActivationFailed":
        return State.FAILED, why or "the revision failed"
    if made == "Provisioning" or runs in ("Processing", "Activating"):
        return State.STARTING, why
    if health == "Unhealthy" or runs == "Degraded":
        return State.UNHEALTHY, why or "its replicas are not ready"
    if runs in _RUNNING:
        return State.RUNNING, "asleep" if runs == "ScaledToZero" else None
    return State.STOPPED, why or runs


def _part(app: Json, revisions: list[Json], newest: Json) -> str | None:
    """Return which part of the calls a canary has, and who has the rest; None for all of them."""
    shares = {str(one.get("revisionName")): int(one["weight"]) for one in shares_of(app)}
    own = shares.pop(str(newest["name"]), 0)
    beside = next((one for one in revisions if one["name"] in shares), None)
    if not own or beside is None:
        return None
    entry = _entry(beside)
    return f"has {own} % of the calls, '{beside['name'] if entry is None else entry.spec.bundle}' the rest"


def replicas_of(place: Place, name: str, revision: str) -> tuple[int, str | None]:
    """Return how often containers of a revision ended, and what they say of it."""
    path = f"{app_path(place, name)}/revisions/{revision}/replicas"
    restarts, why = 0, None
    for replica in place.calls.pages(path, API):
        for one in properties_of(replica).get("containers") or ():
            restarts = max(restarts, int(one.get("restartCount") or 0))
            if one.get("runningStateDetails"):
                why = one_line(str(one["runningStateDetails"]))
    return restarts, why


def drift_of(entry: Entry, revision: Json) -> dict[str, Fact]:
    """Return the facts of a revision that are not those that it was made of: somebody's changes."""
    found, container, settings = properties_of(revision), _container(revision), entry.spec.settings
    facts: dict[str, Fact] = {}
    scale = (found.get("template") or {}).get("scale") or {}
    if int(scale.get("minReplicas") or 0) != settings.min_replicas:
        facts["min_replicas"] = int(scale.get("minReplicas") or 0)
    if int(scale.get("maxReplicas") or 10) != settings.most_replicas:
        facts["max_replicas"] = int(scale.get("maxReplicas") or 10)
    if (cpu := (container.get("resources") or {}).get("cpu")) is not None and (
        float(cpu) != size_of(settings).cpu
    ):
        facts["cpu"] = float(cpu)
    if container.get("image") != entry.image:
        facts["image"] = str(container.get("image"))
    given = {one.get("name"): one.get("value") for one in container.get("env") or ()}
    wanted = variables(entry)
    for variable in {*wanted, *(key for key, one in given.items() if one is not None)} - {VARIABLE}:
        if given.get(variable) != wanted.get(variable):
            facts[f"env.{variable}"] = given.get(variable)
    return facts
