"""``modelpack build``: a bundle of a project or of a bare model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption
from modelpack.cli.locking import (
    PlatformOption,
    ProveOption,
    PythonOption,
    RelockOption,
    TorchBackendOption,
    WithWheelsOption,
)

if TYPE_CHECKING:
    from modelpack.archive import Built, Locking
    from modelpack.config.settings import Project
    from modelpack.store import Store


def build(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="PATH", help="folder of a project, or a model.onnx; default: this folder"
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="name of the bundle")
    ] = None,
    version: Annotated[
        str | None,
        typer.Option("--version", metavar="VERSION", help="version; default: from its content"),
    ] = None,
    *,
    relock: RelockOption = False,
    platform: PlatformOption = None,
    python: PythonOption = None,
    torch_backend: TorchBackendOption = None,
    with_wheels: WithWheelsOption = False,
    prove: ProveOption = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack build
    digits:7c1f0b2e9a44
    $ modelpack build --platform linux/amd64,linux/arm64 --prove

    Bundle a service, its models and its pinned dependencies.

    The tag of the bundle is all that standard output gets. The same input gives the same bundle: a
    build that changes nothing says so.
    """
    from modelpack.archive import Locking
    from modelpack.cli.list_ import entry_json
    from modelpack.cli.source import ModelSource, ProjectSource, source_of
    from modelpack.errors import UsageError
    from modelpack.store import Store

    store = Store()
    locking = Locking(
        relock=relock,
        python=python,
        platforms=tuple(platform or ()),
        torch_backend=torch_backend,
        with_wheels=with_wheels,
        prove=prove,
    )
    match source_of(source):
        case ModelSource(file):
            built = _build_model(file, store, locking, name=name, version=version)
        case ProjectSource(folder, service):
            project = _project(folder, name=name, service=service)
            built = _build_project(project, store, locking, version=version)
        case _:
            raise UsageError(
                f"'{source}' is not a folder and not a model.onnx",
                hint="give the folder that holds the service",
            )
    _tell(built)
    if form is Format.JSON:
        console.out_json({**entry_json(built.entry), "is_unchanged": built.is_unchanged})
    else:
        console.out(built.entry.tag)


def _project(folder: Path, *, name: str | None, service: str | None) -> Project:
    """Return the project in the folder, with what the command line says of it."""
    from modelpack.config.load import load_project

    project = load_project(folder)
    return replace(project, name=name or project.name, service=service or project.service)


def _build_project(
    project: Project, store: Store, locking: Locking, *, version: str | None
) -> Built:
    from modelpack.archive import build_bundle
    from modelpack.cli.project import service_of

    return build_bundle(
        project,
        service_of(project),
        store=store,
        version=version,
        locking=locking,
        progress=console.Steps(),
    )


def _build_model(
    file: Path, store: Store, locking: Locking, *, name: str | None, version: str | None
) -> Built:
    from modelpack import models
    from modelpack.archive import build_bundle
    from modelpack.config.settings import Project
    from modelpack.frameworks.zero import service_from_model
    from modelpack.store import Kind

    spec = service_from_model(file, name)
    tag = models.save(spec.name, file, store=store)
    return build_bundle(
        Project(root=file.parent.resolve(), name=spec.name),
        spec,
        store=store,
        version=version,
        locking=locking,
        zero_model=store.find(tag, Kind.MODEL),
        progress=console.Steps(),
    )


def _tell(built: Built) -> None:
    """Say on standard error what went into the bundle."""
    from modelpack.config.units import format_size

    places = (layer.path.split("/") for layer in built.entry.layers)
    models = {place[2] for place in places if place[1] == "models"}
    parts = [_count(built.file_count, "file"), _count(len(models), "model")]
    console.note(f"{', '.join(parts)}, {format_size(built.entry.size_bytes)}")
    for line in _skipped_lines(built.skipped):
        console.note(line)
    if built.lock_reused:
        console.note("dependencies as in requirements.lock")
    if built.is_unchanged:
        console.note("unchanged: this bundle is in the store already")


def _skipped_lines(skipped: Sequence[str]) -> list[str]:
    """Return what was left out, ``PATH (reason)`` each, as one line a reason.

    The lock is not named: it does get into the bundle, beside the code.
    """
    from modelpack.manifest import LOCK_FILE

    paths: dict[str, list[str]] = {}
    for text in skipped:
        path, _, reason = text.rpartition(" (")
        if path == LOCK_FILE:
            continue
        paths.setdefault(reason.rstrip(")"), []).append(path)
    return [f"left out, {reason}: {_some(found)}" for reason, found in paths.items()]


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
