"""``modelpack copy``: from one remote place to another."""

from __future__ import annotations

from typing import Annotated

import typer

from modelpack.cli import console, transfers
from modelpack.cli.grammar import Format, FormatOption
from modelpack.cli.transfers import ForceOption, InsecureOption


def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="reference to read")],
    target: Annotated[str, typer.Argument(metavar="TO", help="reference to write")],
    force: ForceOption = False,
    insecure: InsecureOption = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack copy registry.example/dev/digits:1 registry.example/prod/digits:1

    Copy a bundle from one registry, bucket or folder to another.

    The digest stays the same, signatures go with it, and nothing is kept on this machine. Within one
    registry the blobs are mounted, so that next to nothing is sent.
    """
    from modelpack import registry

    below = transfers.default_place()
    origin = registry.parse(source, below=below)
    place = registry.counterpart(origin, registry.parse(target, below=below))
    options = registry.Options(insecure=insecure, force=force)
    with transfers.counted("copy") as counts:
        moved = registry.copy(origin, place, options=options, counts=counts)
    if output is Format.JSON:
        console.out_json({"source": str(origin), **transfers.as_json(moved)})
        return
    transfers.tell(moved)
    console.out(moved.reference)
