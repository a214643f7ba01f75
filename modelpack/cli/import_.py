"""``modelpack import``: a bundle out of one file, ours or another system's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption

if TYPE_CHECKING:
    from modelpack.importers import Brought, Left


def import_archive(
    file: Annotated[
        Path, typer.Argument(metavar="PATH", help="archive, or what another system packed")
    ],
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="FORMAT", help="what packed it; default: by its content"),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="take only the model of that name")
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack import digits.modelpack

    Put the bundle of an archive into the store.

    Every byte is checked before anything can be seen, and nothing of the bundle is run. Importing it
    again changes nothing. Model archives of TorchServe, model repositories of Triton, MLflow
    models, bentos and SavedModel folders become bundles, too; what could not be carried over is
    said.
    """
    from modelpack.errors import NotFoundError
    from modelpack.store import Store

    if not file.exists():
        raise NotFoundError(
            f"no file or folder '{file}'",
            hint="give a .modelpack archive, or what another system packed",
        )
    if source is None and name is None and _is_ours(file):
        with console.Steps().step(f"check and store {file.name}"):
            entry = Store().import_(file)
        console.note(f"digest {entry.digest}")
        if form is Format.JSON:
            console.out_json({"bundles": [str(entry.tag)], "models": [], "left": []})
        else:
            console.out(entry.tag)
        return
    _import_foreign(file, source, name, form)


def _is_ours(file: Path) -> bool:
    """Say whether our own reader should judge a path: every file that no importer recognises."""
    from modelpack.errors import UsageError
    from modelpack.importers import importer_for

    if file.suffix == ".modelpack":
        return True
    try:
        importer_for(file)
    except UsageError:
        return file.is_file()
    return False


def _import_foreign(file: Path, source: str | None, name: str | None, form: Format) -> None:
    from modelpack.errors import NotFoundError
    from modelpack.importers import bring_in, importer_for
    from modelpack.store import Store

    importer = importer_for(file, source)
    what, brought, left = bring_in(
        file, importer, store=Store(), name=name, progress=console.Steps()
    )
    if name is not None and not brought:
        raise NotFoundError(f"no model '{name}' in '{file}'")
    every = [*left, *(one for each in brought for one in each.left)]
    console.note(f"{what}: {len(brought)} carried over, {len(every)} left")
    _tell(every)
    if form is Format.JSON:
        console.out_json(_as_json(brought, every))
        return
    for one in brought:
        console.out(one.bundle.tag if one.bundle is not None else f"models/{one.model.tag}")


def _tell(left: Sequence[Left]) -> None:
    for one in left:
        console.note(f"left: {one.what} ({one.why})")


def _as_json(brought: Sequence[Brought], left: Sequence[Left]) -> dict[str, object]:
    return {
        "bundles": [str(one.bundle.tag) for one in brought if one.bundle is not None],
        "models": [str(one.model.tag) for one in brought],
        "left": [{"what": one.what, "why": one.why} for one in left],
    }
