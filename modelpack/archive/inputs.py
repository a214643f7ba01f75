"""What a lock is made from, as one value with one digest.

    requirements + Python + platforms ──┐
    Pins        of a lock the project has ─┼──► Inputs.digest, in the first line of the lock
    LocalWheel  from the project's folder ─┘

While the digest is the same, the lock is used as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelpack.archive.lockfile import LockedPackage
from modelpack.archive.platforms import Platform, of_target
from modelpack.manifest import canonical_json

FORM = 1


@dataclass(frozen=True, slots=True)
class Pins:
    """Versions and hashes that a lock of the project's gives."""

    source: str
    """File that it was, such as ``uv.lock``."""
    packages: Mapping[Platform, tuple[LockedPackage, ...]]
    """What applies on each platform, sorted."""
    are_requirements: bool
    """True when all of them are needed; False when they only say which version of what is."""

    def to_json(self) -> dict[str, object]:
        """Return what of it counts for the digest."""
        return {
            "are_requirements": self.are_requirements,
            "packages": {
                platform.name: [[one.name, one.version, *sorted(one.hashes)] for one in packages]
                for platform, packages in self.packages.items()
            },
        }


@dataclass(frozen=True, slots=True, order=True)
class LocalWheel:
    """A wheel that no index has: it gets into the bundle."""

    name: str
    """Of the distribution, normalised."""
    version: str
    file_name: str
    sha256: str
    size: int
    path: Path = field(compare=False)
    is_required: bool = field(default=False, compare=False)
    """True when a requirement names it; else it is taken if something needs it."""

    @property
    def hash(self) -> str:
        """``sha256:HEX``."""
        return f"sha256:{self.sha256}"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a lock is made from."""

    requirements: tuple[str, ...]
    """Checked lines, sorted."""
    python: str
    """``X.Y``."""
    target: str
    """Platforms as uv names them, such as ``x86_64-unknown-linux-gnu``, with commas between."""
    pins: Pins | None = None
    wheels: tuple[LocalWheel, ...] = ()
    torch_backend: str | None = None
    """``cpu``, ``cu126`` or such, or ``auto``; None: what the index has."""
    preferred: tuple[str, ...] = ()
    """``NAME==VERSION`` that are taken where they fit; they do not count for the digest."""

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms of the target."""
        return of_target(self.target)

    @property
    def digest(self) -> str:
        """Hex digest over all of it."""
        facts: dict[str, object] = {
            "form": FORM,
            "requirements": list(self.requirements),
            "python": self.python,
            "target": self.target,
        }
        if self.pins is not None:
            facts["pins"] = self.pins.to_json()
        if self.wheels:
            facts["wheels"] = [[one.file_name, one.sha256, one.is_required] for one in self.wheels]
        if self.torch_backend is not None:
            facts["torch_backend"] = self.torch_backend
        return hashlib.sha256(canonical_json(facts)).hexdigest()

    @property
    def first_line(self) -> str:
        """The comment that starts the lock."""
        return (
            f"# modelpack lock {FORM}, python {self.python}, {self.target}, "
            f"inputs sha256:{self.digest}"
        )
