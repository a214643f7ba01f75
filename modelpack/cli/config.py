"""``modelpack config``: the settings of a project, and where each comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption

if TYPE_CHECKING:
    from modelpack.config.layers import Origin
    from modelpack.config.settings import Project


def group(context: typer.Context) -> None:
    """
    $ modelpack config show --origin

    Show the settings of a project, check them, and describe them to editors.
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
    values = {key: value for key, value in asdict(project).items() if key not in _NO_SETTINGS}
    if form is Format.JSON:
        console.out_json(values)
        return
    console.note(f"{project.source or 'no settings here: these are the defaults'}")
    flat: dict[str, object] = {}
    for key, value in values.items():
        inner = {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else None
        flat.update(inner if inner is not None else {key: value})
    console.facts({key: _shown(value) for key, value in flat.items()})


_NO_SETTINGS = ("root", "source", "places")
"""Fields of a project that nobody sets."""


def show(
    folder: Annotated[
        Path, typer.Argument(metavar="PATH", help="folder of the project; default: this one")
    ] = Path(),
    *,
    origin: Annotated[
        bool, typer.Option("--origin", help="also where each value comes from")
    ] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack config show --origin

    Print every setting as it holds here.

    A flag beats a MODELPACK_ variable, which beats the project's file, which beats the user's own,
    ~/.config/modelpack/config.yaml, which beats the default. Flags are those of another command and
    are not known here.
    """
    from modelpack.config.load import load_project

    found = list(_settings(load_project(folder)))
    if form is Format.JSON:
        console.out_json(
            [
                {"name": name, "value": value}
                | ({"source": of.source, "place": of.place or None} if origin else {})
                for name, value, of in found
            ]
        )
    elif origin:
        rows = [[name, _in_one_line(value), str(of)] for name, value, of in found]
        console.table(["setting", "value", "origin"], rows)
    else:
        console.facts({name: _in_one_line(value) for name, value, _ in found})


def _settings(project: Project) -> Iterator[tuple[str, object, Origin]]:
    """Yield the name of every setting, its value and where that comes from."""
    from modelpack.config import layers
    from modelpack.config.schema import PROJECT_KEYS, group_of, settings_of
    from modelpack.config.settings import DeploySettings, ImageSettings, ServerSettings

    for key in PROJECT_KEYS:
        place = project.places.get(key)
        of = layers.Origin("project", place) if place else layers.DEFAULT
        yield key, getattr(project, key), of
    server = layers.server_settings(layers.project_layer(project, "server"), {})
    image = layers.image_settings(layers.project_layer(project, "image"))
    deploy = layers.deploy_settings(layers.project_layer(project, "deploy"), {})
    sections: tuple[tuple[str, type, object, Mapping[str, Origin]], ...] = (
        ("server", ServerSettings, server.settings, server.origins),
        ("image", ImageSettings, image.settings, image.origins),
        ("deploy", DeploySettings, deploy.settings, deploy.origins),
    )
    for section, cls, settings, origins in sections:
        for setting in settings_of(cls):
            group = group_of(setting.field) if section == "deploy" else None
            key = f"{group}.{setting.key}" if group else setting.key
            yield f"{section}.{key}", getattr(settings, setting.field), origins[setting.field]


def _in_one_line(value: object) -> str:
    shown = _shown(value)
    return console.harmless(" ".join(shown) if isinstance(shown, list) else str(shown))


def _shown(value: object) -> object:
    if value is None:
        return "not set"
    if isinstance(value, list | tuple):
        return list(value) or "none"
    if isinstance(value, dict):
        return [f"{k}={v}" for k, v in value.items()] or "none"
    return str(value).lower() if isinstance(value, bool) else value


COMMANDS = {"show": show, "check": check, "schema": schema}
