"""``modelpack list``: the bundles of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption

if TYPE_CHECKING:
    from modelpack.store import Entry


def list_bundles(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="only bundles of this name")
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack list

    List the bundles in the store, the newest last.
    """
    from modelpack.store import Kind, Store
    from modelpack.tag import check_name

    entries = Store().list(Kind.BUNDLE, check_name(name) if name else None)
    show_entries(entries, form, nothing="no bundles yet: 'modelpack build' makes one")


def show_entries(entries: list[Entry], form: Format, *, nothing: str) -> None:
    """Print entries of the store as a table or as JSON."""
    if form is Format.JSON:
        console.out_json([entry_json(entry) for entry in entries])
        return
    if not entries:
        console.note(nothing)
        return
    rows = [
        (
            str(entry.tag),
            entry.digest.removeprefix("sha256:")[:12],
            _size(entry),
            _created(entry),
        )
        for entry in entries
    ]
    console.table(("tag", "digest", "size", "created"), rows)
    for entry in entries:
        if entry.damage:
            console.warn(f"'{entry.tag}' is damaged: {entry.damage}")


def entry_json(entry: Entry) -> dict[str, Any]:
    """Return an entry as plain JSON values."""
    return {
        "tag": str(entry.tag),
        "digest": entry.digest,
        "size_bytes": entry.size_bytes,
        "kind": str(entry.kind),
        "created": entry.created,
        "is_alias": entry.is_alias,
        "damage": entry.damage,
    }


def _size(entry: Entry) -> str:
    from modelpack.config.units import format_size

    return "damaged" if entry.damage else format_size(entry.size_bytes)


def _created(entry: Entry) -> str:
    return (entry.created or "").replace("T", " ")[:16]
