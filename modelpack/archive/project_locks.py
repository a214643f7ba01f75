"""Reads the lock that a project has already, so that a bundle holds the versions it was tried with.

    uv.lock            ──uv export (no network)──► pylock ─┐
    pylock.toml        ────────────────────────► pylock ─┴─► what is chosen on each platform ──► Pins
    requirements.txt   with a hash for each line ──────────► what is true there ────────────────┘

The first of them that is there is read; none is ever written, since those forms hold URLs.  What a
lock names by path comes out too, to be packed; what it names by URL is refused.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from modelpack.archive.inputs import Pins
from modelpack.archive.lockfile import LockedPackage
from modelpack.archive.platforms import Platform
from modelpack.archive.resolver import run_uv
from modelpack.errors import BuildError, RefusedError
from modelpack.store.names import shown

if TYPE_CHECKING:
    from packaging.markers import Environment
    from packaging.pylock import Package

UV_LOCK = "uv.lock"
PYLOCK = "pylock.toml"
HASHED = "requirements.txt"
MAX_LOCK_BYTES = 16 * 1024 * 1024

_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class ProjectLock:
    """What the lock of a project says."""

    pins: Pins
    local: tuple[str, ...] = ()
    """Paths of the packages that lie on this machine, as they stand in the lock."""


def read_project_lock(
    root: Path, python: str, platforms: Sequence[Platform], *, are_requirements: bool
) -> ProjectLock | None:
    """Return what the project's own lock says for the platforms; None when it has none.

    ``are_requirements`` is taken over into the pins.  Raises BuildError for a lock that cannot be
    read or has no wheel for a platform, RefusedError for packages that it names by URL.
    """
    if (root / UV_LOCK).is_file():
        found = _selected(_exported(root), UV_LOCK, python, platforms)
    elif (root / PYLOCK).is_file():
        found = _selected(_text(root / PYLOCK), PYLOCK, python, platforms)
    elif (root / HASHED).is_file() and "--hash=" in (text := _text(root / HASHED)):
        found = _Found(HASHED, {one: _hashed(text, one, python) for one in platforms}, set())
    else:
        return None
    pins = Pins(found.source, found.packages, are_requirements)
    return ProjectLock(pins, tuple(sorted(found.local)))


@dataclass(slots=True)
class _Found:
    source: str
    packages: dict[Platform, tuple[LockedPackage, ...]]
    local: set[str]


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_LOCK_BYTES:
            raise BuildError(f"'{file.name}' is too long to be a lock")
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise BuildError(f"cannot read '{file.name}': {cause}") from cause


def _exported(root: Path) -> str:
    """Return ``uv.lock`` as a pylock, without groups and without the project itself."""
    return run_uv(
        [
            "export",
            "--frozen",
            "--offline",
            "--format=pylock.toml",
            "--no-emit-project",
            "--no-default-groups",
            "--prune=modelpack-cli",
            "--no-header",
        ],
        goal=f"read '{UV_LOCK}'",
        folder=root,
    )


def _selected(text: str, source: str, python: str, platforms: Sequence[Platform]) -> _Found:
    from packaging.pylock import Pylock, PylockSelectError, PylockValidationError

    try:
        lock = Pylock.from_dict(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, PylockValidationError) as cause:
        raise BuildError(
            f"'{source}' is not a lock: {shown(str(cause))[:200]}", hint="make it again"
        ) from cause
    found = _Found(source, {}, set())
    for platform in platforms:
        try:
            environment = cast("Environment", platform.environment(python))
            chosen = list(lock.select(environment=environment, tags=platform.tags(python)))
        except PylockSelectError as cause:
            raise BuildError(
                f"'{source}' is not for Python {python} on {platform.name}: "
                f"{shown(str(cause))[:200]}",
                hint="lock it for that too, or choose others with --python and --platform",
            ) from cause
        pinned = [_pinned(package, chose, found, platform) for package, chose in chosen]
        found.packages[platform] = tuple(
            sorted((one for one in pinned if one is not None), key=lambda one: one.name)
        )
    return found


def _pinned(
    package: Package, chosen: Any, found: _Found, platform: Platform
) -> LockedPackage | None:
    """Return the pin of a package; None when it lies on this machine, which ``found`` is told."""
    kind = type(chosen).__name__
    if kind == "PackageDirectory" or (kind == "PackageArchive" and chosen.path is not None):
        found.local.add(str(chosen.path))
        return None
    if kind == "PackageSdist":
        raise BuildError(
            f"'{package.name}' of '{found.source}' has no wheel for {platform.name}",
            hint="only packages with wheels are used: build one and put it into wheels/",
        )
    if kind != "PackageWheel":
        raise RefusedError(
            f"'{found.source}' takes '{package.name}' from a URL or a repository",
            hint="build a wheel of it, put it into wheels/ and require it by its name",
        )
    wheels = package.wheels or ()
    hashes = {wheel.hashes["sha256"] for wheel in wheels if "sha256" in wheel.hashes}
    if not hashes or package.version is None:
        raise BuildError(
            f"'{found.source}' has no version or no SHA-256 for '{package.name}'",
            hint="make it again with hashes",
        )
    known = tuple(sorted(f"sha256:{one}" for one in hashes))
    return LockedPackage(package.name, str(package.version), None, known)


def _hashed(text: str, platform: Platform, python: str) -> tuple[LockedPackage, ...]:
    """Return the lines of a hashed requirements file that are true on the platform."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    environment = platform.environment(python)
    found: dict[str, LockedPackage] = {}
    for line in _lines(text):
        words, *options = re.split(r"\s+(?=--)", line)
        hashes = [_HASH.fullmatch(option) for option in options]
        try:
            requirement = Requirement(words)
        except InvalidRequirement as cause:
            raise _not_pinned(line) from cause
        versions = list(requirement.specifier)
        is_pinned = len(versions) == 1 and versions[0].operator == "==" and "*" not in words
        if not is_pinned or requirement.url or not hashes or not all(hashes):
            raise _not_pinned(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            known = tuple(sorted(one[1] for one in hashes if one))
            found[name] = LockedPackage(name, versions[0].version, None, known)
    return tuple(found[name] for name in sorted(found))


def _lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        words = re.sub(r"(^|\s)#.*", "", line).strip()
        if words:
            yield words


def _not_pinned(line: str) -> RefusedError:
    text = re.sub(r"(?<=://)[^/@\s]+@", "***@", line)
    return RefusedError(
        f"'{HASHED}' has hashes, and a line that is no pinned and hashed package: "
        f"'{shown(text[:80]).strip()}'",
        hint="make it without options and URLs, such as by 'pip-compile --generate-hashes "
        "--no-emit-index-url'",
    )
