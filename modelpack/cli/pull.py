"""``modelpack pull``: a bundle from a registry, a bucket, a folder or a web server."""

from __future__ import annotations

from typing import Annotated

import typer

from modelpack.cli import console, transfers
from modelpack.cli.grammar import Format, FormatOption
from modelpack.cli.transfers import InsecureOption


def pull(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REF", help="HOST/REPOSITORY:TAG, or a URL of a layout with #NAME:VERSION"
        ),
    ],
    insecure: InsecureOption = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack pull registry.example/team/digits:7c1f0b2e9a44

    Put a bundle or model from a registry into the store.

    Every byte is checked before anything can be seen, and nothing of the bundle is run. What the
    store has already is not fetched. A pull that was broken off goes on where it ended. By
    HOST/REPOSITORY@sha256:HEX it is exactly that one.
    """
    from modelpack import registry, trust
    from modelpack.store import Entry, Store
    from modelpack.store.base import ref_name

    def check(store: Store, entry: Entry) -> None:
        trust.check(store, entry, "pull")

    place = registry.parse(reference, below=transfers.default_place())
    options = registry.Options(insecure=insecure)
    with transfers.counted("pull") as counts:
        entry, moved = registry.pull(Store(), place, check=check, options=options, counts=counts)
    if output is Format.JSON:
        facts = {"tag": str(entry.tag), "kind": str(entry.kind), **transfers.as_json(moved)}
        console.out_json(facts)
        return
    transfers.tell(moved)
    console.out(ref_name(entry.kind, entry.tag))
