"""What an adapter for a framework does: four methods, found by entry point.

    model ──save──► files in a folder + Saved ──► model.json ──► the store
    folder ──load──► the model as a service calls it

Adapters are listed under the entry-point group ``modelpack.frameworks``; the built-in ones use the
same door.  An adapter imports its framework inside its methods only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

GROUP = "modelpack.frameworks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What ``save`` says of the files it wrote."""

    requirements: tuple[str, ...]
    """What must be installed to load them, as requirement strings."""

    inputs: tuple[Mapping[str, Any], ...] = ()
    """Tensors that go in: ``{"name", "dtype", "shape"}``; an axis of any length is null."""

    outputs: tuple[Mapping[str, Any], ...] = ()
    """Tensors that come out, as for ``inputs``."""


class Framework(Protocol):
    """One kind of model."""

    name: ClassVar[str]
    """Word that ``model.json`` keeps, such as ``onnx``."""

    carries_code: ClassVar[bool]
    """True when loading runs code that the files bring."""

    def recognises(self, model: object) -> bool:
        """Say whether ``model`` is one that ``save`` takes; imports nothing heavy."""

    def save(self, model: Any, folder: Path) -> Saved:
        """Write the model into the empty ``folder``."""

    def load(self, folder: Path) -> Any:
        """Return the model that lies in ``folder``."""
