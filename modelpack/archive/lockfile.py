"""The form of a ``requirements.lock``: what may stand in one, read strictly and written in one way.

    NAME==VERSION ; MARKER --hash=sha256:…   ◄── read_lock ── text ◄── lock_text ──  LockedPackage

It holds names, versions and hashes, and nothing of where they came from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from modelpack.errors import BuildError

_PACKAGE = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9.+!_-]+)"
    r"(?:\s*;\s*(?P<marker>[^\\]+?))?"
)
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """One package of a lock."""

    name: str
    version: str
    marker: str | None
    hashes: tuple[str, ...]
    """``sha256:HEX`` of every file that may be installed; at least one."""


def lock_text(first_line: str, packages: Iterable[LockedPackage]) -> str:
    """Return the file for the packages, in the one form."""
    lines = [first_line]
    for package in sorted(packages, key=lambda package: (package.name, package.version)):
        marker = f" ; {package.marker}" if package.marker else ""
        hashes = [f"    --hash={one}" for one in sorted(package.hashes)]
        lines.append(" \\\n".join([f"{package.name}=={package.version}{marker}", *hashes]))
    return "\n".join(lines) + "\n"


def read_lock(text: str) -> tuple[LockedPackage, ...]:
    """Return the packages of a lock; raises BuildError for a line that is none.

    Every package must be pinned and hashed: an option, a URL or a bare name in a lock would bring
    something that nobody has seen.
    """
    packages = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words, *options = re.split(r"\s+(?=--)", line.strip())
        match = _PACKAGE.fullmatch(words)
        hashes = [_HASH.fullmatch(option) for option in options]
        if match is None or not hashes or not all(hashes):
            raise BuildError(
                f"the lock has a line that is no pinned and hashed package: '{line[:80].strip()}'",
                hint="build again with --relock",
            )
        found = tuple(one[1] for one in hashes if one)
        packages.append(LockedPackage(match["name"], match["version"], match["marker"], found))
    return tuple(packages)
