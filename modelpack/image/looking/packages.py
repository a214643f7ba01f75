"""Python packages and models of an image, with the bytes that each of them takes.

    Tree + RECORDs ──► Package: name, version, bytes, where
    Tree below bundle/models ──► bytes of each model

A package owns the files that its RECORD lists, as far as they are there, and the bytecode of its
modules, whichever layer that is in.  One without a RECORD (as Debian's) has no size.

RECORD: the binary distribution format, https://packaging.python.org/specifications/
recording-installed-packages/.
"""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelpack.image.looking.contents import LayerContents
from modelpack.image.looking.tree import Tree
from modelpack.image.reading import Kind

MODELS = "bundle/models"
_FOLDER = re.compile(r"(?P<name>[^/]+?)-(?P<version>[^/-]+)\.dist-info")
_BYTECODE = re.compile(r"(?P<stem>.+?)\.[a-z]+-\d+(?:\.opt-\d)?\.pyc")


@dataclass(frozen=True, slots=True)
class Package:
    """One installed distribution."""

    name: str
    """As tools compare it: lower case, with ``-``."""
    version: str
    size_bytes: int | None
    """Its files and their bytecode; None: it does not say which files it has."""
    place: str
    """The folder that it is in, such as ``bundle/venv/lib/python3.11/site-packages``."""

    @property
    def is_bundled(self) -> bool:
        """True when it is one of the bundle's, not of the base."""
        return self.place.startswith("bundle/")


def packages_of(tree: Tree, layers: Sequence[LayerContents]) -> list[Package]:
    """Return the packages, the largest first."""
    owners: dict[str, int] = {}
    found: list[tuple[str, str, str]] = []
    sizes: list[int | None] = []
    for path in tree.files:
        folder, name = posixpath.split(path)
        match = _FOLDER.fullmatch(name)
        if match is None or not folder.endswith("-packages"):
            continue
        found.append((_canonical(match["name"]), match["version"], folder))
        record = f"{path}/RECORD"
        placed = tree.files.get(record)
        text = layers[placed.layer].texts.get(record) if placed is not None else None
        sizes.append(None if text is None else 0)
        for file in _listed(text or b"", folder):
            owners.setdefault(file, len(found) - 1)
    for path, placed in tree.files.items():
        owner = owners.get(path, owners.get(_source(path), -1))
        if owner >= 0 and placed.facts.kind is Kind.FILE:
            sizes[owner] = (sizes[owner] or 0) + placed.facts.size
    made = [Package(*facts[:2], size, facts[2]) for facts, size in zip(found, sizes, strict=True)]
    return sorted(made, key=lambda one: (-(one.size_bytes or 0), one.name))


def models_of(tree: Tree) -> dict[str, int]:
    """Return the bytes of each model of the bundle, by name."""
    found: dict[str, int] = {}
    for path, placed in tree.below(MODELS):
        name = path.removeprefix(f"{MODELS}/").partition("/")[0]
        found[name] = found.get(name, 0) + placed.facts.size
    return found


def _listed(record: bytes, folder: str) -> Iterator[str]:
    """Give the files of a RECORD by path, as far as they are in its own environment."""
    prefix = posixpath.normpath(posixpath.join(folder, "../../.."))  # lib/pythonX.Y/site-packages
    rows = csv.reader(record.decode(errors="replace").splitlines())
    try:
        for row in rows:
            if row and row[0]:
                path = posixpath.normpath(posixpath.join(folder, row[0]))
                if path.startswith(f"{prefix}/"):
                    yield path
    except csv.Error:
        return


def _source(path: str) -> str:
    """Return the module that a file is the bytecode of; the path itself when it is none."""
    folder, name = posixpath.split(path)
    match = _BYTECODE.fullmatch(name)
    if match is None or posixpath.basename(folder) != "__pycache__":
        return path
    return posixpath.join(posixpath.dirname(folder), f"{match['stem']}.py")


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
