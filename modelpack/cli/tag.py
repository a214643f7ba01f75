"""``modelpack tag``: another version name for a bundle."""

from __future__ import annotations

from typing import Annotated

import typer

from modelpack.cli import console
from modelpack.cli.grammar import TagArgument


def tag(
    source: TagArgument,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="such as 'production'")],
) -> None:
    """
    $ modelpack tag digits:7c1f0b2e9a44 production

    Give a bundle one more tag, or move that tag to it.

    The extra tag is a name for people: digest and content stay the same.
    """
    from modelpack.errors import UsageError
    from modelpack.store import Kind, Store
    from modelpack.tag import Tag, check_version

    store = Store()
    asked = Tag.parse(source)
    name, colon, wanted = version.rpartition(":")
    if colon and name != asked.name:
        raise UsageError(
            f"a bundle keeps its name: '{asked.name}' cannot become '{name}'",
            hint="build it again with '--name' to rename it",
        )
    entry = store.find(asked, Kind.BUNDLE)
    tagged = store.tag(entry, check_version(wanted))
    console.note(f"'{entry.tag}' is also '{tagged.tag}'")
    console.out(tagged.tag)
