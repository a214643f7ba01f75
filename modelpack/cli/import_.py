"""``modelpack import``: a bundle out of one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelpack.cli import console


def import_archive(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="archive to read")],
) -> None:
    """
    $ modelpack import digits.modelpack

    Put the bundle of an archive into the store.

    Every byte is checked before anything can be seen, and nothing of the bundle is run. Importing it
    again changes nothing.
    """
    from modelpack.store import Store

    with console.Steps().step(f"check and store {file.name}"):
        entry = Store().import_(file)
    console.note(f"digest {entry.digest}")
    console.out(entry.tag)
