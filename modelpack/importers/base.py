"""What an importer brings out of another system's format, and what it says of it.

    path ──recognises──► importer ──read──► Foreign: models, requirements, and what was left behind
                                               └── ``convert`` ──► saved models, one bundle each

Importers are listed under the entry-point group ``modelpack.importers``; the built-in ones use the
same door.  An importer reads; it runs nothing of what it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

GROUP = "modelpack.importers"


@dataclass(frozen=True, slots=True)
class Left:
    """Something that a bundle does not say, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignModel:
    """One model that can be carried over."""

    name: str
    """A valid name of ours."""
    version: str | None
    """Its version there, when it is a valid one of ours."""
    framework: str
    """The adapter that loads it."""
    place: Path
    """Its file or folder."""
    requirements: tuple[str, ...] = ()
    """What must be installed to load it, as requirement strings."""
    inputs: tuple[Mapping[str, Any], ...] = ()
    """Tensors that go in, ``{"name", "dtype", "shape"}``, where the format says it."""
    outputs: tuple[Mapping[str, Any], ...] = ()
    """Tensors that come out, as for ``inputs``."""
    labels: Mapping[str, str] = field(default_factory=dict)
    max_batch_size: int | None = None
    """Rows of a batch at most, where the format says it."""
    left: tuple[Left, ...] = ()
    """What of this model was not carried over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """What was found in a file or folder."""

    format: str
    """In words, such as ``Triton model repository``."""
    models: tuple[ForeignModel, ...]
    left: tuple[Left, ...] = ()
    """What belongs to no single model."""


class Importer(Protocol):
    """Reads one format."""

    name: ClassVar[str]
    """Word for ``--from``, such as ``triton``."""

    def recognises(self, path: Path) -> bool:
        """Say whether ``path`` is of this format; looks at names and first bytes only."""

    def read(self, path: Path, scratch: Path) -> Foreign:
        """Read it, unpacking into the empty folder ``scratch``; raises RefusedError."""
