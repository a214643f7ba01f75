"""Hands pip's settings on to uv, which reads neither ``pip.conf`` nor pip's variables.

    pip.conf files, PIP_…  ──►  arguments (where packages come from) + environment (certificates)

Who has set up an index for uv keeps that: nothing of pip's is added then.  None of it is written
anywhere, so no lock and no bundle holds the name of a host.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_UV_INDEXES = (
    "UV_INDEX",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
)
_ARGUMENTS = {
    "index-url": "--index-url",
    "extra-index-url": "--extra-index-url",
    "find-links": "--find-links",
    "trusted-host": "--allow-insecure-host",
}


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """Where uv shall look for packages."""

    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


def index_settings(environ: Mapping[str, str] | None = None) -> IndexSettings:
    """Return what pip on this machine is told, as uv understands it."""
    environ = os.environ if environ is None else environ
    settings = _from_files(environ) | _from_environment(environ)
    added = {}
    if "cert" in settings and "SSL_CERT_FILE" not in environ:
        added["SSL_CERT_FILE"] = settings["cert"]
    if "timeout" in settings and "UV_HTTP_TIMEOUT" not in environ:
        added["UV_HTTP_TIMEOUT"] = settings["timeout"]
    arguments: list[str] = []
    if not any(environ.get(name) for name in _UV_INDEXES):
        for key, flag in _ARGUMENTS.items():
            # As one word, so that a value that begins with a dash stays a value.
            arguments += [f"{flag}={value}" for value in settings.get(key, "").split()]
        if settings.get("extra-index-url") and not environ.get("UV_INDEX_STRATEGY"):
            # uv stops at the first index that has any version of a package; pip goes on.  Going on
            # only for a version that the first does not have keeps what is private from being
            # replaced by a higher version that a stranger published (threat model S10).
            arguments.append("--index-strategy=unsafe-first-match")
        if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
            arguments.append("--no-index")
    return IndexSettings(tuple(arguments), tuple(sorted(added.items())))


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        _key(name.removeprefix("PIP_")): value
        for name, value in environ.items()
        if name.startswith("PIP_") and value
    } | ({"timeout": environ["PIP_DEFAULT_TIMEOUT"]} if environ.get("PIP_DEFAULT_TIMEOUT") else {})


def _from_files(environ: Mapping[str, str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for file in _files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, "utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue  # pip itself says what is wrong with it
        for section in ("global", "install"):
            if parser.has_section(section):
                settings |= {_key(key): value for key, value in parser.items(section)}
    return settings


def _files(environ: Mapping[str, str]) -> list[Path]:
    """Return the files that pip reads on this system, what counts least first."""
    own = environ.get("PIP_CONFIG_FILE")
    if own == os.devnull:
        return []
    home = Path(environ.get("HOME") or Path.home())
    config_dirs = (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    files = [
        *(Path(folder) / "pip" / "pip.conf" for folder in reversed(config_dirs)),
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf",
        Path(sys.prefix) / "pip.conf",
    ]
    return [*files, Path(own)] if own else files


def _key(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")
