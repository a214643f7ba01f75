"""Finds the importer of a path, by its name or by looking at the path."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from modelpack.errors import ModelpackError, NotFoundError, UsageError, did_you_mean
from modelpack.importers.base import GROUP, Importer


def importer_names() -> tuple[str, ...]:
    """Return the names of the importers that are installed, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def importer_for(path: Path, name: str | None = None) -> Importer:
    """Return the importer of that name, else the first that recognises the path.

    Raises NotFoundError for an unknown name, UsageError when nobody recognises the path.
    """
    if name is not None:
        points = list(entry_points(group=GROUP, name=name))
        if not points:
            near = did_you_mean(name, importer_names())
            hint = f"did you mean '{near}'?" if near else f"there are {', '.join(importer_names())}"
            raise NotFoundError(f"no importer '{name}'", hint=hint)
        return _loaded(points[0])
    for point in sorted(entry_points(group=GROUP), key=lambda one: one.name):
        importer = _loaded(point)
        if importer.recognises(path):
            return importer
    raise UsageError(
        f"'{path}' is nothing that can be imported",
        hint=f"give an archive of modelpack, or what one of these packed: {', '.join(importer_names())}",
    )


def _loaded(point: EntryPoint) -> Importer:
    try:
        importer: Importer = point.load()()
    except Exception as cause:
        raise ModelpackError(
            f"the importer '{point.name}' does not load: {cause}",
            hint="update or remove the distribution that brings it",
        ) from cause
    return importer
