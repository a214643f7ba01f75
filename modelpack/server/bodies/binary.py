"""Arrays as bytes: what the sender says of them has to be true before anything is made of them.

    application/octet-stream + Modelpack-Dtype, Modelpack-Shape ──told──► Told ──┐
    application/x-npy, its own header ──npy.told──► Told ────────────────────────┤
    (any other form that names dtype and shape) ─────────────────────────────────┴─► to_array

``Told`` is what is claimed; ``to_array`` compares it with the api and with the bytes that came.
What always holds (threat model S17): the dtype is that of the api, no other is cast; the shape fits
the api and its product times the size of one element is exactly the number of bytes; all of it is
checked with Python integers, which do not overflow, before an array is made.

The array is a copy of the bytes, not a view: a view of what was received cannot be written to, and
``x -= 1`` would work in a batch of two and fail in a batch of one.  10 MiB are copied in 0.2 ms.
NaN and infinities are numbers here, and often mean a missing value; an api that is declared with
``nan="error"`` refuses them.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelpack.errors import InputError
from modelpack.sdk.tensor import DTYPES, TensorValue
from modelpack.sdk.values import shorten

if TYPE_CHECKING:
    from modelpack.sdk.tensor import Array

DTYPE = b"modelpack-dtype"
SHAPE = b"modelpack-shape"

MAX_AXES = 32
"""Most axes of an array that comes as bytes; numpy 1 has no more."""

BINARY_DTYPES = tuple(name for name in DTYPES if name != "str")
"""Dtypes that have a form of bytes."""

_SHAPE = re.compile(r"\s*(?:\d{1,18}\s*(?:,\s*\d{1,18}\s*){0,31})?")


@dataclass(frozen=True, slots=True)
class Told:
    """What the sender says of an array's bytes."""

    dtype: str
    """Its name, such as ``float32``; anything at all if the sender lies."""
    shape: tuple[int, ...]
    is_fortran: bool = False
    """True when the first axis varies fastest."""
    is_swapped: bool = False
    """True when the bytes are big-endian."""


def told(fields: Mapping[bytes, bytes], value: TensorValue, at: str) -> Told:
    """Return what the header fields of a request say; raises InputError."""
    dtype = fields.get(DTYPE)
    if dtype is None:
        raise InputError.at(at, f"the header Modelpack-Dtype: {value.spec.dtype}", "none")
    shape = fields.get(SHAPE)
    if shape is None:
        raise InputError.at(at, "the header Modelpack-Shape, such as 2,784", "none")
    text = shape.decode("latin-1")
    if not _SHAPE.fullmatch(text):
        expected = f"a Modelpack-Shape of up to {MAX_AXES} lengths, such as 2,784"
        raise InputError.at(at, expected, repr(shorten(text)))
    name = dtype.decode("latin-1").strip()
    return Told(name, tuple(int(length) for length in text.split(",") if length.strip()))


def shape_text(shape: Sequence[int]) -> bytes:
    """Return a shape as it stands in a header."""
    return ",".join(map(str, shape)).encode()


Make = Callable[["bytes | memoryview"], "Array"]
"""Turns bytes into an array; raises InputError."""


def maker(value: TensorValue, at: str, claim: Told, *, refuses_nan: bool = False) -> Make:
    """Return what makes an array for one parameter of bytes about which that is claimed.

    ``at`` is the JSON pointer for errors.  Raises InputError when the claim does not fit the
    parameter; what is returned raises it when the bytes do not fit the claim.
    """
    wanted = value.spec.dtype
    if claim.dtype != wanted or wanted not in BINARY_DTYPES:
        raise InputError.at(at, f"dtype {wanted}", f"dtype {shorten(claim.dtype)}")
    shape = claim.shape
    if len(shape) > MAX_AXES or any(length < 0 for length in shape):
        raise InputError.at(at, f"a shape of up to {MAX_AXES} axes", _list(shape))
    dtype: np.dtype[Any] = np.dtype(wanted)
    if math.prod(length or 1 for length in shape) * dtype.itemsize > sys.maxsize:
        # Empty by one axis and too long by the others: numpy makes no such array.
        raise InputError.at(at, "a shape that fits into memory", _list(shape))
    if not shape and value.spec.shape is None:
        raise InputError.at(at, value.expectation, "shape []")
    if (trouble := value.check_shape(shape)) is not None:
        raise InputError.at(at, value.expectation, trouble)
    sent: np.dtype[Any] = dtype.newbyteorder(">" if claim.is_swapped else "<")
    size = math.prod(shape) * dtype.itemsize
    is_plain = sent == dtype and not claim.is_fortran
    check = _checker(wanted, at, refuses_nan=refuses_nan)
    new = np.ndarray

    def make(data: bytes | memoryview) -> Array:
        if len(data) != size:
            expected = f"{size} bytes for {wanted}{_list(shape)}"
            raise InputError.at(at, expected, f"{len(data)} bytes")
        if is_plain:
            array: Array = new(shape, dtype, bytearray(data))
        else:
            held: Array = new(shape, sent, bytearray(data), order="F" if claim.is_fortran else "C")
            array = np.array(held, dtype, order="C")
        if check is not None:
            check(array)
        return array

    return make


def to_array(
    value: TensorValue,
    at: str,
    claim: Told,
    data: bytes | memoryview,
    *,
    refuses_nan: bool = False,
) -> Array:
    """Return the array that those bytes are; raises InputError when something does not fit."""
    return maker(value, at, claim, refuses_nan=refuses_nan)(data)


def _checker(dtype: str, at: str, *, refuses_nan: bool) -> Callable[[Array], None] | None:
    """Return what looks at the elements, if some bytes are no value or an unwanted one."""
    if dtype == "bool":
        return lambda array: _refuse_where(
            array.view(np.uint8) > 1, array.view(np.uint8), at, _BOOL
        )
    if refuses_nan and dtype.startswith("f"):
        return lambda array: _refuse_where(~np.isfinite(array), array, at, f"a finite {dtype}")
    return None


_BOOL = "0 or 1 (bool)"


def _refuse_where(is_bad: Array, array: Array, at: str, expected: str) -> None:
    if is_bad.any():
        first = np.unravel_index(int(is_bad.argmax()), array.shape)
        pointer = "".join(f"/{index}" for index in first)
        raise InputError.at(at + pointer, expected, str(array[first]))


def _list(shape: Sequence[int]) -> str:
    return shorten(str(list(shape)), 80)
