"""Plain values as bytes and back, between processes that need not trust each other.

    value ──pack──► Packed(meta, blobs) ──write──► one run of bytes, inline or in shared memory
    bytes ──unpacking.unpack──► value              arrays are views of the bytes, nothing is copied

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

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from modelpack.server.runners.process.codes import (
    ABSENT,
    DTYPE_CODE,
    LONG_BYTES,
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
    TAG_F64,
    TAG_I64,
    TAG_SPAN,
    TAG_U32,
    U32,
    PackingError,
    aligned,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# What orjson takes but does not give back, or does not take: not worth a try.
_NO_JSON = frozenset({np.ndarray, bytes, tuple, bytearray, memoryview})


class Packed:
    """A value as bytes that are not in one place yet."""

    __slots__ = ("_blobs", "_meta", "_start", "size")

    def __init__(self, meta: bytearray, blobs: list[tuple[int, Array]], blob_bytes: int) -> None:
        self._meta = meta
        self._blobs = blobs
        end = U32.size + len(meta)
        self._start = aligned(end) if blobs else end
        self.size = self._start + blob_bytes
        """Bytes that ``write`` writes."""

    def write(self, place: memoryview | bytearray, at: int = 0) -> None:
        """Write all of it into a buffer, beginning at ``at``."""
        U32.pack_into(place, at, len(self._meta))
        place[at + U32.size : at + U32.size + len(self._meta)] = self._meta
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
            self.meta += TAG_U32.pack(T_TEXT, len(text)) + text
        elif kind is dict or kind is list:
            if not (may_be_json and self._json(value)):
                self._container(value, depth, may_be_json=False)
        elif kind is float:
            self.meta += TAG_F64.pack(T_FLOAT, value)
        elif kind is int:
            self._int(value)
        elif value is None:
            self.meta.append(T_NONE)
        elif kind is bool:
            self.meta.append(T_TRUE if value else T_FALSE)
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
        self.meta += TAG_U32.pack(T_JSON, len(text))
        self.meta += text
        return True

    def _container(self, value: Any, depth: int, *, may_be_json: bool) -> None:
        if depth >= MAX_DEPTH:
            raise PackingError(f"nested deeper than {MAX_DEPTH}")
        tag = T_LIST if type(value) is list else T_TUPLE if type(value) is tuple else T_DICT
        self.meta += TAG_U32.pack(tag, len(value))
        if tag != T_DICT:
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
            self.meta += TAG_I64.pack(T_INT, value)
        else:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            self.meta += TAG_U32.pack(T_BIG, len(data)) + data

    def _bytes(self, value: bytes) -> None:
        if len(value) <= LONG_BYTES:
            self.meta += TAG_U32.pack(T_BYTES, len(value)) + value
        else:
            offset = self._blob(np.frombuffer(value, np.uint8))
            self.meta += TAG_SPAN.pack(T_LONG_BYTES, offset, len(value))

    def _array(self, array: Array, depth: int) -> None:
        dtype, shape = array.dtype, array.shape
        if dtype.hasobject and dtype.kind == "O":
            self._shape(T_OBJECTS, shape)
            # Text, nearly always: a list of it is one JSON text.
            self.put(array.ravel().tolist(), depth + 1)
            return
        code = dtype.str.encode()
        if DTYPE_CODE.fullmatch(code) is None or not dtype.itemsize:
            raise PackingError(f"an array of dtype '{dtype}' cannot be sent")
        self._shape(T_ARRAY, shape)
        self.meta.append(len(code))
        self.meta += code
        self.meta += SPAN.pack(self._blob(array), array.nbytes)

    def _shape(self, tag: int, shape: tuple[int, ...]) -> None:
        if len(shape) > MAX_AXES:
            raise PackingError(f"an array of {len(shape)} axes cannot be sent")
        self.meta.append(tag)
        self.meta.append(len(shape))
        self.meta += SHAPES[len(shape)].pack(*shape)

    def _blob(self, array: Array) -> int:
        offset = aligned(self.end)
        self.end = offset + array.nbytes
        self.blobs.append((offset, array))
        return offset

    def _other(self, value: Any, depth: int) -> None:
        if value is ABSENT:
            self.meta.append(T_ABSENT)
        elif isinstance(value, np.generic) and not isinstance(value, np.void | np.object_):
            self.meta.append(T_SCALAR)
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
