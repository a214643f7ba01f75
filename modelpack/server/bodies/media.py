"""Content types: what a body is, and which form of an answer a client wants.

    Content-Type ──is_json, media_type──► how a body is read
    Accept ──preferred(offered)──► the form of the answer, or None: any will do, or none that we have

An Accept header that names nothing we have is not refused (RFC 9110, 12.5.1 leaves that to the
server): the client gets JSON, with its content type on it, and can say so itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

JSON = "application/json"
BINARY = "application/octet-stream"
NPY = "application/x-npy"

UTF8_JSON = f"{JSON} in UTF-8"
"""What is expected of whoever claims JSON in another charset."""

MAX_ACCEPT = 1024
"""Longest Accept header that is looked into, in bytes."""

_QUALITY = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?")


def is_json(content_type: bytes) -> bool:
    """Say whether a content type is JSON in UTF-8."""
    if content_type == b"application/json":
        return True
    kind, _, parameters = content_type.lower().partition(b";")
    if kind.strip() != b"application/json":
        return False
    for parameter in parameters.split(b";"):
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"charset" and value.strip().strip(b'"') not in (b"utf-8", b"utf8"):
            return False
    return True


def media_type(content_type: bytes) -> str:
    """Return a content type without its parameters, in lower case."""
    return content_type.partition(b";")[0].strip().lower().decode("latin-1")


def preferred(accept: bytes, offered: Sequence[str]) -> str | None:
    """Return the offered type that an Accept header likes best; None: it says nothing of them.

    The highest ``q`` wins; among equals a type that is named wins over one that a wildcard
    covers, then the order of the header decides, then that of ``offered``.
    """
    if not accept or len(accept) > MAX_ACCEPT:
        return None
    ranges = _ranges(accept.decode("latin-1").lower())
    best: tuple[float, int, int] | None = None
    choice = None
    for kind in offered:
        family = kind.partition("/")[0] + "/*"
        # The most specific range that covers a type decides about it, whatever others say.
        for rank, pattern in enumerate((kind, family, "*/*")):
            if pattern not in ranges:
                continue
            quality, position = ranges[pattern]
            score = (quality, -rank, -position)
            if quality > 0 and (best is None or score > best):
                best, choice = score, kind
            break
    return choice


def _ranges(accept: str) -> dict[str, tuple[float, int]]:
    """Return quality and position of each media range; malformed qualities count as 0."""
    ranges: dict[str, tuple[float, int]] = {}
    for position, one in enumerate(accept.split(",")):
        kind, *parameters = [part.strip() for part in one.split(";")]
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                text = value.strip()
                quality = float(text) if _QUALITY.fullmatch(text) else 0.0
        ranges.setdefault(kind, (quality, position))
    return ranges
