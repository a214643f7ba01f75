"""What an adapter for a framework does: four methods, found by entry point.

    model ──save──► files in a folder + Saved ──► model.json ──► the store
    folder ──load──► the model as a service calls it

    may have besides
    files ──finds_code──► do just these files carry code?        (where the form alone does not say)
    model, arrays ──predict──► arrays                            what copies of a model are compared by

Adapters are listed under the entry-point group ``modelpack.frameworks``; the built-in ones use the
same door.  An adapter imports its framework inside its methods only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

GROUP = "modelpack.frameworks"

Arrays = Mapping[str, Any]
"""Numpy arrays by the name of the input or output that they belong to."""


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
        """Write the model into the empty ``folder``.

        Keyword arguments that an adapter has besides are the options of ``models.save``.
        """

    def load(self, folder: Path) -> Any:
        """Return the model that lies in ``folder``."""


@runtime_checkable
class FindsCode(Protocol):
    """An adapter with several forms, of which only some carry code."""

    def finds_code(self, folder: Path) -> bool:
        """Say whether loading these files runs code that they bring; loads nothing."""


@runtime_checkable
class Predicts(Protocol):
    """An adapter whose models can be asked without a service around them."""

    def predict(self, model: Any, inputs: Arrays) -> Arrays:
        """Return what the model, saved or loaded, answers to arrays by name."""


def tensor(name: str, dtype: object, shape: tuple[int | None, ...] | list[int | None]) -> Arrays:
    """Return one entry of a signature; ``dtype`` is a numpy dtype or its name."""
    return {"name": name, "dtype": dtype_name(dtype), "shape": list(shape)}


def dtype_name(dtype: object) -> str:
    """Return the word for a dtype: numpy's own; ``str`` for text and for anything."""
    text = str(dtype)
    return "str" if text.startswith(("<U", ">U", "|S", "object", "StringDType")) else text


def signature_of(arrays: Arrays) -> tuple[Arrays, ...]:
    """Return the signature of arrays whose first axis is the batch."""
    return tuple(
        tensor(name, array.dtype, [None, *array.shape[1:]] if array.ndim else [])
        for name, array in arrays.items()
    )
