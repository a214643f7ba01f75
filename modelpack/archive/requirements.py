"""Checks requirement lines before a resolver sees them.

    "NumPy >=1.26", "scikit-learn"  ──►  ("numpy>=1.26", "scikit-learn")   sorted, each once
    "./libs/tools", "-e ../common"  ──►  paths, which a project may name and a model may not

A line is a name with versions, extras and a marker, and nothing else: an option or a URL in it
would change where packages come from without anybody seeing it (threat model S10).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from modelpack.config.requirement import local_path
from modelpack.errors import ConfigError, Mistake
from modelpack.store.names import shown

_INDEX_HINT = "set the index for pip or uv on this machine; it does not belong into a project"


def checked_requirements(lines: Iterable[str], file: Path | None) -> tuple[str, ...]:
    """Return the lines in one form, sorted; raises ConfigError with every mistake.

    ``file`` is where people wrote them, for the message.
    """
    place = file.name if file else "requirements"
    checked: set[str] = set()
    mistakes: list[Mistake] = []
    hint: str | None = None
    for number, line in enumerate(lines):
        try:
            checked.add(_checked(line))
        except _Refused as cause:
            what = f"requirements[{number}]: '{_without_login(line)}' {cause}"
            mistakes.append(Mistake(place, None, None, what))
            hint = hint or cause.hint
    if mistakes:
        raise ConfigError(mistakes, hint=hint)
    return tuple(sorted(checked))


def split_paths(lines: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the paths among the lines of a project, and the other lines."""
    paths = [(line, local_path(line)) for line in lines]
    local = tuple(path for _, path in paths if path is not None)
    return local, tuple(line for line, path in paths if path is None)


class _Refused(Exception):
    """Why a line is refused, and what to write instead."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.hint = hint


def _checked(line: str) -> str:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    text = line.strip()
    if text.startswith("-"):
        hint = "write the path of the package" if text[:3] in ("-e ", "--e") else _INDEX_HINT
        raise _Refused("is an option, not a requirement", hint)
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise _Refused("holds a control character", "write one requirement a line")
    if text.startswith((".", "/", "~")) or text.endswith((".whl", ".tar.gz", ".zip")):
        raise _Refused(
            "is a path", "write './' before it, or put the code into the project's folder"
        )
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        if "://" in text:
            raise _Refused("is a URL", "publish the package to an index that pip knows") from None
        hint = "write it as 'name', 'name>=1.2' or 'name==1.2.3'"
        raise _Refused("is not a requirement", hint) from None
    if requirement.url is not None:
        raise _Refused("names a URL", "publish the package to an index that pip knows")
    requirement.name = canonicalize_name(requirement.name)
    return str(requirement)


def _without_login(line: str) -> str:
    """Return a line as it may be shown: what stands before an ``@`` of a URL is hidden."""
    start, scheme, rest = line.strip().partition("://")
    if scheme and "@" in rest:
        rest = "***@" + rest.rpartition("@")[2]
    text = shown(start + scheme + rest)
    return text if len(text) <= 80 else text[:77] + "..."
