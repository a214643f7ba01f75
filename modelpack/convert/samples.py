"""What a model and its conversion are both asked.

FILE.npy                          one array, for a model with one input
FILE.npz                          arrays by name
FILE.jsonl                        one row a line: a list of numbers, or {"input": value}
none ──signature of the model──►  random rows, the same each time
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelpack.errors import NotFoundError, UsageError

_FREE_AXIS = 8
"""Length of an axis of any length, beside the first."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Rows by the name of the input, and where they are from."""

    arrays: Mapping[str, Any]
    source: str
    """``random``, or ``sha256:HEX`` of the file."""

    @property
    def rows(self) -> int:
        """How many rows each input has."""
        return len(next(iter(self.arrays.values())))


def read_samples(file: Path, inputs: Sequence[Mapping[str, Any]]) -> Samples:
    """Read rows for a model with these inputs; raises NotFoundError and UsageError."""
    import numpy

    try:
        data = file.read_bytes()
    except OSError as cause:
        raise NotFoundError(f"cannot read the samples '{file}': {cause.strerror}") from cause
    names = [str(one["name"]) for one in inputs] or ["x"]
    try:
        match file.suffix:
            case ".npy":
                found = {names[0]: numpy.load(file, allow_pickle=False)}
            case ".npz":
                with numpy.load(file, allow_pickle=False) as archive:
                    found = dict(archive)
            case ".jsonl":
                found = _by_name([json.loads(line) for line in data.splitlines() if line], names)
            case _:
                raise UsageError(
                    f"the samples '{file.name}' are of no kind that is known",
                    hint="give a file that ends in .npy, .npz or .jsonl",
                )
        arrays = _fitting(found, inputs)
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as cause:
        raise UsageError(
            f"the samples '{file.name}' do not fit the model: {str(cause).splitlines()[0]}",
            hint=f"the model takes {', '.join(names)}",
        ) from cause
    return Samples(arrays, "sha256:" + hashlib.sha256(data).hexdigest())


def random_samples(inputs: Sequence[Mapping[str, Any]], rows: int) -> Samples:
    """Return ``rows`` random rows within a signature; raises UsageError where there is none."""
    import numpy

    if not inputs:
        raise UsageError(
            "the model does not say what goes in",
            hint="give rows with --samples FILE, or save it again with sample=",
        )
    random = numpy.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for one in inputs:
        axes = list(one["shape"])
        # Only a first axis of any length is the batch.
        shape = [rows if i == 0 else _FREE_AXIS if n is None else n for i, n in enumerate(axes)]
        dtype = str(one["dtype"])
        if dtype.startswith("float"):
            arrays[one["name"]] = (random.standard_normal(shape) * 3).astype(dtype)
        elif dtype == "bool":
            arrays[one["name"]] = random.integers(0, 2, shape).astype(bool)
        elif dtype.startswith(("int", "uint")):
            arrays[one["name"]] = random.integers(0, 8, shape).astype(dtype)
        else:
            raise UsageError(
                f"the input '{one['name']}' is text, which cannot be made up",
                hint="give rows with --samples FILE",
            )
    return Samples(arrays, "random")


def _by_name(lines: list[Any], names: list[str]) -> dict[str, Any]:
    import numpy

    if not lines:
        raise ValueError("there is no row in them")
    if isinstance(lines[0], dict):
        return {name: numpy.array([line[name] for line in lines]) for name in lines[0]}
    return {names[0]: numpy.array(lines)}


def _fitting(found: dict[str, Any], inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the arrays in the order and the dtypes of the inputs; raises ValueError."""
    if not inputs:
        return found
    lengths = {len(array) for array in found.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError("the inputs have different numbers of rows, or none")
    arrays: dict[str, Any] = {}
    for one in inputs:
        name, shape = str(one["name"]), list(one["shape"])
        array = found[name] if one["dtype"] == "str" else found[name].astype(str(one["dtype"]))
        fits = len(array.shape) == len(shape) and all(
            want is None or want == is_ for want, is_ in zip(shape, array.shape, strict=True)
        )
        if not fits:
            raise ValueError(f"'{name}' has the shape {list(array.shape)}, the model takes {shape}")
        arrays[name] = array
    return arrays
