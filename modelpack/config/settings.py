"""Checked values that the rest of the program works with: frozen, in range, standard library only.

    modelpack.yaml ──load──► Project ─┬─► ServerSettings   (server, also in the image)
                                      ├─► ImageSettings    (image)
                                      └─► DeploySettings   (deploy)

A value that cannot be is refused as it is made, by ``ValueError`` that names the field; ``load``
turns that into a mistake with its line and column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from modelpack.config.deploying import DeploySettings, check_env
from modelpack.config.serving import BatchConfig, ServerSettings, at_least
from modelpack.errors import RefusedError

__all__ = [
    "WRITTEN_KEYS",
    "BatchConfig",
    "DeploySettings",
    "ImageSettings",
    "Project",
    "ServerSettings",
    "changed_settings",
    "recorded_settings",
    "settings_from",
    "settings_from_env",
    "settings_to_env",
    "variable_of",
    "variables_in",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings:
    """What an image holds beside the bundle."""

    base: str | None = None
    """Base image to build on instead of the one that is chosen from the lock."""

    cuda: str | None = None
    """CUDA version of an ``nvidia/cuda`` runtime base, such as ``12.6``; None: from the lock."""

    system_packages: tuple[str, ...] = ()
    """Debian packages to install."""

    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables; never secrets."""

    max_size_bytes: int | None = None
    """Most that an image may take on disk, such as ``500MB``; None: no limit."""

    def __post_init__(self) -> None:
        if self.max_size_bytes is not None:
            at_least("max_size_bytes", self.max_size_bytes, 1)
        if self.cuda is not None and not re.fullmatch(r"\d{1,2}\.\d{1,2}(\.\d{1,2})?", self.cuda):
            raise ValueError(f"cuda: must look like 12.6, got {self.cuda!r}")
        if self.base is not None and not _IMAGE_REFERENCE.fullmatch(self.base):
            raise ValueError(f"base: not an image reference: {self.base!r}")
        for package in self.system_packages:
            if not _DEBIAN_PACKAGE.fullmatch(package):
                raise ValueError(f"system_packages: not a Debian package name: {package!r}")
        check_env("env", self.env)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A folder with a service in it, and what its ``modelpack.yaml`` says; all of it optional."""

    root: Path
    """The folder."""

    source: Path | None = None
    """The file that was read: ``modelpack.yaml`` or ``pyproject.toml``; None: defaults."""

    name: str | None = None
    """Name of the bundle; None: from the service's class."""

    version: str | None = None
    """Version of the bundle; None: from its content."""

    service: str | None = None
    """Import string of the service, such as ``service:Digits``; None: found in ``service.py``."""

    include: tuple[str, ...] = ("**",)
    """Files to pack, as gitignore-style patterns below ``root``."""

    exclude: tuple[str, ...] = ()
    """Files not to pack, on top of the default ignores and ``.modelpackignore``."""

    allow_secrets: tuple[str, ...] = ()
    """Paths to pack although they look like secrets."""

    requirements: tuple[str, ...] = ()
    """What serving needs, as requirement strings."""

    python: str | None = None
    """``X.Y`` of Python to lock for; None: the running one."""

    platforms: tuple[str, ...] = ()
    """Platforms to lock for, such as ``linux/amd64``; none: Linux on this machine's processor."""

    torch_backend: str | None = None
    """Build of Torch: ``cpu``, ``cu126`` or such, or ``auto``; None: what the index has."""

    server: ServerSettings = field(default_factory=ServerSettings)
    image: ImageSettings = field(default_factory=ImageSettings)
    deploy: DeploySettings = field(default_factory=DeploySettings)

    places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Where each setting of the file stands, ``FILE:LINE:COLUMN`` by ``name`` or ``server.port``."""


WRITTEN_KEYS = {
    "memory_bytes": "memory",
    "max_size_bytes": "max_size",
    "min_replicas": "min",
    "max_replicas": "max",
}
"""Fields that people write under another key: it has a unit with it, or stands below a word."""

_Settings = TypeVar("_Settings", ServerSettings, ImageSettings, DeploySettings)
_Recorded = TypeVar("_Recorded", ServerSettings, ImageSettings)

# The reference grammar of the distribution specification, without its length rules.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_IMAGE_REFERENCE = re.compile(
    rf"(?:[A-Za-z0-9.-]+(?::\d{{1,5}})?/)?{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
# Debian policy 5.6.1, with an optional =version.
_DEBIAN_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(?:=[A-Za-z0-9.+:~-]+)?")


def changed_settings(settings: ServerSettings | ImageSettings) -> dict[str, Any]:
    """Return the fields that differ from the defaults, as plain JSON values."""
    default = type(settings)()
    changed: dict[str, Any] = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        if value != getattr(default, item.name):
            changed[item.name] = list(value) if isinstance(value, tuple) else value
    return changed


def settings_from(cls: type[_Settings], values: Mapping[str, Any]) -> _Settings:
    """Make settings of plain JSON values; raises ValueError that names the field."""
    hints = _hints_of(cls)
    frozen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    for name, value in frozen.items():
        if name not in hints:
            raise ValueError(f"{name}: unknown setting")
        if not _has_type(value, hints[name]):
            raise ValueError(f"{name}: {type(value).__name__} is not a type that it can have")
    return cls(**frozen)


def recorded_settings(cls: type[_Recorded], recorded: Mapping[str, Any]) -> _Recorded:
    """Return the settings that a bundle was built with; raises RefusedError if they cannot be.

    ``recorded`` is ``BundleManifest.settings``, which may come from anywhere.
    """
    section = "server" if cls is ServerSettings else "image"
    try:
        values = recorded.get(section, {})
        if not isinstance(values, Mapping):
            raise ValueError("no settings")
        return settings_from(cls, values)
    except ValueError as cause:
        raise RefusedError(
            f"the bundle's own settings are not valid: {section}.{cause}",
            hint="build it again with this modelpack",
        ) from cause


def settings_from_env(settings: ServerSettings, environ: Mapping[str, str]) -> ServerSettings:
    """Return ``settings`` with every ``MODELPACK_<FIELD>`` of the environment laid over it.

    Raises ValueError that names the variable.
    """
    values = variables_in(environ)
    try:
        return replace(settings, **values)
    except ValueError as cause:
        name, _, what = str(cause).partition(": ")
        raise ValueError(f"{variable_of(name)}: {what}" if name in values else str(cause)) from None


def variable_of(name: str) -> str:
    """Return the variable of a field of the server's settings."""
    return f"MODELPACK_{name.upper()}"


def variables_in(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of the server's settings that variables give; ranges are not checked.

    Raises ValueError that names the variable.
    """
    hints = _hints_of(ServerSettings)
    values = {}
    for item in fields(ServerSettings):
        if (text := environ.get(variable_of(item.name))) is not None:
            try:
                values[item.name] = _parse(text, hints[item.name])
            except ValueError as cause:
                raise ValueError(f"{variable_of(item.name)}: {cause}") from None
    return values


def settings_to_env(settings: ServerSettings) -> dict[str, str]:
    """Return the variables that give every field its value, whatever another process begins with."""
    values = {item.name: getattr(settings, item.name) for item in fields(settings)}
    return {
        variable_of(name): "" if value is None else str(value) for name, value in values.items()
    }


_HINTS: dict[type[Any], Mapping[str, Any]] = {}


def _hints_of(cls: type[Any]) -> Mapping[str, Any]:
    """Return the types of the fields; to work them out takes a millisecond."""
    if cls not in _HINTS:
        _HINTS[cls] = get_type_hints(cls)
    return _HINTS[cls]


def _has_type(value: object, hint: Any) -> bool:
    """Check a JSON value against the kinds of hints that settings have."""
    origin = get_origin(hint)
    if origin is UnionType:
        return any(_has_type(value, one) for one in get_args(hint))
    if origin is tuple:
        return isinstance(value, tuple) and all(isinstance(one, str) for one in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(isinstance(v, str) for v in value.values())
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def _parse(text: str, hint: Any) -> Any:
    kinds = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    if len(kinds) > 1 and not text:
        return None
    kind = kinds[0]
    if kind is bool:
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off", ""):
            return False
        raise ValueError(f"must be true or false, got {text!r}")
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"must be a number, got {text!r}") from None
    return text
