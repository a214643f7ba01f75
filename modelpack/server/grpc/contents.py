"""Elements of tensors as they stand in messages, and as arrays.

    raw_input_contents        ──from_raw──────► array (a view of the bytes), or bytes objects
    InferTensorContents       ──from_contents─► array
    Named, a tensor of an answer ──to_raw──► bytes,  ──fill──► InferTensorContents

Raw elements are little-endian, row by row; BOOL is a byte of 0 or 1, an element of BYTES has its
length before it in four bytes (Open Inference Protocol, binary tensor data extension).  What a shape
asks for is worked out in Python's own numbers and compared with what is there before anything is
allocated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from struct import Struct
from typing import TYPE_CHECKING

import numpy as np

from modelpack.server.faces.tensors import DTYPES, Named, Shape
from modelpack.server.grpc.arguments import misfit
from modelpack.server.grpc.messages import Message

if TYPE_CHECKING:
    from modelpack.sdk.tensor import Array

_LITTLE = {name: np.dtype(dtype).newbyteorder("<") for name, dtype in DTYPES.items()}
_MOST_AXES = 32
_MOST_ELEMENTS = 1 << 40
_LENGTH = Struct("<I")

FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
"""Field of InferTensorContents by datatype; FP16 has none."""


def shape_from(at: str, dims: Iterable[int]) -> Shape:
    """Return a shape whose axes can be; raises InputError."""
    shape = tuple(dims)
    if len(shape) > _MOST_AXES or any(dim < 0 for dim in shape):
        raise misfit(at, f"a shape of at most {_MOST_AXES} axes, from 0 on", f"{list(shape)[:40]}")
    if math.prod(dim or 1 for dim in shape) > _MOST_ELEMENTS:  # also of a shape with a 0 in it
        raise misfit(at, f"a shape of at most {_MOST_ELEMENTS} elements", f"{list(shape)}")
    return shape


def from_raw(at: str, datatype: str, shape: Shape, raw: bytes) -> Array:
    """Return the elements in raw bytes, for numbers without a copy; raises InputError."""
    count = math.prod(shape)
    if datatype == "BYTES":
        return objects(split(at, raw, count), shape)
    dtype = _LITTLE.get(datatype)
    if dtype is None:
        raise unknown(at, datatype)
    if len(raw) != count * dtype.itemsize:
        expected = f"{count * dtype.itemsize} bytes for {datatype} {list(shape)}"
        raise misfit(at, expected, f"{len(raw)} bytes")
    if datatype == "BOOL" and (others := raw.strip(b"\0\1")):
        raise misfit(at, "bytes of 0 or 1 for BOOL", str(others[0]))
    return np.frombuffer(raw, dtype).reshape(shape)


def from_contents(at: str, datatype: str, shape: Shape, contents: Message) -> Array:
    """Return the elements in the field of a datatype; raises InputError."""
    field = FIELDS.get(datatype)
    if field is None:
        if datatype in _LITTLE:
            raise misfit(at, f"{datatype} in raw_input_contents", "contents")
        raise unknown(at, datatype)
    values = getattr(contents, field)
    count = math.prod(shape)
    if len(values) != count:
        got = f"{len(values)} in {field}"
        raise misfit(at, f"{count} elements for {datatype} {list(shape)}", got)
    if datatype == "BYTES":
        return objects(list(values), shape)
    dtype = np.dtype(DTYPES[datatype])
    if dtype.itemsize < _ITEM_BYTES.get(field, 0):
        return _narrowed(at, datatype, values, dtype).reshape(shape)
    return np.fromiter(values, dtype, count).reshape(shape)


_ITEM_BYTES = {"int_contents": 4, "uint_contents": 4}


def _narrowed(at: str, datatype: str, values: Iterable[int], dtype: np.dtype[np.generic]) -> Array:
    """Return numbers that came in a wider type; raises InputError when one does not fit."""
    wide = np.fromiter(values, np.int64)
    narrow: Array = wide.astype(dtype)
    if (narrow != wide).any():
        worst = int(wide[narrow != wide][0])
        raise misfit(at, f"elements of {datatype}", str(worst))
    return narrow


def split(at: str, raw: bytes, count: int) -> list[bytes]:
    """Return the elements of a BYTES tensor; raises InputError."""
    if count * 4 > len(raw):
        raise misfit(at, f"{count} elements with their lengths", f"{len(raw)} bytes")
    elements: list[bytes] = []
    start, size = 0, len(raw)
    while start < size and len(elements) < count:
        if start + 4 > size:
            break
        (length,) = _LENGTH.unpack_from(raw, start)
        start += 4 + length
        elements.append(raw[start - length : start])
    if start != size or len(elements) != count:
        raise misfit(at, f"{count} elements with their lengths", f"{size} bytes that are not")
    return elements


def objects(elements: list[bytes], shape: Shape) -> Array:
    """Return an array of ``bytes``."""
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array.reshape(shape)


def to_raw(one: Named) -> bytes:
    """Return the elements of a tensor of an answer as bytes."""
    if isinstance(one.data, list):
        return b"".join([_LENGTH.pack(len(item)) + item for item in one.data])
    little = one.data.astype(one.data.dtype.newbyteorder("<"), copy=False)
    return little.tobytes()


def fill(one: Named, contents: Message) -> None:
    """Put the elements of a tensor of an answer into the field of its datatype."""
    values = one.data if isinstance(one.data, list) else one.data.ravel().tolist()
    getattr(contents, FIELDS[one.datatype]).extend(values)


def unknown(at: str, datatype: str) -> Exception:
    """Return the error for a datatype that there is not."""
    known = ", ".join((*DTYPES, "BYTES"))
    return misfit(at, f"one of the datatypes {known}", f"'{datatype[:40]}'")
