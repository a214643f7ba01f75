"""Says how much the dependencies of an image will take, where that can be known beforehand.

    locked packages ──► RECORD of the same version, installed here or in a cached environment
                    └─► not found: unknown, by name

The files of a wheel are the same wherever it is installed, so the sizes in its RECORD are those in
the image.  Bytecode is added: pip compiles what it installs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import Distribution, PackagePath

from modelpack import paths

BYTECODE_RATIO = 1.4
"""Bytes of bytecode for each byte of Python source (CPython 3.11, 17 packages with numpy: 1.38)."""


def installed_sizes(packages: Mapping[str, str]) -> dict[str, int | None]:
    """Return the bytes that each package takes when installed; None where it is not known.

    ``packages`` maps normalised names to versions.
    """
    places = [sys.path, *_cached_environments()]
    return {name: _size_of(name, version, places) for name, version in packages.items()}


def _size_of(name: str, version: str, places: Sequence[Sequence[str]]) -> int | None:
    for place in places:
        for found in Distribution.discover(name=name, path=list(place)):
            if found.version == version and (size := _recorded_size(found)) is not None:
                return size
    return None


def _recorded_size(found: Distribution) -> int | None:
    if _is_editable(found):
        return None
    files = found.files or []
    if not any(file.size for file in files):
        return None
    kept = [file for file in files if file.suffix != ".pyc"]
    source = sum(file.size or 0 for file in kept if file.suffix == ".py")
    return sum(_bytes(file) for file in kept) + round(source * BYTECODE_RATIO)


def _bytes(file: PackagePath) -> int:
    return file.size or 0


def _is_editable(found: Distribution) -> bool:
    text = found.read_text("direct_url.json")
    return bool(text and json.loads(text).get("dir_info", {}).get("editable"))


def _cached_environments() -> list[list[str]]:
    """Return the package folders of the clean environments that were made from locks."""
    found = paths.cache_dir().glob("envs/*/lib/python3.*/site-packages")
    return [[str(folder)] for folder in sorted(found)]
