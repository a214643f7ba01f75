"""Who gets which share of an app's calls.

    move     one PATCH: the shares, and with them the mark of what is healthy
    canary   a share for the new revision, watched; or left so until the next deploy
    rest     whoever has no part in it is deactivated, and costs nothing

Labels are for people: ``live`` has the calls, ``canary`` a share of them, each with an address of its own
(Azure Container Apps, "Traffic splitting", "Labels").
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from modelpack.deploy import Entry, Progress, Sight, State
from modelpack.errors import DeployError
from modelpack_azure.app_body import API
from modelpack_azure.app_seen import app_path, properties_of, replicas_of, shares_of
from modelpack_azure.arm import Json
from modelpack_azure.modes import Place, Standing
from modelpack_azure.naming import tags_of

_BAKE_POLL_S = 15.0


def canary(
    place: Place,
    standing: Standing,
    entry: Entry,
    *,
    former: str,
    new: str,
    look: Callable[[], Sight],
    progress: Progress,
) -> None:
    """Give the new revision its share and watch it; raises DeployError when it does not hold."""
    settings = entry.spec.settings
    percent = int(settings.canary_percent or 0)
    shares = [
        {"revisionName": former, "weight": 100 - percent, "label": "live"},
        {"revisionName": new, "weight": percent, "label": "canary"},
    ]
    with progress.step(f"give {percent} % of the calls to '{new}'"):
        move(place, standing, entry, shares, settle=settings.bake_s is None)
    if settings.bake_s is None:
        return
    deadline = place.clock.now() + settings.bake_s
    restarts, _ = replicas_of(place, standing.name, new)
    with progress.step(f"watch '{new}' for {settings.bake_s:g} s"):
        while (left := deadline - place.clock.now()) > 0:
            place.clock.sleep(min(left, _BAKE_POLL_S))
            sight = look()
            ended, said = replicas_of(place, standing.name, new)
            if sight.state is not State.RUNNING or ended > restarts:
                why = sight.detail or said or "it ended by itself"
                raise DeployError(f"the canary '{new}' does not hold: {why}")


def move(
    place: Place, standing: Standing, entry: Entry, shares: list[Json], *, settle: bool
) -> None:
    """Set who gets which share of the calls, and with it which revision is healthy."""
    ingress = {"traffic": shares}
    body: Json = {"properties": {"configuration": {"ingress": ingress}}}
    marks = standing.settled
    if settle and marks[-1:] != (entry.mark,):
        marks = (*marks, entry.mark)
    labels = entry.spec.settings.labels
    body["tags"] = tags_of(standing.name, place.target, labels, marks)
    if shares != shares_of(standing.found[0]) or marks != standing.settled:
        place.calls.patch(app_path(place, standing.name), API, body)


def rest(place: Place, name: str, revisions: list[Json], *, but: Collection[str]) -> None:
    """Deactivate all revisions but some."""
    for one in revisions:
        if properties_of(one).get("active") and one["name"] not in but:
            place.calls.post(f"{app_path(place, name)}/revisions/{one['name']}/deactivate", API)
