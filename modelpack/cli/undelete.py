"""``modelpack undelete``: a deleted bundle or model back in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modelpack.cli import console

if TYPE_CHECKING:
    from modelpack.store import Kind

DeletedArgument = Annotated[
    str,
    typer.Argument(
        metavar="TAG", help="NAME or NAME:VERSION; without a version, what was deleted last"
    ),
]


def undelete(tag: DeletedArgument) -> None:
    """
    $ modelpack undelete digits:7c1f0b2e9a44

    Bring back a deleted bundle.

    That works for a week, unless 'modelpack gc' came in between. 'modelpack gc --plan' lists what was
    deleted. What was the newest before is the newest again.
    """
    from modelpack.store import Kind

    undelete_tag(tag, Kind.BUNDLE)


def undelete_model(tag: DeletedArgument) -> None:
    """
    $ modelpack models undelete digits-clf:0a1b2c3d4e5f

    Bring back a deleted model.

    That works for a week, unless 'modelpack gc' came in between. 'modelpack gc --plan' lists what was
    deleted.
    """
    from modelpack.store import Kind

    undelete_tag(tag, Kind.MODEL)


def undelete_tag(tag: str, kind: Kind) -> None:
    """Bring back a bundle or a model and print its tag."""
    from modelpack.store import Store
    from modelpack.tag import Tag

    entry = Store().undelete(Tag.parse(tag), kind)
    console.note(f"'{entry.tag}' is there again, digest {entry.digest}")
    console.out(entry.tag)
