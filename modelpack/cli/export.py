"""``modelpack export``: a bundle as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelpack.cli import console
from modelpack.cli.grammar import TagArgument


def export(
    tag: TagArgument,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="file to write, or the folder to put it in")
    ] = Path(),
) -> None:
    """
    $ modelpack export digits:7c1f0b2e9a44 digits.modelpack

    Write a bundle as an archive, one file.

    The archive holds everything and is checked byte by byte by 'modelpack import'. To other tools it
    is an oci-archive. Without FILE it is NAME-VERSION.modelpack in this folder.
    """
    from modelpack.config.units import format_size
    from modelpack.store import Kind, Store
    from modelpack.tag import Tag

    store = Store()
    written = store.export(store.find(Tag.parse(tag), Kind.BUNDLE), file)
    console.note(f"{format_size(written.stat().st_size)}")
    console.out(written)
