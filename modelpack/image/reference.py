"""Names of images: the grammar that a registry accepts, checked before an engine sees a name.

digits:1.2 ──default_reference──► digits:1.2        team/digits:1.2 ──check_reference──► same
"""

from __future__ import annotations

import re

from modelpack.errors import UsageError
from modelpack.tag import Tag

# https://github.com/distribution/reference, reference.go: domain, path, tag and digest.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::\d{{1,5}})?"
_NAME = rf"(?:{_DOMAIN}/)?{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_REFERENCE = re.compile(rf"({_NAME})(?::{_TAG})?(?:@sha256:[0-9a-f]{{64}})?")
_MAX_NAME = 255


def check_reference(text: str) -> str:
    """Return ``text`` if it may name an image; raises UsageError."""
    match = _REFERENCE.fullmatch(text)
    if match is None or len(match[1]) > _MAX_NAME:
        shown = "".join(c if c.isprintable() else "?" for c in text)[:80]
        raise UsageError(
            f"'{shown}' is not the name of an image",
            hint="names are lower case, such as 'registry.example.com/team/digits:1.2'; "
            "write '_' for '+'",
        )
    return text


def check_image_name(text: str) -> str:
    """Return a name that an image may be given: a reference without a digest; raises UsageError.

    Without a tag it is given ``latest``, as engines do.
    """
    check_reference(text)
    if "@" in text:
        raise UsageError(
            f"'{text}' names a digest, which an image has only once it is made",
            hint="give NAME:TAG",
        )
    return text if ":" in text.rpartition("/")[2] else f"{text}:latest"


def full_name(name: str) -> str:
    """Return a name with its registry, as engines mean it: ``docker.io/library/python:3.11-slim``.

    A name's first part is a registry if it looks like a host; else the name is one of Docker Hub.
    """
    host, slash, _ = name.partition("/")
    if slash and (host == "localhost" or any(char in host for char in ".:")):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def default_reference(tag: Tag) -> str:
    """Return the name of a bundle's image: its tag, with separators as registries allow them."""
    name = re.sub(r"[._-]+", _separator, tag.name).rstrip("._-")
    return check_image_name(f"{name}:{tag.version or 'latest'}")


def _separator(match: re.Match[str]) -> str:
    text = match[0]
    return text if text in (".", "_", "__") or set(text) == {"-"} else "-"
