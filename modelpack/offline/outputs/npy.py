"""Answers as one array: ``.npy``, the rows that have an answer in the order of the input.

It has no place for the numbers of rows: which of them have no answer stands in the dead-letter file.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from modelpack.errors import BatchError
from modelpack.offline.outputs.base import Part, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HINT = "write .parquet or .jsonl"


class NpyWriter:
    """One array along its first axis."""

    def __init__(self, kept: tuple[str, ...] = ()) -> None:
        """``kept`` are columns of the input, for which an array has no place."""
        self._kept = kept
        self._arrays: list[NDArray[Any]] = []
        self.size_bytes = 0

    def add(self, table: Table) -> None:
        """See ``Writer``."""
        found = {name: one for name, one in table.columns.items() if name not in self._kept}
        if not table.numbers:
            return
        if len(found) != 1:
            raise BatchError(f".npy holds one array, the answers have {len(found)}", hint=_HINT)
        (array,) = (np.asarray(one) for one in found.values())
        if array.dtype.kind not in "biuf":
            raise BatchError("the answers are no array of numbers", hint=_HINT)
        self._arrays.append(array)
        self.size_bytes += array.nbytes

    def finish(self) -> bytes:
        """See ``Writer``."""
        arrays, self._arrays, self.size_bytes = self._arrays, [], 0
        if not arrays:
            return b""
        if len({(one.shape[1:], one.dtype) for one in arrays}) > 1:
            raise BatchError("the answers differ in shape or dtype from row to row", hint=_HINT)
        file = io.BytesIO()
        np.save(file, np.ascontiguousarray(np.concatenate(arrays)), allow_pickle=False)
        return file.getvalue()

    def assembled(self, parts: Sequence[Part]) -> Iterator[bytes]:
        """See ``Writer``.  The length of the whole is known before its first byte."""
        filled = [part for part in parts if part.rows]
        dtype, shape = np.dtype("float32"), tuple[int, ...]()
        if filled:
            dtype, shape, _ = _opened(filled[0])
        rows = sum(part.rows for part in filled)
        head = io.BytesIO()
        described = {
            "descr": npy.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": (rows, *shape),
        }
        npy.write_array_header_1_0(head, described)
        yield head.getvalue()
        for part in filled:
            *kind, data = _opened(part)
            if kind != [dtype, shape]:
                raise BatchError(
                    "the answers differ in shape or dtype from part to part", hint=_HINT
                )
            yield from data


def _opened(part: Part) -> tuple[np.dtype[Any], tuple[int, ...], Iterator[bytes]]:
    """Return the dtype and the shape of a row, as the header of a part says, and its data."""
    chunks = part.open()
    first = next(chunks, b"")
    file = io.BytesIO(first)
    npy.read_magic(file)
    shape, _, dtype = npy.read_array_header_1_0(file)

    def data() -> Iterator[bytes]:
        yield first[file.tell() :]
        yield from chunks

    return dtype, shape[1:], data()
