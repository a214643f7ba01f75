"""Reads packed values; see ``packing`` for what they look like.

The bytes may come from a process that lies: every length is compared with what is left before it is
believed, every array with the bytes that it claims.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from modelpack.server.runners.process.codes import (
    ABSENT,
    ALIGNMENT,
    DTYPE_CODE,
    F64,
    I64,
    MAX_AXES,
    MAX_DEPTH,
    SHAPES,
    SPAN,
    T_ABSENT,
    T_ARRAY,
    T_BIG,
    T_BYTES,
    T_DICT,
    T_FALSE,
    T_FLOAT,
    T_INT,
    T_JSON,
    T_LIST,
    T_LONG_BYTES,
    T_NONE,
    T_OBJECTS,
    T_SCALAR,
    T_TEXT,
    T_TRUE,
    T_TUPLE,
    U32,
    PackingError,
    aligned,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def unpack(source: memoryview | bytearray | Array) -> Any:
    """Return the value; arrays are views of ``source`` and keep it alive.  Raises PackingError."""
    root: Array = source if isinstance(source, np.ndarray) else np.frombuffer(source, np.uint8)
    try:
        return _Reader(root).read()
    except PackingError:
        raise
    except (ValueError, struct.error, TypeError, OverflowError, MemoryError) as cause:
        raise PackingError(f"not a value: {type(cause).__name__}: {cause}") from cause


class _Reader:
    """Reads one value; every length is compared with what is left before it is believed."""

    def __init__(self, root: Array) -> None:
        size = len(root)
        if size < U32.size:
            raise PackingError("too short")
        view = root.data
        (length,) = U32.unpack_from(view)
        end = U32.size + length
        if end > size:
            raise PackingError("it ends inside its meta data")
        self._root = root
        self._meta = bytes(view[U32.size : end])
        self._blobs = aligned(end)
        self._at = 0

    def read(self) -> Any:
        value = self._value(0)
        if self._at != len(self._meta):
            raise PackingError("there is more than one value")
        return value

    def _take(self, count: int) -> int:
        """Step over ``count`` bytes; returns where they begin."""
        at = self._at
        if count > len(self._meta) - at:
            raise PackingError("it ends inside a value")
        self._at = at + count
        return at

    def _u32(self) -> int:
        number: int = U32.unpack_from(self._meta, self._take(4))[0]
        return number

    def _data(self) -> bytes:
        count = self._u32()
        at = self._take(count)
        return self._meta[at : at + count]

    def _value(self, depth: int) -> Any:
        if depth > MAX_DEPTH + 1:
            raise PackingError(f"nested deeper than {MAX_DEPTH}")
        tag = self._meta[self._take(1)]
        if tag == T_ARRAY:
            return self._array()
        if tag == T_DICT:
            return dict(self._pairs(depth))
        if tag in (T_LIST, T_TUPLE):
            values = [self._value(depth + 1) for _ in range(self._count(1))]
            return values if tag == T_LIST else tuple(values)
        read = _READERS.get(tag)
        if read is None:
            raise PackingError(f"no value begins with {tag}")
        return read(self)

    def _count(self, least: int) -> int:
        """Read how many values follow; each takes ``least`` bytes or more."""
        count = self._u32()
        if count * least > len(self._meta) - self._at:
            raise PackingError("more values than there are bytes")
        return count

    def _pairs(self, depth: int) -> Iterator[tuple[Any, Any]]:
        for _ in range(self._count(2)):
            key = self._value(depth + 1)
            if isinstance(key, list | dict | np.ndarray):
                raise PackingError("no key of a mapping")
            yield key, self._value(depth + 1)

    def _big(self) -> int:
        return int.from_bytes(self._data(), "little", signed=True)

    def _long_bytes(self) -> bytes:
        offset, size = SPAN.unpack_from(self._meta, self._take(16))
        return self._span(offset, size).tobytes()

    def _span(self, offset: int, size: int) -> Array:
        start = self._blobs + offset
        if offset % ALIGNMENT or start + size > len(self._root):
            raise PackingError("a blob lies outside")
        return self._root[start : start + size]

    def _shape(self) -> tuple[int, ...]:
        axes = self._meta[self._take(1)]
        if axes > MAX_AXES:
            raise PackingError(f"{axes} axes")
        return SHAPES[axes].unpack_from(self._meta, self._take(8 * axes))

    def _array(self) -> Array:
        shape = self._shape()
        length = self._meta[self._take(1)]
        at = self._take(length)
        dtype = _dtype(self._meta[at : at + length])
        offset, size = SPAN.unpack_from(self._meta, self._take(16))
        if math.prod(shape) * dtype.itemsize != size:
            raise PackingError(f"shape {list(shape)} of {dtype} does not have {size} bytes")
        return self._span(offset, size).view(dtype).reshape(shape)

    def _objects(self) -> Array:
        shape = self._shape()
        if self._meta[self._take(1)] not in (T_LIST, T_JSON):
            raise PackingError("no list of elements")
        self._at -= 1
        values = self._value(MAX_DEPTH)
        if type(values) is not list or len(values) != math.prod(shape):
            raise PackingError(f"shape {list(shape)} has another number of elements")
        return np.fromiter(values, object, len(values)).reshape(shape)

    def _scalar(self) -> Any:
        if self._meta[self._take(1)] != T_ARRAY:
            raise PackingError("no scalar")
        array = self._array()
        if array.ndim:
            raise PackingError("a scalar with axes")
        return array[()]


_READERS: dict[int, Callable[[_Reader], Any]] = {
    T_NONE: lambda _: None,
    T_TRUE: lambda _: True,
    T_FALSE: lambda _: False,
    T_ABSENT: lambda _: ABSENT,
    T_INT: lambda r: I64.unpack_from(r._meta, r._take(8))[0],
    T_FLOAT: lambda r: F64.unpack_from(r._meta, r._take(8))[0],
    T_TEXT: lambda r: r._data().decode("utf-8", "surrogatepass"),
    T_BYTES: lambda r: r._data(),
    T_JSON: lambda r: orjson.loads(r._data()),
    T_BIG: _Reader._big,
    T_LONG_BYTES: _Reader._long_bytes,
    T_OBJECTS: _Reader._objects,
    T_SCALAR: _Reader._scalar,
}

_KNOWN = {
    np.dtype(name).str.encode(): np.dtype(name)
    for name in ("bool", "f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
}


def _dtype(code: bytes) -> np.dtype[Any]:
    """Return the dtype of a code such as ``<f4``; only what holds no objects has one."""
    if (known := _KNOWN.get(code)) is not None:
        return known
    if DTYPE_CODE.fullmatch(code) is None:
        raise PackingError(f"no dtype: {code[:20]!r}")
    dtype = np.dtype(code.decode())
    if not dtype.itemsize:
        raise PackingError("a dtype without bytes")
    return dtype
