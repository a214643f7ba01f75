"""``name:version``, the one way in which people point at a model or a bundle.

The grammar is checked here and nowhere else, before any path or URL is made of a name
(threat model S5).  ``latest`` is a word for "the newest", never a stored version.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from modelpack.errors import TagError

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,62}"
VERSION_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
LATEST = "latest"

_NAME = re.compile(NAME_PATTERN)
_VERSION = re.compile(VERSION_PATTERN)


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """A checked name, and a version unless the newest is meant."""

    name: str
    version: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.version is not None:
            check_version(self.version)

    @classmethod
    def parse(cls, text: str) -> Tag:
        """Read ``NAME``, ``NAME:VERSION`` or ``NAME:latest``; raises TagError."""
        name, colon, version = text.partition(":")
        if colon and not version:
            raise TagError(f"no version after the colon in '{_shown(text)}'", hint=_FORM)
        return cls(name, None if version in ("", LATEST) else version)

    def __str__(self) -> str:
        return f"{self.name}:{self.version or LATEST}"


_FORM = "a tag is NAME or NAME:VERSION, such as 'digits:latest'"


def check_name(name: str) -> str:
    """Return ``name`` if it may name a model, a bundle or a deployment; raises TagError."""
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise TagError(
            f"'{_shown(name)}' is not a name",
            hint="names are lower-case letters, digits, '.', '_' and '-', 63 characters at most",
        )
    return name


def check_version(version: str) -> str:
    """Return ``version`` if it may stand behind the colon of a tag; raises TagError."""
    if not _VERSION.fullmatch(version) or version == LATEST:
        raise TagError(
            f"'{_shown(version)}' is not a version",
            hint="versions are letters, digits, '.', '_' and '-', 128 characters at most; "
            "'latest' is always the newest",
        )
    return version


def name_from(text: str) -> str:
    """Make a name of any text: ``MyService`` becomes ``my-service``; raises TagError if empty."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", text)
    text = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")
    return check_name(text[:63].rstrip("-._"))


def _shown(text: str) -> str:
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 60 else text[:57] + "..."
