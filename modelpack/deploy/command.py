"""What the local target tells its supervisor to run, and where the files of a deployment lie.

    run/deployments/NAME/          0700
        wanted.json                what to run            (target ──► supervisor)
        state.json                 what has become of it  (supervisor ──► target, ``report``)
        orders                     socket: orders         (target ──► supervisor, ``orders``)
        port-PORT                  socket: replicas ask for the port there
        service.log, service.log.1 what the revision wrote that serves
        trial.log, former.log      what the one on trial writes; what the one before wrote last
        supervisor.lock            held while a supervisor lives
        SHA256/bundle/…            the unpacked bundles

Every file is 0600 and written by rename, so that a reader never sees half of one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from modelpack import paths
from modelpack.deploy.records import write_private
from modelpack.manifest import canonical_json
from modelpack.tag import check_name

LOG_FILE = "service.log"
TRIAL_LOG_FILE = "trial.log"
FORMER_LOG_FILE = "former.log"
LOCK_FILE = "supervisor.lock"
ORDERS_FILE = "orders"
_WANTED_FILE = "wanted.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run, where, in which environment, and how long it may take to end."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    grace_s: float = 35.0
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Variables by reference; their values are read at every start and never written down."""
    grpc_port: int | None = None
    """Port for gRPC that all replicas have together; None: there is none but the first."""
    alone: str = ""
    """What it has that two processes cannot have at once, such as a port; empty: nothing."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "argv": list(self.argv),
            "env": dict(self.env),
            "cwd": self.cwd,
            "grace_s": self.grace_s,
            "secrets": dict(self.secrets),
            "grpc_port": self.grpc_port,
            "alone": self.alone,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Command:
        """Read what ``to_json`` wrote; raises KeyError, TypeError or ValueError."""
        return cls(
            argv=tuple(value["argv"]),
            env=dict(value["env"]),
            cwd=str(value["cwd"]),
            grace_s=float(value["grace_s"]),
            secrets=dict(value.get("secrets") or {}),
            grpc_port=value.get("grpc_port"),
            alone=str(value.get("alone") or ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Equal replicas of one revision, and at which address they answer together."""

    id: str
    command: Command
    host: str
    port: int
    fewest: int = 1
    """Replicas that run whatever the load is; 0: none while nobody asks."""
    most: int = 1
    """Most replicas."""
    policy: Mapping[str, Any] | None = None
    """How their number follows the load, by the fields of ``Policy``; None: it is fixed."""
    rests: bool = False
    """True: it gives way for now, and has no process."""

    @property
    def at_least(self) -> int:
        """Replicas that are tried before the group serves."""
        return max(self.fewest, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """All that a supervisor shall run."""

    groups: tuple[Group, ...] = ()
    serving: str | None = None
    """The group that has the port; the others are on trial.  None: there is only one on trial."""
    is_in_turns: bool = False
    """True: two groups never have processes at the same time."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        groups = [{**asdict(one), "command": one.command.to_json()} for one in self.groups]
        return {"groups": groups, "serving": self.serving, "is_in_turns": self.is_in_turns}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Wanted:
        """Read what ``to_json`` wrote; raises KeyError, TypeError or ValueError."""
        groups = (
            Group(**{**one, "command": Command.from_json(one["command"])})
            for one in value["groups"]
        )
        return cls(
            groups=tuple(groups), serving=value["serving"], is_in_turns=value["is_in_turns"] is True
        )


def folder_of(name: str) -> Path:
    """Return the folder of a local deployment; raises TagError."""
    return paths.run_dir() / "deployments" / check_name(name)


def write_wanted(folder: Path, wanted: Wanted) -> None:
    """Keep what to run."""
    write_private(folder / _WANTED_FILE, canonical_json(wanted.to_json()))


def read_wanted(folder: Path) -> Wanted:
    """Return what to run; raises OSError, KeyError, TypeError or ValueError."""
    return Wanted.from_json(json.loads((folder / _WANTED_FILE).read_bytes()))
