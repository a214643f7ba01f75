"""How an app comes to a revision, which gets no call yet where others have them.

nothing stands                  PUT: a first revision, as the latest one
a former revision answers       PUT: a revision beside it; who has the calls keeps them
the wanted one stands           nothing: it runs, or comes up
it stands beside its canary     PATCH: all calls to it; the canary is deactivated
"""

from __future__ import annotations

import re

from modelpack.deploy import Entry, State
from modelpack_azure import app_body
from modelpack_azure.app_body import API, Where
from modelpack_azure.app_seen import (
    app_path,
    drift_of,
    newest_active,
    properties_of,
    read_app,
    revision_of,
    share,
    shares_of,
    state_of,
)
from modelpack_azure.app_shares import move, rest
from modelpack_azure.arm import Json
from modelpack_azure.modes import Place, Standing, patiently
from modelpack_azure.naming import app_name
from modelpack_azure.strict import require


def make(place: Place, entry: Entry, where: Where) -> Json:
    """Bring the app to a revision; one of the same mark that comes up is taken as it is."""
    name = entry.spec.name

    def do() -> None:
        standing = read_app(place, name)
        if standing is not None:
            if _is_newest(standing, entry):
                return
            if (former := _beside(standing, entry)) is not None:
                move(place, standing, entry, [share(former, 100, "live")], settle=False)
                rest(place, name, standing.found[1], but={str(former["name"])})
                return
        body = require("ContainerApp", _body(place, entry, where, standing))
        place.calls.put(app_path(place, name), API, body)

    patiently(place, do)
    return {"app": app_name(name)}


def _is_newest(standing: Standing, entry: Entry) -> bool:
    """Return whether the newest revision is the wanted one, unchanged, and comes up or runs."""
    now = standing.entry
    if now is None or now.mark != entry.mark or standing.sight.facts:
        return False
    return standing.sight.state in (State.RUNNING, State.STARTING) and now.image == entry.image


def _beside(standing: Standing, entry: Entry) -> Json | None:
    """Return the wanted revision where it runs, unchanged, and shares the calls with the newest one."""
    app, revisions = standing.found
    newest, found = newest_active(revisions), revision_of(revisions, (entry.mark,))
    if found is None or newest is None or found["name"] == newest["name"]:
        return None
    has_calls = found["name"] in [one.get("revisionName") for one in shares_of(app)]
    runs = state_of(found)[0] is State.RUNNING and bool(properties_of(found).get("active"))
    return found if has_calls and runs and not drift_of(entry, found) else None


def _body(place: Place, entry: Entry, where: Where, standing: Standing | None) -> Json:
    revisions = standing.found[1] if standing else []
    numbers = [
        int(match[1])
        for one in revisions
        if (match := re.search(rf"--r{entry.mark}-(\d+)$", str(one.get("name"))))
    ]
    return app_body.container_app(
        entry,
        where,
        target=place.target,
        suffix=f"r{entry.mark}-{max(numbers, default=0) + 1}",
        traffic=_kept_traffic(standing),
        settled=standing.settled if standing else (),
    )


def _kept_traffic(standing: Standing | None) -> list[Json]:
    """Return who gets the calls while a new revision comes up: whoever has them."""
    latest = [{"latestRevision": True, "weight": 100}]
    if standing is None or not standing.settled:
        return latest
    app, revisions = standing.found
    active = {str(one["name"]) for one in revisions if properties_of(one).get("active")}
    shares = [one for one in shares_of(app) if one.get("revisionName") in active]
    if sum(int(one["weight"]) for one in shares) == 100:
        return shares
    good = revision_of(revisions, standing.settled[-1:])
    return latest if good is None else [share(good, 100, "live")]
