"""How a group of replicas is whose number awake the load decides, as the keeper of its port says.

    the keeper's ``status`` ──read_awake──► Awake ──state_with──► State, and why
                                               └──► Replicas, for who asks

Pure.  A replica that sleeps is well: its container runs, process 1 in it waits for a word of the
keeper, and there is no server that could be asked anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from modelpack.deploy.fleet import Group, worst_of
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

    @property
    def replicas(self) -> Replicas:
        """Return the numbers for a status."""
        since = None
        if self.asleep_since is not None:
            since = datetime.fromtimestamp(self.asleep_since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Replicas(awake=self.awake, wanted=self.wanted, most=self.places, asleep_since=since)


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
