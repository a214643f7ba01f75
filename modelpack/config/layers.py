"""Lays the sources of settings over each other, and remembers which one won.

    default  <  user's file  <  project's file or bundle  <  MODELPACK_… variable  <  flag
                    └───────────── Layer each ──────────────────┘
    combined(ServerSettings, layers) ──► Layered(settings, origins)

A value replaces the one below it whole: lists and mappings are not merged.  The project's file says
what a service is, so a build reads nothing else; the user's file says how this user likes to serve,
containerize and deploy, whatever the project.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

from modelpack.config.settings import (
    DeploySettings,
    ImageSettings,
    Project,
    ServerSettings,
    variable_of,
    variables_in,
)
from modelpack.errors import UsageError

_Settings = TypeVar("_Settings", ServerSettings, ImageSettings, DeploySettings)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from."""

    source: str
    """``default``, ``user``, ``project``, ``bundle``, ``variable`` or ``flag``."""

    place: str = ""
    """``FILE:LINE:COLUMN``, the name of the variable, or the flag; empty for a default."""

    def __str__(self) -> str:
        return self.place or self.source


DEFAULT = Origin("default")


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says of one section."""

    values: Mapping[str, Any] = field(default_factory=dict)
    """Values by field of the settings."""

    origins: Mapping[str, Origin] = field(default_factory=dict)
    """Where each of them comes from."""


@dataclass(frozen=True, slots=True)
class Layered(Generic[_Settings]):
    """Settings, and where each field comes from."""

    settings: _Settings
    origins: Mapping[str, Origin]


def combined(cls: type[_Settings], *layers: Layer) -> Layered[_Settings]:
    """Return the settings of which later layers win; raises UsageError that names the origin."""
    values: dict[str, Any] = {}
    origins = {item.name: DEFAULT for item in fields(cls)}
    for layer in layers:
        values.update(layer.values)
        origins.update(layer.origins)
    try:
        return Layered(cls(**values), origins)
    except ValueError as cause:
        name, _, what = str(cause).partition(": ")
        origin = origins.get(name, DEFAULT)
        if origin is DEFAULT:
            raise UsageError(str(cause)) from cause
        said = str(cause) if origin.source in ("user", "project", "bundle") else what
        hint = _without(cls, name, layers) if origin.source == "flag" else None
        raise UsageError(f"{origin}: {said}", hint=hint or _HINTS.get(origin.source)) from cause


_HINTS = {"variable": "mend the variable, or unset it"}


def _without(cls: type[_Settings], name: str, layers: Sequence[Layer]) -> str | None:
    """Return what a setting is when its flag is left out; None where that is not one short word."""
    default = next(item.default for item in fields(cls) if item.name == name)
    lower = [one.values[name] for one in layers[:-1] if name in one.values]
    value = lower[-1] if lower else default
    if value is None:
        return "leave it out for none"
    return f"leave it out for {value}" if isinstance(value, str | int | float) else None


def user_layer(section: str) -> Layer:
    """Return what the user's own file says of a section; raises ConfigError."""
    from modelpack.config.load import load_user_settings

    given = load_user_settings()
    if given is None:
        return Layer()
    return _layer(section, "user", given.sections[section], given.places)


def project_layer(project: Project, section: str) -> Layer:
    """Return what the project's file says of a section."""
    settings = getattr(project, section)
    named = [key.partition(".")[2] for key in project.places if key.startswith(f"{section}.")]
    return _layer(
        section, "project", {name: getattr(settings, name) for name in named}, project.places
    )


def bundle_layer(settings: ServerSettings | ImageSettings, tag: object) -> Layer:
    """Return what a bundle was built with: every field that is not the default."""
    default = type(settings)()
    values = {item.name: getattr(settings, item.name) for item in fields(settings)}
    changed = {name: value for name, value in values.items() if value != getattr(default, name)}
    return Layer(changed, {name: Origin("bundle", f"bundle '{tag}'") for name in changed})


def variable_layer(environ: Mapping[str, str] | None = None) -> Layer:
    """Return what ``MODELPACK_…`` variables say of the server; raises UsageError."""
    try:
        values = variables_in(os.environ if environ is None else environ)
    except ValueError as cause:
        raise UsageError(str(cause), hint=_HINTS["variable"]) from None
    return Layer(values, {name: Origin("variable", variable_of(name)) for name in values})


def flag_layer(flags: Mapping[str, Any]) -> Layer:
    """Return what flags say, by field; None: the flag was not given."""
    values = {name: value for name, value in flags.items() if value is not None}
    return Layer(values, {name: Origin("flag", _flag_of(name)) for name in values})


def _flag_of(name: str) -> str:
    """Return how a setting is called on the command line."""
    return "--face" if name == "faces" else f"--{name.replace('_', '-')}"


def server_settings(
    own: Layer, flags: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> Layered[ServerSettings]:
    """Return how a service is served; ``own`` is the layer of its project or bundle.

    Raises ConfigError for the user's file and UsageError for everything else.
    """
    layers = (user_layer("server"), own, variable_layer(environ), flag_layer(flags))
    return combined(ServerSettings, *layers)


def image_settings(own: Layer) -> Layered[ImageSettings]:
    """Return what an image holds; raises as ``server_settings`` does."""
    return combined(ImageSettings, user_layer("image"), own)


def deploy_settings(own: Layer, flags: Mapping[str, Any]) -> Layered[DeploySettings]:
    """Return how a bundle is deployed; raises as ``server_settings`` does."""
    return combined(DeploySettings, user_layer("deploy"), own, flag_layer(flags))


def _layer(
    section: str, source: str, values: Mapping[str, Any], places: Mapping[str, str]
) -> Layer:
    return Layer(values, {name: Origin(source, places[f"{section}.{name}"]) for name in values})
