"""Says how much the dependencies of an image will take, where that can be known beforehand.

    locked packages ──► the wheel itself, in the cache under the digest that the lock names
                    ├─► RECORD of the same version, installed here or in a cached environment
                    ├─► what it took in an image that was made here without an engine
                    └─► none of them: unknown, by name

The files of a wheel are the same wherever it is installed, so the sizes in it are those in the
image.  What is installed here counts only if its wheel fits the image's platform and Python: most
packages are other files on another processor.  Bytecode is added: installers compile.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import Distribution, PackagePath
from pathlib import Path
from typing import IO, TYPE_CHECKING

from modelpack import paths
from modelpack.archive.lockfile import LockedPackage
from modelpack.archive.platforms import Platform
from modelpack.archive.runtime_wheel import wheel_bytes

if TYPE_CHECKING:
    from packaging.tags import Tag

BYTECODE_RATIO = 1.4
"""Bytes of bytecode for each byte of Python source (CPython 3.11, 17 packages with numpy: 1.38)."""

_MAX_WHEEL_ENTRIES = 100_000
_MAX_REMEMBERED = 5000
"""Packages of one platform and Python whose sizes are kept: about 150 kB."""


@dataclass(frozen=True, slots=True)
class SizedPackage:
    """A package of a lock and what it takes when it is installed."""

    name: str
    """Normalised."""
    version: str
    size_bytes: int | None
    """Bytes on disk with its bytecode; None when nobody here knows."""


def sized_packages(
    packages: Iterable[LockedPackage], platform: Platform, python: str
) -> tuple[SizedPackage, ...]:
    """Return the packages with their sizes, the largest first, those of unknown size last.

    ``packages`` are those that apply on the platform; ``python`` is ``X.Y``.
    """
    from packaging.utils import canonicalize_name

    tags = frozenset(platform.tags(python))
    places = [sys.path, *_cached_environments()]
    remembered = _remembered(_note(platform, python))
    found = []
    for package in packages:
        name = canonicalize_name(package.name)
        size = _size_of_wheel(package, tags)
        if size is None:
            size = _size_of_installed(name, package.version, places, tags)
        if size is None:
            size = remembered.get(f"{name} {package.version}")
        found.append(SizedPackage(name, package.version, size))
    return tuple(sorted(found, key=_largest_first))


def remember_sizes(site: Path, platform: Platform, python: str) -> None:
    """Keep what the packages in ``site`` take, for plans of the same platform and Python.

    A note that cannot be written is left: it only makes plans say less.
    """
    from packaging.utils import canonicalize_name

    note = _note(platform, python)
    known = _remembered(note)
    for found in Distribution.discover(path=[str(site)]):
        if size := _recorded_size(found):
            key = f"{canonicalize_name(found.name)} {found.version}"
            known.pop(key, None)  # what was seen last is kept longest
            known[key] = size
    with suppress(OSError):
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, fresh = tempfile.mkstemp(dir=note.parent, prefix=".")
        with os.fdopen(handle, "w") as out:
            json.dump(dict(list(known.items())[-_MAX_REMEMBERED:]), out)
        Path(fresh).replace(note)


def wheel_size(file: Path | IO[bytes]) -> int | None:
    """Return what a wheel takes when it is installed; None when it cannot be read."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return None
    if len(entries) > _MAX_WHEEL_ENTRIES:
        return None
    return _with_bytecode((one.filename, one.file_size) for one in entries)


def runtime_size() -> int | None:
    """Return what the server's own wheel takes when it is installed."""
    return wheel_size(io.BytesIO(wheel_bytes()))


def _note(platform: Platform, python: str) -> Path:
    return paths.cache_dir() / "image" / "sizes" / f"{platform.machine}-{python}.json"


def _remembered(note: Path) -> dict[str, int]:
    try:
        known = json.loads(note.read_bytes())
        return {str(name): int(size) for name, size in known.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _largest_first(package: SizedPackage) -> tuple[bool, int, str]:
    return package.size_bytes is None, -(package.size_bytes or 0), package.name


def _size_of_wheel(package: LockedPackage, tags: frozenset[Tag]) -> int | None:
    for digest in package.hashes:
        folder = paths.cache_dir() / "wheels" / digest.removeprefix("sha256:")
        for file in sorted(folder.glob("*.whl")):
            if _fits(file.name, tags) and (size := wheel_size(file)) is not None:
                return size
    return None


def _fits(file_name: str, tags: frozenset[Tag]) -> bool:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        return not tags.isdisjoint(parse_wheel_filename(file_name)[3])
    except InvalidWheelFilename:
        return False


def _size_of_installed(
    name: str, version: str, places: Sequence[Sequence[str]], tags: frozenset[Tag]
) -> int | None:
    for place in places:
        for found in Distribution.discover(name=name, path=list(place)):
            if found.version == version and not tags.isdisjoint(_tags_of(found)):
                size = _recorded_size(found)
                if size is not None:
                    return size
    return None


def _tags_of(found: Distribution) -> Iterator[Tag]:
    """Give the tags of the wheel that a package was installed from."""
    from packaging.tags import parse_tag

    for line in re.findall(r"^Tag:\s*(\S+)\s*$", found.read_text("WHEEL") or "", re.MULTILINE):
        if line.count("-") == 2:
            yield from parse_tag(line)


def _recorded_size(found: Distribution) -> int | None:
    if _is_editable(found):
        return None
    files = found.files or []
    if not any(file.size for file in files):
        return None
    return _with_bytecode((str(file), _bytes(file)) for file in files)


def _with_bytecode(files: Iterable[tuple[str, int]]) -> int:
    kept = [(name, size) for name, size in files if not name.endswith(".pyc")]
    source = sum(size for name, size in kept if name.endswith(".py"))
    return sum(size for _, size in kept) + round(source * BYTECODE_RATIO)


def _bytes(file: PackagePath) -> int:
    return file.size or 0


def _is_editable(found: Distribution) -> bool:
    text = found.read_text("direct_url.json")
    return bool(text and json.loads(text).get("dir_info", {}).get("editable"))


def _cached_environments() -> list[list[str]]:
    """Return the package folders of the clean environments that were made from locks."""
    found = paths.cache_dir().glob("envs/*/lib/python3.*/site-packages")
    return [[str(folder)] for folder in sorted(found)]
