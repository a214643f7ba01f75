"""``modelpack history``: the versions of a name, and what each of them changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption

if TYPE_CHECKING:
    from modelpack.archive.history import Version


def history(
    name: Annotated[str, typer.Argument(metavar="NAME", help="name of a bundle or of a model")],
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack history digits

    Show the versions of a bundle, the oldest first.

    When each was built, of which commit, and what changed.

    Of a name that no bundle has, the versions of the saved model are shown, with their metrics.
    """
    from modelpack.archive.history import history_of
    from modelpack.store import Store
    from modelpack.tag import check_name

    versions = history_of(Store(), check_name(name))
    if form is Format.JSON:
        console.out_json([one.to_json() for one in versions])
        return
    console.table(("tag", "created", "commit", "changed"), [_row(one) for one in versions])
    for one in versions:
        if one.entry.damage:
            console.warn(f"'{one.entry.tag}' is damaged: {one.entry.damage}")


def _row(version: Version) -> tuple[str, ...]:
    tags = ", ".join((str(version.entry.tag), *version.also))
    created = (version.entry.created or "").replace("T", " ")[:16]
    commit = "" if version.source is None else _commit(version.source)
    # What a statement says of the commit, and the names in it, are somebody else's.
    return (tags, created, console.harmless(commit), console.harmless(version.changed))


def _commit(source: Any) -> str:
    return f"{source.commit[:12]}{'+' if source.is_dirty else ''}"
