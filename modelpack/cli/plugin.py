"""``modelpack plugin``: targets that come from elsewhere, and a start for one of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption


def group(context: typer.Context) -> None:
    """
    $ modelpack plugin new my-cloud
    $ modelpack plugin list

    Write a target of your own, and see which targets there are.
    """
    if context.invoked_subcommand is None:
        console.out(context.get_help())


def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="word behind --target, such as my-cloud")
    ],
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="PATH", help="folder to make; default: modelpack-NAME"),
    ] = None,
) -> None:
    """
    $ modelpack plugin new my-cloud

    Write the project of a target plugin that works as it is.

    It keeps the whole contract of a target, on a stand-in for the platform; what to replace by your
    platform's own calls stands in its README. A folder that has something in it is left alone.
    """
    from modelpack.cli.scaffold import make_plugin

    folder = into or Path(f"modelpack-{name}")
    for file in make_plugin(folder, name):
        console.note(f"  {folder / file}")
    console.out(folder)
    console.note(f"next: cd {folder} && pip install -e '.[test]' && pytest")


def list_plugins(form: FormatOption = Format.TEXT) -> None:
    """
    $ modelpack plugin list

    List the targets of this machine, and those that do not load.
    """
    from modelpack.deploy import catalog
    from modelpack.errors import ModelpackError

    found = catalog.installed()
    for problem in found.problems:
        console.warn(problem)
    rows = []
    for name in found.names:
        point = found.points[name]
        try:
            found.load(name)
            state = "built in" if point in catalog.BUILT_IN else "loads"
        except ModelpackError as error:
            state = error.message
        rows.append((name, point.value, state))
    if form is Format.JSON:
        console.out_json(
            [{"name": name, "class": value, "state": state} for name, value, state in rows]
        )
    else:
        console.table(("target", "class", "state"), rows)


COMMANDS = {"new": new, "list": list_plugins}
