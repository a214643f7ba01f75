"""What a supervisor says about its processes, for the local target to read.

Supervisor ──write_report──► state.json ──read_report──► status, memory, tests
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from modelpack.deploy.records import write_private
from modelpack.manifest import canonical_json

_STATE_FILE = "state.json"

Phase = Literal["up", "waiting", "retiring", "ending"]

GOING: tuple[Phase, ...] = ("retiring", "ending")
"""Phases of processes that are not wanted any more."""


def now() -> str:
    """Return this moment in UTC, RFC 3339."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaReport:
    """One server process."""

    number: int
    phase: Phase
    """``up``: it runs; ``waiting``: it has ended and is started again; ``retiring``: it accepts nobody
    and answers what it has; ``ending``: it was told to end."""
    since: str
    """When this phase began, UTC, RFC 3339."""
    port: int
    """Its own port, at the address of the deployment."""
    child: int | None = None
    """Its process id while it has one."""
    restarts: int = 0
    """How often it was started again after it had ended by itself."""
    failures: int = 0
    """Ends in a row, none of them after a long life."""
    detail: str | None = None
    """How it ended the last time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupReport:
    """The processes of one group."""

    id: str
    wanted: int
    """How many replicas there should be at this moment."""
    joined: int = 0
    """How many have asked for the port that they share."""
    asleep_since: str | None = None
    """Since when none is wanted; None: some are."""
    replicas: tuple[ReplicaReport, ...] = ()

    @property
    def awake(self) -> tuple[ReplicaReport, ...]:
        """Those that run, or are started again, and are to stay."""
        return tuple(one for one in self.replicas if one.phase not in GOING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a supervisor last said."""

    supervisor: Mapping[str, Any] | None
    """Who says this, as ``ProcessId.to_json``."""
    is_over: bool = False
    """True: it was told to end, and has."""
    serving: str | None = None
    """The group that has the port."""
    groups: tuple[GroupReport, ...] = ()

    def group(self, group: str) -> GroupReport | None:
        """Return what is said about a group."""
        return next((one for one in self.groups if one.id == group), None)


def write_report(folder: Path, report: Report) -> None:
    """Keep what has become of it."""
    write_private(folder / _STATE_FILE, canonical_json(asdict(report)))


def read_report(folder: Path) -> Report | None:
    """Return what the supervisor last said, or None when it has said nothing yet."""
    try:
        value = json.loads((folder / _STATE_FILE).read_bytes())
        groups = tuple(
            GroupReport(**{**one, "replicas": tuple(ReplicaReport(**r) for r in one["replicas"])})
            for one in value["groups"]
        )
        return Report(**{**value, "groups": groups})
    except (OSError, KeyError, TypeError, ValueError):
        return None
