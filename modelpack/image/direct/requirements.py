"""Sees that what is installed fits together, as ``pip check`` would in the image.

    lock, what the server needs ──► check_runtime       before anything is installed
    metadata of what was installed ──► check_installed

Optional extras are not looked at: a lock has decided on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import PathDistribution
from pathlib import Path

from modelpack.archive.lockfile import LockedPackage
from modelpack.archive.platforms import Platform
from modelpack.errors import BuildError
from modelpack.manifest import RUNTIME_REQUIREMENTS
from modelpack.store.names import shown

_HINT = "build the bundle again with --relock"


def check_runtime(packages: Iterable[LockedPackage], platform: Platform, python: str) -> None:
    """Raise BuildError when packages of a lock are not what the server needs."""
    versions = _versions((one.name, one.version) for one in packages)
    _check("the server", RUNTIME_REQUIREMENTS, versions, platform.environment(python))


def check_installed(site: Path, platform: Platform, python: str) -> None:
    """Raise BuildError when a package in the folder ``site`` needs what is not there."""
    found = [PathDistribution(folder) for folder in sorted(site.glob("*.dist-info"))]
    versions = _versions((one.name, one.version) for one in found)
    environment = platform.environment(python)
    for one in found:
        _check(f"'{shown(one.name)}'", one.requires or (), versions, environment)


def _versions(packages: Iterable[tuple[str, str]]) -> dict[str, str]:
    from packaging.utils import canonicalize_name

    return {canonicalize_name(name): version for name, version in packages}


def _check(
    who: str,
    requirements: Iterable[str],
    versions: Mapping[str, str],
    environment: Mapping[str, str],
) -> None:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue  # uv has installed it without; what it means nobody knows
        marker = requirement.marker
        if marker is not None and not marker.evaluate({**environment, "extra": ""}):
            continue
        version = versions.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            has = f"has {version}" if version else "has none"
            wanted = f"{requirement.name}{requirement.specifier}"
            raise BuildError(f"{who} needs '{shown(wanted)}', and the lock {has}", hint=_HINT)
