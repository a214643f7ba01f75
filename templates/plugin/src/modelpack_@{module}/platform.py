"""The few calls of the platform that the target makes, and a stand-in for them.

    @{class}Target ──Platform──► your platform's SDK, or FolderPlatform: one file for each app

Each call is safe to repeat, because an apply that was killed is made again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class App:
    """What the platform says of one app."""

    notes: Mapping[str, str]
    """Labels, tags or annotations: the state of the deployment is kept there."""

    state: str
    """The platform's own word: up, booting, crashed."""

    started: str
    """When, UTC, RFC 3339."""

    log: tuple[str, ...] = ()


class Platform(Protocol):
    """The calls: a thin cover over an SDK, or a stand-in."""

    def app(self, name: str) -> App | None:
        """Return the app of that name, or None."""

    def names(self) -> list[str]:
        """Return the names of all apps, sorted."""

    def run(self, name: str, notes: Mapping[str, str]) -> None:
        """Run what the notes say, in place of what runs under that name."""

    def write_notes(self, name: str, notes: Mapping[str, str]) -> None:
        """Replace the notes of an app that goes on running."""

    def remove(self, name: str) -> None:
        """Stop the app and leave nothing of it."""


@dataclass(frozen=True, slots=True)
class FolderPlatform:
    """A stand-in: every app is a file, and is up as soon as it is there."""

    folder: Path

    def app(self, name: str) -> App | None:
        """Return what the file says."""
        try:
            value = json.loads(self._file(name).read_text())
        except FileNotFoundError:
            return None
        return App(**{**value, "log": tuple(value["log"])})

    def names(self) -> list[str]:
        """Return the names of the files."""
        return sorted(file.stem for file in self.folder.glob("*.app"))

    def run(self, name: str, notes: Mapping[str, str]) -> None:
        """Write the file."""
        started = datetime.now(UTC).isoformat()
        log = (f"{started} pulled", f"{started} up")
        self._write(name, App(dict(notes), self.state_of(notes), started, log))

    def write_notes(self, name: str, notes: Mapping[str, str]) -> None:
        """Write the file with other notes."""
        app = self.app(name)
        if app is not None:
            self._write(name, App(dict(notes), app.state, app.started, app.log))

    def remove(self, name: str) -> None:
        """Remove the file."""
        self._file(name).unlink(missing_ok=True)

    def state_of(self, notes: Mapping[str, str]) -> str:
        """Return what becomes of an app with these notes."""
        return "up"

    def _write(self, name: str, app: App) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        staged = self.folder / f".{name}.next"
        staged.write_text(json.dumps(asdict(app)))
        staged.replace(self._file(name))

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.app"
