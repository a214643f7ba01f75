"""Loads the code of a served project anew whenever it changes: ``modelpack serve --reload``.

    file changes ──watchfiles──► the ones that matter ──► the server's own swap ──► the new code answers
                                                              └─ it does not load: why, in a few
                                                                 lines, and the old code goes on

It is the same swap as for a new version of a bundle, so requests are answered all the while, and
models whose files have not changed stay loaded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from modelpack.cli import console, failures
from modelpack.errors import UsageError

if TYPE_CHECKING:
    from watchfiles.main import FileChange

    from modelpack.config.settings import ServerSettings
    from modelpack.frameworks.source import Source
    from modelpack.server.life.admin import Managed

CODE = (".py",)
"""Endings of the files whose change means new code."""


class Reloader:
    """Watches the files of a source."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._folder = Path(source.folder)

    async def run(self, managed: Managed) -> None:
        """Reload at every change, until cancelled."""
        async for names in self._changes():
            await self._reload(managed, names)

    async def _changes(self) -> AsyncIterator[list[str]]:
        """Yield the names of what has changed, whenever something has."""
        from watchfiles import awatch

        async for changes in awatch(self._folder, watch_filter=None, recursive=True):
            if names := self.matter(changes):
                yield names

    def matter(self, changes: Iterable[FileChange]) -> list[str]:
        """Return those that mean new code, by their names in the folder."""
        names = set()
        for _, text in changes:
            path = Path(text)
            if not path.is_relative_to(self._folder):
                continue
            name = path.relative_to(self._folder)
            if self._source.kind == "model":
                is_ours = str(name) == self._source.target
            else:
                is_ours = path.suffix in CODE and not any(map(_is_not_code, name.parts[:-1]))
            if is_ours:
                names.add(str(name))
        return sorted(names)

    async def _reload(self, managed: Managed, names: list[str]) -> None:
        began = perf_counter()
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        what = f"'{names[0]}'{more}"
        try:
            await managed.swap(self._source, "")
        except Exception as error:  # the code may raise anything
            failures.report(error)
            console.note(f"{what} changed, but does not load: the code from before goes on")
        else:
            took_ms = (perf_counter() - began) * 1000
            console.note(f"{what} changed: loaded anew in {took_ms:.0f} ms")


def _is_not_code(folder: str) -> bool:
    """Say whether a folder holds what is no part of the project: hidden ones, environments."""
    return folder.startswith(".") or folder in ("__pycache__", "node_modules", "venv")


def for_reload(settings: ServerSettings) -> ServerSettings:
    """Return the settings with which code can be loaded anew; raises UsageError."""
    for name, value in (
        ("workers", settings.workers > 1),
        ("runner", settings.runner == "process"),
    ):
        if value:
            raise UsageError(
                f"--reload works in one process, and {name} asks for others",
                hint=f"leave out --reload, or --{name}",
            )
    # Where methods run is not measured: it would be, again, at every change.
    is_open = settings.runner == "auto"
    return replace(settings, runner="thread") if is_open else settings
