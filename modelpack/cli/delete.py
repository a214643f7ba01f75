"""``modelpack delete``: a bundle less in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelpack.cli import console
from modelpack.cli.grammar import TagArgument

if TYPE_CHECKING:
    from modelpack.store import Kind


def delete(tag: TagArgument) -> None:
    """
    $ modelpack delete digits:7c1f0b2e9a44

    Delete a bundle from the store.

    For a week 'modelpack undelete' brings it back; 'modelpack gc' frees its space at once. What other
    bundles and models share with it stays. Images and deployments made of it are not touched. An
    extra tag is deleted alone.
    """
    from modelpack.store import Kind

    delete_tag(tag, Kind.BUNDLE)


def delete_tag(tag: str, kind: Kind) -> None:
    """Delete a bundle or a model and say how it comes back."""
    from modelpack.config.units import format_size
    from modelpack.store import KEPT, Kind, Store
    from modelpack.tag import Tag

    store = Store()
    entry = store.find(Tag.parse(tag), kind, allow_damaged=True)
    size = store.delete(entry)
    if entry.is_alias:
        console.note(f"deleted the tag '{entry.tag}': the {kind} stays under its others")
    else:
        console.note(f"deleted '{entry.tag}', {format_size(size)}: 'modelpack gc' frees them")
    again = "modelpack undelete" if kind is Kind.BUNDLE else "modelpack models undelete"
    console.note(f"for {KEPT.days} days '{again} {entry.tag}' brings it back")
