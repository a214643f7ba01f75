"""An array on disk, a row for each index of its first axis: ``.npy`` as numpy writes it.

    header ──► dtype, shape, where the data begins ──► any row by its offset, nothing is parsed

A place is the number of a row.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from modelpack.errors import BatchError
from modelpack.offline.block import Block, Position
from modelpack.offline.inputs.base import Asked, Streams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


class NpyReader:
    """The rows of one array, for the one parameter that takes them."""

    def __init__(self, streams: Streams, asked: Asked, position: Position | None) -> None:
        """Begin at the first row, or at the end of a block; raises BatchError."""
        self._name = streams.name
        if asked.keep:
            raise BatchError(f"'{self._name}' has no columns to keep", hint="leave --keep away")
        self._param = asked.hello.only(asked.constants, "rows of an array")
        self._file = streams.open()
        try:
            shape, is_fortran, self._dtype = _header(self._file)
        except (ValueError, EOFError) as cause:
            raise BatchError(f"'{self._name}' is no .npy file: {cause}") from cause
        if self._dtype.kind not in "biuf" or not shape:
            what = f"an array of dtype '{self._dtype}'" if shape else "a single number"
            raise BatchError(
                f"'{self._name}' holds {what}", hint="give rows of numbers, such as float32"
            )
        if is_fortran and len(shape) > 1:
            raise BatchError(
                f"'{self._name}' is in the order of Fortran, its rows are not in one place",
                hint="write it with numpy.save(file, numpy.ascontiguousarray(array))",
            )
        self.total_rows: int | None = shape[0]
        self._rows = shape[0]
        self._shape = shape[1:]
        self._row_bytes = math.prod(self._shape) * self._dtype.itemsize
        self._start = self._file.tell()
        if streams.size_bytes < self._start + self._rows * self._row_bytes:
            raise BatchError(
                f"'{self._name}' is cut off: {streams.size_bytes} bytes are not its {shape[0]} rows"
            )
        self._at: int = position or 0
        self._file.seek(self._start + self._at * self._row_bytes)

    def take(self, rows: int, most_bytes: int) -> Block | None:
        """See ``Reader``."""
        fit = max(1, most_bytes // max(1, self._row_bytes))
        count = min(rows, fit, self._rows - self._at)
        if count <= 0:
            return None
        array: Array = np.empty((count, *self._shape), self._dtype)
        if self._file.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:  # type: ignore[attr-defined]
            raise BatchError(f"'{self._name}' became shorter while it was read")
        if not self._dtype.isnative:
            array = array.astype(self._dtype.newbyteorder("="))
        first, self._at = self._at, self._at + count
        block = Block(first, count, self._at, numbers=list(range(first, self._at)))
        if self._param.is_array:
            block.arrays = {self._param.name: array}
        else:
            block.rows = [{self._param.name: row} for row in array.tolist()]
        return block

    def share(self, position: Position) -> float:
        """See ``Reader``."""
        return float(position) / self._rows if self._rows else 1.0

    def close(self) -> None:
        """See ``Reader``."""
        self._file.close()


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header; raises ValueError."""
    version = npy.read_magic(file)
    if version == (1, 0):
        return npy.read_array_header_1_0(file)
    if version == (2, 0):
        return npy.read_array_header_2_0(file)
    raise ValueError(f"version {version[0]}.{version[1]} is not known")
