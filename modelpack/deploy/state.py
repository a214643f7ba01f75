"""What stands at a target: words and values that every target answers with.

    Live       what a plan is compared with     (read before)
    Revision   what an apply has brought about  (given after)
    Status     how a deployment is right now    (for people and probes)

Facts come from the engine of the target, never from what we remember of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from modelpack.deploy.spec import DeploymentSpec, Fact


class State(StrEnum):
    """The words for how a deployment is."""

    RUNNING = "running"
    """It answers."""
    STARTING = "starting"
    """Its process is up and it is not ready yet."""
    UNHEALTHY = "unhealthy"
    """Its process is up, and it is not ready although it has had the time."""
    STOPPED = "stopped"
    """It was stopped on purpose, or its machine was."""
    FAILED = "failed"
    """It ended by itself, or keeps ending."""
    ABSENT = "absent"
    """There is no such deployment."""


NEEDS_START = (State.STOPPED, State.FAILED, State.UNHEALTHY)
"""States that a plan puts right, although nothing of the spec has changed."""

CRASHES_TO_FAIL = 3
"""A service that ended by itself this often without ever being ready counts as failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What a target holds under a name, as its engine says, not as we remember it."""

    name: str
    """Name of the deployment."""

    state: State = State.ABSENT
    """How it is."""

    facts: Mapping[str, Fact] = field(default_factory=dict)
    """What runs, under the keys of ``DeploymentSpec.facts`` and the target's own."""

    surroundings: Mapping[str, Fact] = field(default_factory=dict)
    """What else the plan depends on, such as whether the image is there."""

    revision: str | None = None
    """Revision that runs; None when unknown or absent."""

    is_settled: bool = True
    """False while nobody has found this revision healthy; a former one is kept, if there was one."""

    applied: Mapping[str, Fact] = field(default_factory=dict)
    """What was applied last, under the keys of ``facts``; empty: not known.  Where ``facts``
    differ from it, somebody else has changed them."""

    is_known: bool = True
    """False when nobody could be asked: a plan then says so, and is made anew to be applied."""

    @classmethod
    def unknown(cls, name: str) -> Self:
        """Return what is known when nobody was asked."""
        return cls(name=name, is_known=False)

    @property
    def is_absent(self) -> bool:
        """True when there is no such deployment."""
        return self.state is State.ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One unchanging state of a deployment: started by an apply, or kept in its history."""

    deployment: str
    id: str
    bundle: str
    target: str

    spec: DeploymentSpec | None = None
    """All that was asked for, where that is kept: what a rollback needs."""
    since: str | None = None
    """When it was found healthy, UTC, RFC 3339."""
    note: str | None = None
    """What else is worth knowing, such as that its image is gone."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, without the spec."""
        return {
            "deployment": self.deployment,
            "id": self.id,
            "bundle": self.bundle,
            "target": self.target,
            "since": self.since,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """How many replicas there are, where the load decides."""

    awake: int
    """Whose server runs, or is being started."""
    wanted: int
    """How many there should be at this moment."""
    most: int
    """How many there can be."""
    asleep_since: str | None = None
    """When the last one went to sleep, UTC, RFC 3339; None: it has not."""
    in_flight: float | None = None
    """Requests at once, at the last look; None: not known."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What was counted since the keeper of the port runs: ``decisions``, ``changes`` of the number
    that some were left at, ``wakes``, ``sleeps``, ``held``: who waited as it woke."""

    def __str__(self) -> str:
        said = f"{self.awake} of {self.most} awake"
        if self.awake != self.wanted:
            said += f", {self.wanted} wanted"
        return said if self.asleep_since is None else f"{said} since {self.asleep_since}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a deployment is at this moment."""

    name: str
    target: str
    state: State
    bundle: str | None = None
    """Tag of what runs."""
    revision: str | None = None
    url: str | None = None
    """Where it answers, such as ``http://127.0.0.1:3000``; None: not to be reached from here."""
    since: str | None = None
    """When what runs was started, UTC, RFC 3339."""
    restarts: int = 0
    """How often it was started again after it had ended by itself."""
    detail: str | None = None
    """Why it is not running, in a few words."""
    meanwhile: str | None = None
    """What stands beside it, when nobody has found it healthy yet and the former one serves on."""
    replicas: Replicas | None = None
    """How many there are, where the load decides; None: their number is fixed."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)
