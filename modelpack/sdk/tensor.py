"""Arrays with a known dtype and shape.

    modelpack.Tensor["float32", "batch", 4]     two axes, the first of any length
    modelpack.Tensor["int64"]                   any shape
    Annotated[numpy.ndarray, TensorSpec("float32", ("batch", 4))]     the same, for type checkers

    nested JSON lists ──decode──► numpy array of exactly that dtype      (issues name the element)
    array ──encode──► C-contiguous array, written as nested lists by the JSON writer

Strict both ways: ``true``, ``null`` and strings are not numbers, fractions are not integers, and
what the dtype cannot hold is refused instead of wrapped or turned into infinity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from modelpack.errors import Issue, SignatureError
from modelpack.sdk.values import Issues, Value, describe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

DTYPES = (
    "bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "str",
)  # fmt: skip

Dim = int | str | None
"""An axis: its length, or a name (or None) for any length."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Dtype and shape of an array; ``shape`` None allows any."""

    dtype: str
    shape: tuple[Dim, ...] | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise SignatureError(
                f"'{self.dtype}' is not a dtype", hint=f"use one of {', '.join(DTYPES)}"
            )
        for dim in self.shape or ():
            if isinstance(dim, bool) or not isinstance(dim, int | str | None):
                raise SignatureError(f"{dim!r} is not an axis", hint="use a length or a name")
            if isinstance(dim, int) and dim < 0:
                raise SignatureError(f"{dim} is not an axis", hint="use a name for any length")

    def __str__(self) -> str:
        if self.shape is None:
            return self.dtype
        dims = ", ".join("?" if dim is None else str(dim) for dim in self.shape)
        return f"{self.dtype}[{dims}]"


class Tensor:
    """Spell an array in a signature: ``Tensor[dtype, axis, axis, ...]``."""

    def __class_getitem__(cls, item: str | tuple[Any, ...]) -> Any:
        dtype, *shape = item if isinstance(item, tuple) else (item,)
        spec = TensorSpec(str(dtype), tuple(shape) if shape else None)
        return Annotated[np.ndarray, spec]


@dataclass(frozen=True, slots=True)
class TensorValue(Value):
    """An array on the wire: nested lists, row by row."""

    spec: TensorSpec
    # Worked out once, for the hot path:
    _dtype: np.dtype[Any] = field(init=False, repr=False, compare=False)
    _lengths: tuple[tuple[int, int], ...] = field(init=False, repr=False, compare=False)
    _has_twins: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shape = self.spec.shape or ()
        names = [dim for dim in shape if isinstance(dim, str)]
        dtype = np.dtype(object if self.spec.dtype == "str" else self.spec.dtype)
        lengths = tuple((axis, dim) for axis, dim in enumerate(shape) if isinstance(dim, int))
        object.__setattr__(self, "_dtype", dtype)
        object.__setattr__(self, "_lengths", lengths)
        object.__setattr__(self, "_has_twins", len(set(names)) < len(names))

    @property
    def has_rows(self) -> bool:  # type: ignore[override]
        return self.spec.shape is None or len(self.spec.shape) > 0

    @property
    def expectation(self) -> str:
        return f"an array {self.spec}"

    def schema(self) -> dict[str, Any]:
        kind = {"b": "boolean", "s": "string"}.get(self.spec.dtype[0])
        if kind is None:
            kind = "number" if self.spec.dtype.startswith("f") else "integer"
        note = {"x-dtype": self.spec.dtype}
        if self.spec.shape is None:
            return {"type": "array", "items": {}, "description": self.expectation, **note}
        schema: dict[str, Any] = {"type": kind}
        for dim in reversed(self.spec.shape):
            schema = {"type": "array", "items": schema}
            if isinstance(dim, int):
                schema["minItems"] = schema["maxItems"] = dim
        return {**schema, "description": self.expectation, **note}

    def example(self) -> Any:
        zero: Any = {"b": False, "s": "text", "f": 0.0}.get(self.spec.dtype[0], 0)
        value = zero
        for dim in reversed(self.spec.shape or (None,)):
            value = [value] * (dim if isinstance(dim, int) else 1)
        return value

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        if _holds_bool(raw) and self.spec.dtype != "bool":
            issues.append(self._blame(raw, at))
            return _NOTHING
        return self.decode_clean(raw, at, issues)

    def decode_clean(self, raw: Any, at: str, issues: Issues) -> Array:
        """As ``decode``, for JSON that is known to hold neither ``true`` nor ``false``."""
        array = self._convert(raw)
        if array is None or (array.ndim == 0 and self.spec.shape != ()):
            issues.append(self._blame(raw, at))
            return np.empty(0)
        if (trouble := self.check_shape(array.shape)) is not None:
            issues.append(Issue(at, self.expectation, trouble))
        return array

    def check_shape(self, shape: tuple[int, ...]) -> str | None:
        """Return what is wrong with the shape, or None."""
        wanted = self.spec.shape
        if wanted is None:
            return None
        if len(shape) != len(wanted):
            return f"shape {list(shape)}: {len(shape)} axes instead of {len(wanted)}"
        for axis, length in self._lengths:
            if shape[axis] != length:
                return f"shape {list(shape)}: {shape[axis]} instead of {length} on axis {axis}"
        return self._check_twins(shape, wanted) if self._has_twins else None

    def _check_twins(self, shape: tuple[int, ...], wanted: tuple[Dim, ...]) -> str | None:
        """Axes of one name have one length."""
        names: dict[str, int] = {}
        for axis, (have, name) in enumerate(zip(shape, wanted, strict=True)):
            length = names.setdefault(name, have) if isinstance(name, str) else have
            if have != length:
                return f"shape {list(shape)}: {have} instead of {length} on axis {axis}"
        return None

    def encode(self, value: Any) -> Any:
        array = value if type(value) is np.ndarray else np.asarray(value)
        is_same = array.dtype is self._dtype or array.dtype == self._dtype
        if not is_same and not _can_cast(array.dtype, self.spec.dtype):
            raise TypeError(f"expected {self.expectation}, got dtype {array.dtype}")
        if (trouble := self.check_shape(array.shape)) is not None:
            raise ValueError(f"expected {self.expectation}, got {trouble}")
        if array.ndim == 0 or array.dtype.kind in "OUS":
            return array.tolist()
        if not is_same:
            array = array.astype(self._dtype)
        return array if array.flags.c_contiguous else np.ascontiguousarray(array)

    def _convert(self, raw: Any) -> Array | None:
        """Return the array, or None when some element does not fit."""
        dtype = self.spec.dtype
        if dtype == "str":
            return _strings(raw)
        try:
            array: Array = np.array(raw)
        except (ValueError, TypeError, OverflowError):
            return None  # ragged
        kind = array.dtype.kind
        if dtype == "bool":
            return array if kind == "b" and not _mixes(raw) else None
        if array.size == 0:
            return array.astype(dtype) if kind == "f" else None
        if dtype.startswith("f"):
            return to_float(array, dtype) if kind in "fiu" else None
        if kind == "f" and dtype == "uint64" and all(_fits(one, dtype) for one in _leaves(raw)):
            # numpy sees integers on both sides of 2**63 as floats, unless it is told.
            return np.array(raw, dtype=np.uint64)
        return to_integer(array, dtype) if kind in "iu" else None

    def _blame(self, raw: Any, at: str) -> Issue:
        """Find the first place that does not fit, to say where and what it is."""
        if not isinstance(raw, list) and self.spec.shape != ():
            return Issue(at, self.expectation, describe(raw))
        found = self._first_wrong(raw, at, 0, _lengths(raw))
        return found or Issue(at, self.expectation, describe(raw))

    def _first_wrong(self, one: Any, at: str, depth: int, lengths: list[int]) -> Issue | None:
        """Return what is wrong with an element or inside of it; ``lengths`` are those of all axes."""
        dtype = self.spec.dtype
        if not isinstance(one, list):
            if depth < len(lengths):
                return Issue(at, f"a list of {lengths[depth]}", describe(one))
            return None if _fits(one, dtype) else Issue(at, _element(dtype), describe(one))
        if depth >= len(lengths):
            return Issue(at, _element(dtype), describe(one))
        if len(one) != lengths[depth]:
            expected = f"{lengths[depth]} elements as in the rows before"
            return Issue(at, expected, describe(one))
        if depth == len(lengths) - 1 and _all_fit(one, dtype):
            return None  # most rows are fine, and looking at each element takes ten times as long
        for index, inner in enumerate(one):
            found = self._first_wrong(inner, f"{at}/{index}", depth + 1, lengths)
            if found is not None:
                return found
        return None


_NOTHING: Any = np.empty(0)


def _element(dtype: str) -> str:
    words = {"f": "a number", "b": "true or false", "s": "a string"}
    return f"{words.get(dtype[0], 'an integer')} ({dtype})"


def to_float(array: Array, dtype: str) -> Array | None:
    """Return numbers as floats of a dtype, or None when one is too large for it.

    Integers become doubles first, so that a number means the same whatever stands beside it.
    """
    wide: Array = array.astype(np.float64, copy=False)
    if dtype == "float64":
        return wide
    limit = _LARGEST[dtype]
    # Not min() and max(), which cost three times as much for small arrays; and no cast before it
    # is known to fit, because that warns, and not to warn costs a microsecond.
    if wide.item(wide.argmax()) <= limit and wide.item(wide.argmin()) >= -limit:
        return wide.astype(dtype)
    with np.errstate(over="ignore"):
        narrow: Array = wide.astype(dtype)  # a little more than the largest is rounded down
    return narrow if np.isfinite(narrow).all() else None


_LARGEST = {name: float(np.finfo(name).max) for name in ("float16", "float32")}


def to_integer(array: Array, dtype: str) -> Array | None:
    """Return integers as those of a dtype, or None when one is out of its range."""
    if array.dtype == dtype:
        return array
    info = np.iinfo(dtype)
    if array.item(array.argmax()) > info.max or array.item(array.argmin()) < info.min:
        return None
    return array.astype(dtype)


def _strings(raw: Any) -> Array | None:
    leaves = _leaves(raw)
    if not all(isinstance(one, str) for one in leaves):
        return None
    flat: Array = np.empty(len(leaves), dtype=object)
    flat[:] = leaves
    lengths = _lengths(raw)
    if math.prod(lengths) != len(leaves) or not _is_even(raw, lengths):
        return None
    return flat.reshape(lengths)


def _can_cast(have: np.dtype[Any], want: str) -> bool:
    if want == "str":
        return have.kind in "OUS"
    return have.kind != "O" and np.can_cast(have, np.dtype(want), casting="same_kind")


def _holds_bool(raw: Any) -> bool:
    if not isinstance(raw, list):
        return isinstance(raw, bool)
    kinds = set(map(type, raw))
    return bool in kinds or (list in kinds and any(map(_holds_bool, raw)))


def _mixes(raw: Any) -> bool:
    return any(not isinstance(one, bool | list) for _, one, _ in _walk(raw, ""))


def _fits(one: Any, dtype: str) -> bool:
    if dtype == "str":
        return isinstance(one, str)
    if isinstance(one, bool) or dtype == "bool":
        return isinstance(one, bool) and dtype == "bool"
    if dtype.startswith("f"):
        limit = float(np.finfo(dtype).max)
        return isinstance(one, int | float) and -limit <= one <= limit
    info = np.iinfo(dtype)
    return isinstance(one, int) and info.min <= one <= info.max


def _all_fit(row: list[Any], dtype: str) -> bool:
    """As ``_fits`` for a whole list, without a step in Python for each element."""
    kinds = set(map(type, row))
    if dtype in ("bool", "str"):
        return kinds == {bool if dtype == "bool" else str}
    if not kinds <= ({int, float} if dtype.startswith("f") else {int}):
        return False
    return _fits(min(row, default=0), dtype) and _fits(max(row, default=0), dtype)


def _lengths(raw: Any) -> list[int]:
    """Return the length of each axis, read along the first elements."""
    lengths = []
    while isinstance(raw, list):
        lengths.append(len(raw))
        if not raw:
            break
        raw = raw[0]
    return lengths


def _is_even(raw: Any, lengths: list[int], depth: int = 0) -> bool:
    if not isinstance(raw, list):
        return depth == len(lengths)
    return (
        depth < len(lengths)
        and len(raw) == lengths[depth]
        and all(_is_even(one, lengths, depth + 1) for one in raw)
    )


def _leaves(raw: Any) -> list[Any]:
    return [one for _, one, _ in _walk(raw, "") if not isinstance(one, list)]


def _walk(raw: Any, at: str, depth: int = 0) -> Any:
    """Yield ``(pointer, element, depth)`` of every list and leaf, lists before what they hold."""
    yield at, raw, depth
    if isinstance(raw, list):
        for index, one in enumerate(raw):
            yield from _walk(one, f"{at}/{index}", depth + 1)
