"""How a group of replicas is whose number awake the load decides, as the keeper of its port says.

    the keeper's ``status`` ──read_awake──► Awake ──state_in──► State, and why
                                               ├───url_of──► where it answers
                                               └───────────► Replicas, for who asks

A group of a fixed number has no such word of its keeper: its replicas are asked themselves.  A replica that sleeps is well: its container runs, process 1 in it waits for a word of the
keeper, and there is no server that could be asked anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from modelpack.deploy.fleet import Fleet, Group, state_of, worst_of
from modelpack.deploy.probe import is_ready
from modelpack.deploy.state import Replicas, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Awake:
    """What a keeper knows of a group."""

    has_port: bool
    """Whether who connects is given to this group."""
    places: int
    """Replicas that can be woken."""
    awake: int
    """Replicas that have a server, those that start and end included."""
    wanted: int
    ready: int
    """Replicas whose server was ready to take connections."""
    asleep_since: float | None
    """Unix time."""
    in_flight: float | None = None
    """Requests at once, at the last look."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What it has counted since it runs."""

    @property
    def replicas(self) -> Replicas:
        """Return the numbers for a status."""
        since = None
        if self.asleep_since is not None:
            since = datetime.fromtimestamp(self.asleep_since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Replicas(
            awake=self.awake,
            wanted=self.wanted,
            most=self.places,
            asleep_since=since,
            in_flight=self.in_flight,
            counts=self.counts,
        )


def read_awake(said: Mapping[str, Any], group: str) -> Awake:
    """Read what a keeper answers to ``status``; of a group that it does not know, nothing is there."""
    allowed = said.get("allowed")
    scaled = (said.get("scaling") or {}).get(group) or {}
    return Awake(
        has_port=allowed is None or group in allowed,
        places=int(scaled.get("places", 0)),
        awake=int(scaled.get("awake", 0)),
        wanted=int(scaled.get("wanted", 0)),
        ready=int(said["joined"].get(group, 0)),
        asleep_since=scaled.get("asleep_since"),
        in_flight=scaled.get("in_flight"),
        counts={str(key): int(one) for key, one in (scaled.get("counts") or {}).items()},
    )


def state_with(group: Group, awake: Awake, now: datetime) -> tuple[State, str | None]:
    """Return how the group is, and why.

    On trial all that are wanted have to be ready; of what serves, one, or none while it sleeps.
    """
    worst, detail = worst_of(group.replicas, now)
    if worst is not State.RUNNING:
        return worst, detail
    needed = max(awake.wanted, 1) if not awake.has_port else min(awake.wanted, 1)
    if awake.ready >= needed:
        return State.RUNNING, None
    detail = f"{awake.ready} of {max(awake.wanted, 1)} replicas are ready"
    if not awake.has_port and group.newest.is_late(now):
        return State.UNHEALTHY, detail
    return State.STARTING, detail


def state_in(fleet: Fleet, group: Group, awake: Awake | None) -> tuple[State, str | None]:
    """Return how a group of a fleet is, and why; ``awake``: what its keeper says, where it scales."""
    keeper = fleet.keeper_of(group)
    if keeper is None or keeper.phase != "running":
        return State.STOPPED, "nothing keeps its port"
    if awake is not None:
        return state_with(group, awake, datetime.now(UTC))
    return state_of(group.replicas)


def url_of(fleet: Fleet, group: Group, state: State, awake: Awake | None) -> str | None:
    """Return where the group answers: at the port that is kept, on trial at one of its own."""
    on_trial = [one for one in group.replicas if not one.is_kept]
    if not on_trial or (awake is not None and awake.has_port):
        keeper = fleet.keeper_of(group)
        return keeper.url if keeper is not None else None
    # Several are ready when all of them are, which one URL does not tell.
    if state is not State.RUNNING and len(group.replicas) > 1:
        return None
    if awake is None:
        return on_trial[0].url
    return next((one.url for one in on_trial if is_ready(one.url)), None)
