"""Where an online endpoint stands, and what Azure says of it, in our words.

name + workspace ──site_of──► Site: the paths of endpoint, environment and rules
endpoint + deployments + environment versions ──standing_of──► Standing
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelpack.deploy import Entry, Fact, Sight, State, moment
from modelpack.errors import ModelpackError
from modelpack_azure.arm import Json
from modelpack_azure.kept import read
from modelpack_azure.ml_body import (
    API,
    API_MONITOR,
    KEY,
    MONITOR,
    WORKSPACE,
    autoscaling,
    deployment_name,
)
from modelpack_azure.modes import Place, Standing
from modelpack_azure.naming import NOW_TAG, endpoint_name, identity_name, settled_of
from modelpack_azure.sizes import machine_of

MAKE = "az ml workspace create -g GROUP -n NAME"
WORD = "ml"
_POLL_S = 5.0
_MOST_LINES = 1000
_ALIKE = 20
"""Lines by which the end of a text is known again in a later one."""

_STATES: Mapping[str, State] = {
    "Creating": State.STARTING,
    "Updating": State.STARTING,
    "Scaling": State.RUNNING,
    "Succeeded": State.RUNNING,
    "Deleting": State.STOPPED,
    "Failed": State.FAILED,
    "Canceled": State.FAILED,
}


_BUSY = ("Creating", "Updating", "Deleting")


@dataclass(frozen=True, slots=True)
class Site:
    """The paths of one deployment."""

    workspace: str
    name: str
    """Of the endpoint."""
    endpoint: str
    environment: str
    rules: str
    """Path of rules of scaling, up to the name of a deployment."""

    def drop_rules(self, place: Place, deployment: str) -> None:
        """Remove the rules of scaling of a deployment; none there is no mistake."""
        place.calls.delete(f"{self.rules}-{deployment}", API_MONITOR)

    def set_rules(self, place: Place, entry: Entry, location: str) -> None:
        """Make the rules of scaling of a revision, or remove them; safe to repeat."""
        settings, name = entry.spec.settings, deployment_name(entry)
        if settings.most_replicas <= settings.min_replicas:
            self.drop_rules(place, name)
            return
        body = autoscaling(
            entry,
            place.target,
            location=location,
            deployment_id=f"{self.endpoint}/deployments/{name}",
        )
        place.calls.put(f"{self.rules}-{name}", API_MONITOR, body)


def site_of(place: Place, name: str) -> Site:
    """Return the paths of a deployment; raises UsageError without a workspace, TagError."""
    workspace = place.account.given("workspace", WORKSPACE, MAKE)
    endpoint = endpoint_name(name, workspace)
    return Site(
        workspace=workspace,
        name=endpoint,
        endpoint=f"{workspace}/onlineEndpoints/{endpoint}",
        environment=f"{workspace}/environments/{identity_name(name)}",
        rules=place.account.path(MONITOR, endpoint),
    )


def properties_of(resource: Mapping[str, Any]) -> Json:
    """Return the properties of a resource, empty where it has none."""
    found = resource.get("properties")
    return found if isinstance(found, dict) else {}


def standing_of(
    name: str, endpoint: Json, deployments: list[Json], versions: list[Json]
) -> Standing:
    """Return what an endpoint means to us, with its deployments and environment versions."""
    tags = endpoint.get("tags") or {}
    known = {
        entry.mark: (entry, _since(one))
        for one in sorted(versions, key=lambda one: str(_since(one)))
        if (entry := _entry(one)) is not None
    }
    by_mark = {entry.mark: one for one in deployments if (entry := _entry(one)) is not None}
    settled = settled_of(tags)
    now = by_mark.get(str(tags.get(NOW_TAG)))
    if now is None and settled:
        now = by_mark.get(settled[-1])
    entry = None if now is None else _entry(now)
    sight = replace(_sight(endpoint, now, entry), since=None if now is None else _since(now))
    if now is not None and sight.state is State.RUNNING:
        part, uri = _part(endpoint, deployments, now), properties_of(endpoint).get("scoringUri")
        address = f"{uri} answers, with a key" if uri else None
        sight = replace(sight, detail="; ".join(one for one in (part, address) if one) or None)
    return Standing(
        name=name,
        word=WORD,
        entry=entry,
        sight=sight,
        settled=settled,
        known=known,
        is_busy=any(
            str(properties_of(one).get("provisioningState")) in _BUSY
            for one in (endpoint, *deployments)
        ),
        found=(endpoint, deployments, versions),
    )


def log_lines(place: Place, path: str, *, follow: bool, tail: int | None) -> Iterator[str]:
    """Yield the last lines that the containers of a deployment wrote.

    Azure gives the newest lines of all instances as one text; those that come later are found by where
    the text before ends.
    """
    seen = _read(place, path, _MOST_LINES if tail is None else tail)
    yield from seen
    while follow:
        place.clock.sleep(_POLL_S)
        try:
            found = _read(place, path, _MOST_LINES)
        except ModelpackError:
            return  # it has ended
        yield from found[_overlap(seen, found) :]
        seen = found or seen


def _overlap(seen: list[str], found: list[str]) -> int:
    """Return how many of the lines found are known: up to where they end as those seen before do."""
    for end in range(len(found), 0, -1):
        length = min(end, len(seen), _ALIKE)
        if length and found[end - length : end] == seen[-length:]:
            return end
    return 0


def _read(place: Place, path: str, tail: int) -> list[str]:
    asked = {"containerType": "InferenceServer", "tail": tail}
    content = place.calls.post(f"{path}/getLogs", API, asked).get("content")
    return str(content or "").splitlines()


def _entry(resource: Json) -> Entry | None:
    return read((properties_of(resource).get("properties") or {}).get(KEY))


def _since(resource: Json) -> str | None:
    return moment((resource.get("systemData") or {}).get("createdAt"))


def _part(endpoint: Json, deployments: list[Json], now: Json) -> str | None:
    """Return which part of the calls a canary has, and who has the rest; None for all of them."""
    shares = {
        key: one for key, one in (properties_of(endpoint).get("traffic") or {}).items() if one
    }
    own = shares.pop(str(now["name"]), 0)
    beside = next((one for one in deployments if one["name"] in shares), None)
    if not own or beside is None:
        return None
    entry = _entry(beside)
    return f"has {own} % of the calls, '{beside['name'] if entry is None else entry.spec.bundle}' the rest"


def _sight(endpoint: Json, deployment: Json | None, entry: Entry | None) -> Sight:
    state = str(properties_of(endpoint).get("provisioningState"))
    if deployment is None:
        if state == "Failed":
            return Sight(state=State.FAILED, detail="Azure could not make the endpoint")
        return Sight(state=State.STARTING, detail="no deployment stands yet")
    made = str(properties_of(deployment).get("provisioningState"))
    found = _STATES.get(made, State.STARTING)
    detail = None if found is State.RUNNING else f"Azure says: {made}"
    return Sight(
        state=found, detail=detail, facts={} if entry is None else _changed(entry, deployment)
    )


def _changed(entry: Entry, deployment: Json) -> dict[str, Fact]:
    """Return the facts of a deployment that are not those that it was made of: somebody's changes."""
    settings, found = entry.spec.settings, properties_of(deployment)
    facts: dict[str, Fact] = {}
    count = (deployment.get("sku") or {}).get("capacity")
    is_fixed = settings.most_replicas <= settings.min_replicas
    if is_fixed and count is not None and int(count) != settings.min_replicas:
        facts["min_replicas"] = int(count)
    machine = str(found.get("instanceType"))
    if machine != machine_of(settings)[0]:
        facts["instance"] = machine
    given = found.get("environmentVariables") or {}
    for variable, value in settings.env.items():
        if given.get(variable) != value:
            facts[f"env.{variable}"] = given.get(variable)
    return facts
