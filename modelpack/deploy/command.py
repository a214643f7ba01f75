"""The files through which the local target and its supervisor talk, and where they lie.

    run/deployments/NAME/          0700
        command.json               what to run            (target ──► supervisor)
        state.json                 what has become of it  (supervisor ──► target)
        service.log, service.log.1 what the running revision wrote
        former.log                 what the one before it wrote last
        supervisor.lock            held while a supervisor lives
        SHA256/bundle/…            the unpacked bundle

Every file is 0600 and written by rename, so that a reader never sees half of one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from modelpack import paths
from modelpack.deploy.logfile import older
from modelpack.deploy.records import write_private
from modelpack.manifest import canonical_json
from modelpack.tag import check_name

LOG_FILE = "service.log"
FORMER_LOG_FILE = "former.log"
LOCK_FILE = "supervisor.lock"
_COMMAND_FILE = "command.json"
_STATE_FILE = "state.json"

Phase = Literal["up", "waiting", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run, where, in which environment, and how long it may take to end."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    grace_s: float = 35.0
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Variables by reference; their values are read at every start and never written down."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "argv": list(self.argv),
            "env": dict(self.env),
            "cwd": self.cwd,
            "grace_s": self.grace_s,
            "secrets": dict(self.secrets),
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
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildState:
    """What the supervisor last said about its child."""

    phase: Phase
    """``up``: it runs; ``waiting``: it has ended and is started again; ``stopped``: told to."""
    since: str
    """When this phase began, UTC, RFC 3339."""
    child: int | None = None
    """Its process id while it is up."""
    restarts: int = 0
    """How often it was started again."""
    failures: int = 0
    """Ends in a row, none of them after a long life."""
    detail: str | None = None
    """How it ended the last time."""
    supervisor: Mapping[str, Any] | None = None
    """Who says this, as ``ProcessId.to_json``."""


def folder_of(name: str) -> Path:
    """Return the folder of a local deployment; raises TagError."""
    return paths.run_dir() / "deployments" / check_name(name)


def write_command(folder: Path, command: Command) -> None:
    """Keep what to run."""
    write_private(folder / _COMMAND_FILE, canonical_json(command.to_json()))


def read_command(folder: Path) -> Command:
    """Return what to run; raises OSError, KeyError, TypeError or ValueError."""
    return Command.from_json(json.loads((folder / _COMMAND_FILE).read_bytes()))


def write_state(folder: Path, state: ChildState) -> None:
    """Keep what has become of it."""
    write_private(folder / _STATE_FILE, canonical_json(asdict(state)))


def read_state(folder: Path) -> ChildState | None:
    """Return what the supervisor last said, or None when it has said nothing yet."""
    try:
        return ChildState(**json.loads((folder / _STATE_FILE).read_bytes()))
    except (OSError, TypeError, ValueError):
        return None


def set_aside(folder: Path) -> None:
    """Make room for a new revision: the log becomes the former one, the state goes."""
    (folder / _STATE_FILE).unlink(missing_ok=True)
    older(folder / LOG_FILE).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        (folder / LOG_FILE).replace(folder / FORMER_LOG_FILE)
