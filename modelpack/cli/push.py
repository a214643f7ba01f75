"""``modelpack push``: a bundle to a registry, a bucket or a folder."""

from __future__ import annotations

from typing import Annotated

import typer

from modelpack.cli import console, transfers
from modelpack.cli.grammar import Format, FormatOption
from modelpack.cli.transfers import ForceOption, InsecureOption


def push(
    tag: Annotated[
        str,
        typer.Argument(metavar="TAG", help="NAME or NAME:VERSION; models/NAME for a saved model"),
    ],
    reference: Annotated[
        str | None,
        typer.Argument(
            metavar="REF", help="HOST/REPOSITORY[:TAG], s3://BUCKET/PREFIX or file:///FOLDER"
        ),
    ] = None,
    *,
    force: ForceOption = False,
    insecure: InsecureOption = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack push digits registry.example/team/digits

    Send a bundle to a container registry, a bucket or a folder.

    Only what is not there yet is sent: weights that another bundle brought stay where they are.
    Signatures and other statements go with it. Without a tag in REF it is the bundle's version;
    without REF it goes below MODELPACK_REGISTRY.
    """
    from modelpack import registry
    from modelpack.cli.verify import MODEL_PREFIX, entry_named
    from modelpack.store import Kind, Store

    store = Store()
    entry = entry_named(tag, store)
    place = registry.destination(
        reference,
        entry.tag,
        prefix=MODEL_PREFIX if entry.kind is Kind.MODEL else "",
        below=transfers.default_place(),
    )
    options = registry.Options(insecure=insecure, force=force)
    with transfers.counted("push") as counts:
        moved = registry.push(store, entry, place, options=options, counts=counts)
    if output is Format.JSON:
        console.out_json({"tag": str(entry.tag), **transfers.as_json(moved)})
        return
    transfers.tell(moved)
    console.out(moved.reference)
