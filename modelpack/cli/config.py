"""``modelpack config``: the settings of a project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption


def group(context: typer.Context) -> None:
    """
    $ modelpack config check

    Check the settings of a project, and describe them to editors.
    """
    if context.invoked_subcommand is None:
        console.out(context.get_help())


def schema() -> None:
    """
    $ modelpack config schema > modelpack.schema.json

    Print the JSON Schema of modelpack.yaml.
    """
    from modelpack.config.schema import file_schema

    console.out_json(file_schema())


def check(
    folder: Annotated[
        Path, typer.Argument(metavar="PATH", help="folder of the project; default: this one")
    ] = Path(),
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack config check

    Check the settings of a project and print all of them.
    """
    from dataclasses import asdict

    from modelpack.config.load import load_project

    project = load_project(folder)
    values = {key: value for key, value in asdict(project).items() if key not in ("root", "source")}
    if form is Format.JSON:
        console.out_json(values)
        return
    console.note(f"{project.source or 'no settings here: these are the defaults'}")
    flat: dict[str, object] = {}
    for key, value in values.items():
        inner = {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else None
        flat.update(inner if inner is not None else {key: value})
    console.facts({key: _shown(value) for key, value in flat.items()})


def _shown(value: object) -> object:
    if value is None:
        return "not set"
    if isinstance(value, list | tuple):
        return list(value) or "none"
    if isinstance(value, dict):
        return [f"{k}={v}" for k, v in value.items()] or "none"
    return str(value).lower() if isinstance(value, bool) else value


COMMANDS = {"check": check, "schema": schema}
