"""Plain values as bytes and back, between processes that need not trust each other.

    value ──pack──► Packed(meta, blobs) ──write──► one run of bytes, inline or in shared memory
    bytes ──unpack──► value                        arrays are views of the bytes, nothing is copied

    0            4        4 + length     64                                            size
    ├── length ──┼── meta ──┤ … padding … ├── blob ──┤ … ├── blob ──┤ … ├── blob ───────┤

``meta`` is the value, a tag and its content, one after the other; what is large stands behind it,
each blob at a multiple of 64 bytes.  Values are None, bool, int of any size, float, str, bytes,
list, tuple, dict, numpy arrays (numbers, times, text) and numpy scalars, and come back as the same
types.  A tree that JSON holds exactly is one JSON text.

What always holds: nothing that is read is ever run, imported or unpickled; whatever does not add
up (a length, a dtype, a shape, nesting beyond ``MAX_DEPTH``) is a ``PackingError``, found before
anything is allocated for it.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

MAX_DEPTH = 100
"""Deepest nesting of lists, tuples and mappings."""

MAX_AXES = 32
"""Most axes of an array."""

ALIGNMENT = 64
"""Where blobs begin: at multiples of this many bytes."""

LONG_BYTES = 1024
"""Bytes longer than this stand among the blobs."""


class PackingError(ValueError):
    """The bytes are not a value, or the value has no bytes."""


class Absent:
    """Stands for a parameter that the request left out; there is one."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()

(
    _NONE, _TRUE, _FALSE, _INT, _BIG, _FLOAT, _TEXT, _BYTES, _LONG_BYTES, _LIST, _TUPLE, _DICT,
    _JSON, _ARRAY, _OBJECTS, _SCALAR, _ABSENT,
) = range(17)  # fmt: skip

_U32 = struct.Struct("<I")
_TAG_U32 = struct.Struct("<BI")
_TAG_I64 = struct.Struct("<Bq")
_TAG_F64 = struct.Struct("<Bd")
_TAG_SPAN = struct.Struct("<BQQ")
_I64 = struct.Struct("<q")
_F64 = struct.Struct("<d")
_SPAN = struct.Struct("<QQ")
_SHAPES = [struct.Struct(f"<{axes}Q") for axes in range(MAX_AXES + 1)]

_DTYPE = re.compile(
    rb"[<>|=](?:[biufcUS]\d{1,9}|[mM]8(?:\[\d{0,9}(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)"
)
# What orjson takes but does not give back, or does not take: not worth a try.
_NO_JSON = frozenset({np.ndarray, bytes, tuple, bytearray, memoryview})


class Packed:
    """A value as bytes that are not in one place yet."""

    __slots__ = ("_blobs", "_meta", "_start", "size")

    def __init__(self, meta: bytearray, blobs: list[tuple[int, Array]], blob_bytes: int) -> None:
        self._meta = meta
        self._blobs = blobs
        end = _U32.size + len(meta)
        self._start = _aligned(end) if blobs else end
        self.size = self._start + blob_bytes
        """Bytes that ``write`` writes."""

    def write(self, place: memoryview | bytearray, at: int = 0) -> None:
        """Write all of it into a buffer, beginning at ``at``."""
        _U32.pack_into(place, at, len(self._meta))
        place[at + _U32.size : at + _U32.size + len(self._meta)] = self._meta
        start = at + self._start
        for offset, array in self._blobs:
            view = np.ndarray(array.shape, array.dtype, place, start + offset)
            view[...] = array


def pack(value: Any, *, plain: Callable[[Any], Any] | None = None) -> Packed:
    """Return the value as bytes; raises PackingError.

    ``plain`` turns what is no plain value into one that is; it may raise TypeError.
    """
    writer = _Writer(plain)
    try:
        writer.put(value, 0)
    except (struct.error, OverflowError, UnicodeError) as cause:
        raise PackingError(f"cannot be sent: {cause}") from cause
    return Packed(writer.meta, writer.blobs, writer.end)


def unpack(source: memoryview | bytearray | Array) -> Any:
    """Return the value; arrays are views of ``source`` and keep it alive.  Raises PackingError."""
    root: Array = source if isinstance(source, np.ndarray) else np.frombuffer(source, np.uint8)
    try:
        return _Reader(root).read()
    except PackingError:
        raise
    except (ValueError, struct.error, TypeError, OverflowError, MemoryError) as cause:
        raise PackingError(f"not a value: {type(cause).__name__}: {cause}") from cause


def _aligned(at: int) -> int:
    return (at + ALIGNMENT - 1) & -ALIGNMENT


class _Writer:
    """Collects the bytes of one value."""

    def __init__(self, plain: Callable[[Any], Any] | None) -> None:
        self.meta = bytearray()
        self.blobs: list[tuple[int, Array]] = []
        self.end = 0
        self._plain = plain

    def put(self, value: Any, depth: int, *, may_be_json: bool = True) -> None:
        kind = type(value)
        if kind is np.ndarray:
            self._array(value, depth)
        elif kind is str:
            text = value.encode("utf-8", "surrogatepass")
            self.meta += _TAG_U32.pack(_TEXT, len(text)) + text
        elif kind is dict or kind is list:
            if not (may_be_json and self._json(value)):
                self._container(value, depth, may_be_json=False)
        elif kind is float:
            self.meta += _TAG_F64.pack(_FLOAT, value)
        elif kind is int:
            self._int(value)
        elif value is None:
            self.meta.append(_NONE)
        elif kind is bool:
            self.meta.append(_TRUE if value else _FALSE)
        elif kind is tuple:
            self._container(value, depth, may_be_json=may_be_json)
        elif kind is bytes:
            self._bytes(value)
        else:
            self._other(value, depth)

    def _json(self, value: Any) -> bool:
        """Write the tree as JSON when that gives back exactly the same."""
        first = value.values() if type(value) is dict else value[:1]
        if not _NO_JSON.isdisjoint(map(type, first)):
            return False
        try:
            text = orjson.dumps(value)
            # NaN, tuples and whatever else orjson writes as something else are unequal.
            if orjson.loads(text) != value:
                return False
        except (TypeError, ValueError, RecursionError):
            return False
        self.meta += _TAG_U32.pack(_JSON, len(text))
        self.meta += text
        return True

    def _container(self, value: Any, depth: int, *, may_be_json: bool) -> None:
        if depth >= MAX_DEPTH:
            raise PackingError(f"nested deeper than {MAX_DEPTH}")
        tag = _LIST if type(value) is list else _TUPLE if type(value) is tuple else _DICT
        self.meta += _TAG_U32.pack(tag, len(value))
        if tag != _DICT:
            for one in value:
                self.put(one, depth + 1, may_be_json=may_be_json)
            return
        for key, one in value.items():
            if key is not None and type(key) not in (str, int, float, bool):
                key = str(key)  # noqa: PLW2901
            self.put(key, depth + 1)
            # A mapping of columns is the commonest answer: each may be JSON by itself.
            self.put(one, depth + 1, may_be_json=may_be_json or depth == 0)

    def _int(self, value: int) -> None:
        if -(1 << 63) <= value < 1 << 63:
            self.meta += _TAG_I64.pack(_INT, value)
        else:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            self.meta += _TAG_U32.pack(_BIG, len(data)) + data

    def _bytes(self, value: bytes) -> None:
        if len(value) <= LONG_BYTES:
            self.meta += _TAG_U32.pack(_BYTES, len(value)) + value
        else:
            offset = self._blob(np.frombuffer(value, np.uint8))
            self.meta += _TAG_SPAN.pack(_LONG_BYTES, offset, len(value))

    def _array(self, array: Array, depth: int) -> None:
        dtype, shape = array.dtype, array.shape
        if dtype.hasobject and dtype.kind == "O":
            self._shape(_OBJECTS, shape)
            # Text, nearly always: a list of it is one JSON text.
            self.put(array.ravel().tolist(), depth + 1)
            return
        code = dtype.str.encode()
        if _DTYPE.fullmatch(code) is None or not dtype.itemsize:
            raise PackingError(f"an array of dtype '{dtype}' cannot be sent")
        self._shape(_ARRAY, shape)
        self.meta.append(len(code))
        self.meta += code
        self.meta += _SPAN.pack(self._blob(array), array.nbytes)

    def _shape(self, tag: int, shape: tuple[int, ...]) -> None:
        if len(shape) > MAX_AXES:
            raise PackingError(f"an array of {len(shape)} axes cannot be sent")
        self.meta.append(tag)
        self.meta.append(len(shape))
        self.meta += _SHAPES[len(shape)].pack(*shape)

    def _blob(self, array: Array) -> int:
        offset = _aligned(self.end)
        self.end = offset + array.nbytes
        self.blobs.append((offset, array))
        return offset

    def _other(self, value: Any, depth: int) -> None:
        if value is ABSENT:
            self.meta.append(_ABSENT)
        elif isinstance(value, np.generic) and not isinstance(value, np.void | np.object_):
            self.meta.append(_SCALAR)
            self._array(np.asarray(value), depth)
        elif isinstance(value, bytearray | memoryview):
            self._bytes(bytes(value))
        elif isinstance(value, np.ndarray):
            self._array(np.asarray(value), depth)
        else:
            base = next((b for b in _BASES if isinstance(value, b)), None)
            if base is not None:
                self.put(base(value), depth)
            elif self._plain is None or depth >= MAX_DEPTH:
                raise PackingError(f"'{type(value).__name__}' is not a plain value")
            else:
                self.put(self._plain(value), depth + 1)


# A subclass (a str enum, an OrderedDict, a named tuple) is sent as what it is a kind of.
_BASES = (str, int, float, list, dict, tuple, bytes)


class _Reader:
    """Reads one value; every length is compared with what is left before it is believed."""

    def __init__(self, root: Array) -> None:
        size = len(root)
        if size < _U32.size:
            raise PackingError("too short")
        view = root.data
        (length,) = _U32.unpack_from(view)
        end = _U32.size + length
        if end > size:
            raise PackingError("it ends inside its meta data")
        self._root = root
        self._meta = bytes(view[_U32.size : end])
        self._blobs = _aligned(end)
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
        number: int = _U32.unpack_from(self._meta, self._take(4))[0]
        return number

    def _data(self) -> bytes:
        count = self._u32()
        at = self._take(count)
        return self._meta[at : at + count]

    def _value(self, depth: int) -> Any:
        if depth > MAX_DEPTH + 1:
            raise PackingError(f"nested deeper than {MAX_DEPTH}")
        tag = self._meta[self._take(1)]
        if tag == _ARRAY:
            return self._array()
        if tag == _DICT:
            return dict(self._pairs(depth))
        if tag in (_LIST, _TUPLE):
            values = [self._value(depth + 1) for _ in range(self._count(1))]
            return values if tag == _LIST else tuple(values)
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
        offset, size = _SPAN.unpack_from(self._meta, self._take(16))
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
        return _SHAPES[axes].unpack_from(self._meta, self._take(8 * axes))

    def _array(self) -> Array:
        shape = self._shape()
        length = self._meta[self._take(1)]
        at = self._take(length)
        dtype = _dtype(self._meta[at : at + length])
        offset, size = _SPAN.unpack_from(self._meta, self._take(16))
        if math.prod(shape) * dtype.itemsize != size:
            raise PackingError(f"shape {list(shape)} of {dtype} does not have {size} bytes")
        return self._span(offset, size).view(dtype).reshape(shape)

    def _objects(self) -> Array:
        shape = self._shape()
        if self._meta[self._take(1)] not in (_LIST, _JSON):
            raise PackingError("no list of elements")
        self._at -= 1
        values = self._value(MAX_DEPTH)
        if type(values) is not list or len(values) != math.prod(shape):
            raise PackingError(f"shape {list(shape)} has another number of elements")
        return np.fromiter(values, object, len(values)).reshape(shape)

    def _scalar(self) -> Any:
        if self._meta[self._take(1)] != _ARRAY:
            raise PackingError("no scalar")
        array = self._array()
        if array.ndim:
            raise PackingError("a scalar with axes")
        return array[()]


_READERS: dict[int, Callable[[_Reader], Any]] = {
    _NONE: lambda _: None,
    _TRUE: lambda _: True,
    _FALSE: lambda _: False,
    _ABSENT: lambda _: ABSENT,
    _INT: lambda r: _I64.unpack_from(r._meta, r._take(8))[0],
    _FLOAT: lambda r: _F64.unpack_from(r._meta, r._take(8))[0],
    _TEXT: lambda r: r._data().decode("utf-8", "surrogatepass"),
    _BYTES: lambda r: r._data(),
    _JSON: lambda r: orjson.loads(r._data()),
    _BIG: _Reader._big,
    _LONG_BYTES: _Reader._long_bytes,
    _OBJECTS: _Reader._objects,
    _SCALAR: _Reader._scalar,
}

_KNOWN = {
    np.dtype(name).str.encode(): np.dtype(name)
    for name in ("bool", "f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
}


def _dtype(code: bytes) -> np.dtype[Any]:
    """Return the dtype of a code such as ``<f4``; only what holds no objects has one."""
    if (known := _KNOWN.get(code)) is not None:
        return known
    if _DTYPE.fullmatch(code) is None:
        raise PackingError(f"no dtype: {code[:20]!r}")
    dtype = np.dtype(code.decode())
    if not dtype.itemsize:
        raise PackingError("a dtype without bytes")
    return dtype
