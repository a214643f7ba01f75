"""``modelpack delete``: a bundle less in the store."""

from __future__ import annotations

from modelpack.cli import console
from modelpack.cli.grammar import TagArgument


def delete(tag: TagArgument) -> None:
    """
    $ modelpack delete digits:7c1f0b2e9a44

    Delete a bundle from the store.

    What other bundles and models share with it stays. Images and deployments made of it are not
    touched. An extra tag is deleted alone.
    """
    from modelpack.config.units import format_size
    from modelpack.store import Kind, Store
    from modelpack.tag import Tag

    store = Store()
    entry = store.find(Tag.parse(tag), Kind.BUNDLE, allow_damaged=True)
    freed = store.delete(entry)
    if entry.is_alias:
        console.note(f"deleted the tag '{entry.tag}': the bundle stays under its others")
    else:
        console.note(f"deleted '{entry.tag}', freed {format_size(freed)}")
