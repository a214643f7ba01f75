"""Lets requests of different length share batches: pads what goes in, cuts what comes out.

    x [2, 5]  ─┐ to the smallest bucket      ┌─► y [2, 8] ─► y [2, 5]
    x [1, 7]  ─┴─► x [3, 8] ──► the method ──┴─► y [1, 8] ─► y [1, 7]         buckets 8, 16

Padded are the axes behind the first one of array parameters, where the signature gives them a name
or None instead of a length.  Each is padded at its end to the smallest bucket that holds it; one that
is longer than the largest bucket stays as it is.  A request that runs alone is padded as well, so
that its answer does not depend on its company.

Cut is every axis behind the first of an array in the answer whose name in the signature is that of a
padded axis and whose length is what that axis was padded to: to the length that the request had.  An
answer without names, or of another length, stays as the method gave it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelpack.sdk.api import ApiSpec
from modelpack.sdk.containers import MapValue, ObjectValue, TupleValue
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import Value
from modelpack.server.observe.stats import BatchStats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

Lengths = Mapping[str, tuple[int, int]]
"""What each named axis was padded to, and its own length before, where these differ."""
_Cut = Callable[[Any, Lengths], Any]


class Padding:
    """The variable axes of one api."""

    def __init__(self, api: ApiSpec, buckets: Sequence[int], value: float) -> None:
        self._axes = api.variable_axes
        self._buckets = buckets
        self._value = value
        self._places: dict[str, tuple[str, int]] = {}
        """The first parameter and axis of each name."""
        for parameter in api.parameters:
            if isinstance(parameter.value, TensorValue):
                shape = parameter.value.spec.shape or ()
                for axis in self._axes.get(parameter.name, ()):
                    if isinstance(name := shape[axis], str):
                        self._places.setdefault(name, (parameter.name, axis))
        self._cut = _cutter(api.returns, frozenset(self._places))

    @classmethod
    def of(cls, api: ApiSpec) -> Padding | None:
        """Return the padding that an api asks for, or None."""
        if api.batch is None or not api.batch.buckets or not api.variable_axes:
            return None
        return cls(api, api.batch.buckets, api.batch.pad_value)

    def shape(self, name: str, rows: Array) -> tuple[int, ...]:
        """Return the shape behind the first axis that rows of a parameter are padded to."""
        shape = list(rows.shape)
        for axis in self._axes.get(name, ()):
            shape[axis] = self._bucket(shape[axis])
        return tuple(shape[1:])

    def _bucket(self, length: int) -> int:
        index = bisect_left(self._buckets, length)
        return self._buckets[index] if index < len(self._buckets) else length

    def pads(self, name: str) -> bool:
        """Say whether a parameter is padded."""
        return name in self._axes

    def join(self, name: str, parts: Sequence[Any], stats: BatchStats) -> Array:
        """Return the rows of several requests in one array, padded; what that takes is counted."""
        shape = self.shape(name, parts[0])
        real = sum([part.size for part in parts])
        rows = sum([len(part) for part in parts])
        joined: Array = np.empty((rows, *shape), parts[0].dtype)
        stats.real_elements += real
        stats.padded_elements += joined.size - real
        if joined.size == real:
            return np.concatenate(parts, out=joined)
        joined.fill(self._value)
        at = 0
        for part in parts:
            inside = tuple(slice(length) for length in part.shape[1:])
            joined[(slice(at, at + len(part)), *inside)] = part
            at += len(part)
        return joined

    def cut(self, answer: Any, values: Mapping[str, Any]) -> Any:
        """Return the answer for the rows of a request without what its padding gave."""
        if self._cut is None:
            return answer
        lengths = {}
        for name, (parameter, axis) in self._places.items():
            own = values[parameter].shape[axis]
            if (padded := self._bucket(own)) != own:
                lengths[name] = (padded, own)
        return self._cut(answer, lengths) if lengths else answer


def _cutter(value: Value, names: frozenset[str]) -> _Cut | None:
    """Return what cuts answers of a kind, or None when they have no axis of these names."""
    if isinstance(value, TensorValue):
        shape = value.spec.shape or ()
        axes = [(axis, name) for axis, name in enumerate(shape) if axis and name in names]
        return _array_cutter(axes) if axes else None
    if isinstance(value, ObjectValue):
        found = {key: _cutter(item, names) for key, item in value.fields.items()}
        cutters = {key: cut for key, cut in found.items() if cut is not None}
        if not cutters:
            return None
        return lambda plain, lengths: {
            key: cutters[key](one, lengths) if key in cutters else one for key, one in plain.items()
        }
    if isinstance(value, TupleValue):
        items = [_cutter(item, names) for item in value.items]
        if not any(items):
            return None
        return lambda plain, lengths: tuple(
            one if cut is None else cut(one, lengths) for cut, one in zip(items, plain, strict=True)
        )
    if isinstance(value, MapValue) and (inner := _cutter(value.item, names)) is not None:
        return lambda plain, lengths: {key: inner(one, lengths) for key, one in plain.items()}
    return None


def _array_cutter(axes: Sequence[tuple[int, Any]]) -> _Cut:
    def cut(plain: Any, lengths: Lengths) -> Any:
        if not isinstance(plain, np.ndarray):
            return plain
        inside = [slice(None)] * plain.ndim
        for axis, name in axes:
            padded, own = lengths.get(name, (-1, -1))
            if plain.shape[axis] == padded:
                inside[axis] = slice(own)
        return np.ascontiguousarray(plain[tuple(inside)])  # as the JSON writer wants it

    return cut
