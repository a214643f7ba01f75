"""Puts rows of several requests together and takes answers apart again.

    values of each request ──join──► values of one call        arrays and lists, along the first axis
    answer of the call ──RowSplitter.split(start, stop)──► each request's own rows
    parts of a request that was cut ──merge──► its whole answer

An answer is an array or a list (one element a row), or a mapping, dataclass or tuple of those (one
column each).  What always holds: an answer with another number of rows than were asked for is
refused as a whole, never handed out shifted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from modelpack.sdk.api import ApiSpec
from modelpack.sdk.containers import ListValue, MapValue, ObjectValue, TupleValue
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import Value
from modelpack.server.problems import BadOutput


class WrongRows(BadOutput):
    """The answer has another number of rows than were asked for."""


def join(
    names: Sequence[str], values: Sequence[Mapping[str, Any]], spans: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    """Return the arguments of one call for the given rows of several requests.

    ``names`` are the parameters that have rows; all others are equal in every request.
    """
    joined = dict(values[0])
    for name in names:
        parts = [
            rows if start == 0 and stop == len(rows) else rows[start:stop]
            for one, (start, stop) in zip(values, spans, strict=True)
            for rows in (one[name],)
        ]
        joined[name] = _concatenate(parts)
    return joined


def _concatenate(parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return [row for part in parts for row in part]


def merge(parts: list[Any]) -> Any:
    """Return the whole answer of a request whose rows ran in several calls."""
    first = parts[0]
    if isinstance(first, Mapping):
        return {key: merge([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple):
        return tuple(merge(list(column)) for column in zip(*parts, strict=True))
    return _concatenate(parts)


def group_key(api: ApiSpec) -> Callable[[Mapping[str, Any]], Hashable] | None:
    """Return what tells requests apart that must not share a call; None: all may.

    Two requests may share one when their arguments without rows are equal and those with rows
    have the same dtype and the same shape behind the first axis.
    """
    shaped = [p.name for p in api.parameters if p.value.has_rows and not _is_uniform(p.value)]
    single = [p.name for p in api.parameters if not p.value.has_rows]
    if not shaped and not single:
        return None

    def key(values: Mapping[str, Any]) -> Hashable:
        parts: list[Hashable] = [_shape_of(values[name]) for name in shaped]
        parts.extend(_identity_of(values[name]) for name in single)
        return tuple(parts)

    return key


def _is_uniform(value: Value) -> bool:
    """Say whether any two decoded values can be joined."""
    if not isinstance(value, TensorValue):
        return isinstance(value, ListValue)
    shape = value.spec.shape
    return shape is not None and all(isinstance(dim, int) for dim in shape[1:])


def _shape_of(rows: Any) -> Hashable:
    if isinstance(rows, np.ndarray):
        return rows.dtype.str, rows.shape[1:]
    return type(rows).__name__


def _identity_of(value: Any) -> Hashable:
    # repr: 0.0 == -0.0 and True == 1 == 1.0, but a model may tell them apart.
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return type(value).__name__, repr(value) if isinstance(value, float) else value
    try:
        hash(value)
    except TypeError:
        return object()  # equal to nothing: such a request runs alone
    return type(value).__name__, value


class RowSplitter:
    """Takes the answer of one call apart; ``rows`` is how many it must have."""

    __slots__ = ("_is_array", "_is_flat", "_plain")

    def __init__(self, plain: Any, rows: int) -> None:
        """Raise WrongRows when some column has another number of rows."""
        self._is_array = isinstance(plain, np.ndarray | list)
        self._plain = plain if self._is_array else _columns(plain)
        _check(self._plain, rows)
        self._is_flat = isinstance(self._plain, dict) and not any(
            isinstance(column, dict | tuple) for column in self._plain.values()
        )

    def split(self, start: int, stop: int) -> Any:
        """Return rows ``start`` to ``stop``, in the form of the whole."""
        if self._is_array:
            return self._plain[start:stop]
        if self._is_flat:  # the commonest answer of all: some named columns
            return {key: column[start:stop] for key, column in self._plain.items()}
        return _slice(self._plain, start, stop)


def _columns(plain: Any) -> Any:
    if dataclasses.is_dataclass(plain) and not isinstance(plain, type):
        return {f.name: _columns(getattr(plain, f.name)) for f in dataclasses.fields(plain)}
    if isinstance(plain, Mapping):
        return {key: _columns(column) for key, column in plain.items()}
    if isinstance(plain, tuple):
        return tuple(_columns(column) for column in plain)
    return plain


def _check(plain: Any, rows: int) -> None:
    if isinstance(plain, Mapping):
        for column in plain.values():
            _check(column, rows)
    elif isinstance(plain, tuple):
        for column in plain:
            _check(column, rows)
    elif not isinstance(plain, np.ndarray | list) or (
        isinstance(plain, np.ndarray) and plain.ndim == 0
    ):
        raise WrongRows(f"expected {rows} rows, got {type(plain).__name__} without rows")
    elif len(plain) != rows:
        raise WrongRows(f"expected {rows} rows, got {len(plain)}")


def _slice(plain: Any, start: int, stop: int) -> Any:
    if isinstance(plain, dict):
        return {key: _slice(column, start, stop) for key, column in plain.items()}
    if isinstance(plain, tuple):
        return tuple(_slice(column, start, stop) for column in plain)
    return plain[start:stop]


def column_marker(value: Value) -> Callable[[Any], Any] | None:
    """Return what turns encoded tuples back into tuples, or None when there are none.

    ``encode`` writes a tuple as a list, but only here is it still known that its elements are
    columns and not rows.
    """
    if isinstance(value, TupleValue):
        inner = [column_marker(item) for item in value.items]

        def mark(plain: Any) -> Any:
            pairs = zip(inner, plain, strict=True)
            return tuple(one if marker is None else marker(one) for marker, one in pairs)

        return mark
    if isinstance(value, ObjectValue):
        markers = {key: column_marker(item) for key, item in value.fields.items()}
        found = {key: marker for key, marker in markers.items() if marker is not None}
        if found:
            return lambda plain: {
                key: found[key](one) if key in found else one for key, one in plain.items()
            }
    if isinstance(value, MapValue) and (marker := column_marker(value.item)) is not None:
        return lambda plain: {key: marker(one) for key, one in plain.items()}
    return None
