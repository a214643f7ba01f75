"""Puts rows of several requests together and takes answers apart again.

    values of each request ──values_of──► values of one call      arrays and lists, along the first axis
    answer of the call ──splitter──► split(start, stop) ──► each request's own rows
    parts of a request that was cut ──merge──► its whole answer

An answer is an array or a list (one element a row), or a mapping, dataclass or tuple of those (one
column each).  What always holds: an answer with another number of rows than were asked for is
refused as a whole, never handed out shifted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from modelpack.sdk.api import ApiSpec
from modelpack.sdk.containers import ListValue, MapValue, ObjectValue, TupleValue
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import Value
from modelpack.server.batching.call import Batch
from modelpack.server.batching.padding import Padding
from modelpack.server.observe.stats import BatchStats
from modelpack.server.problems import BadOutput


class WrongRows(BadOutput):
    """The answer has another number of rows than were asked for."""


def values_of(
    batch: Batch, names: Sequence[str], padding: Padding | None, stats: BatchStats
) -> dict[str, Any]:
    """Return the arguments of the one call that runs a batch.

    ``names`` are the parameters that have rows; all others are equal in every request.  What is
    padded is counted in ``stats``.
    """
    slices = batch.slices
    first = slices[0][0].values
    if padding is None and not batch.is_cut:  # as nearly every batch is
        if len(slices) == 1:
            return first
        return {**first, **{n: _join([one[0].values[n] for one in slices]) for n in names}}
    joined = dict(first)
    for name in names:
        parts = [_rows(call.values[name], start, stop) for call, start, stop in slices]
        if padding is not None and padding.pads(name):
            joined[name] = padding.join(name, parts, stats)
        else:
            joined[name] = _join(parts)
    return joined


def _rows(rows: Any, start: int, stop: int) -> Any:
    return rows if start == 0 and stop == len(rows) else rows[start:stop]


def _join(parts: list[Any]) -> Any:
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
    return _join(parts)


def group_key(api: ApiSpec) -> Callable[[Mapping[str, Any]], Hashable] | None:
    """Return what tells requests apart that must not share a call; None: all may.

    Two requests may share one when their arguments without rows are equal and those with rows
    have the same dtype and, once they are padded, the same shape behind the first axis.
    """
    shaped = _shaped(api)
    single = [p.name for p in api.parameters if not p.value.has_rows]
    padding = Padding.of(api)
    if not shaped and not single:
        return None

    def key(values: Mapping[str, Any]) -> Hashable:
        parts: list[Hashable] = [_shape_of(name, values[name], padding) for name in shaped]
        parts.extend(_identity_of(values[name]) for name in single)
        return tuple(parts)

    return key


def row_size(api: ApiSpec) -> Callable[[Mapping[str, Any]], int] | None:
    """Return what tells how large a row is, to keep the costs of sizes apart; None: all are alike.

    With buckets these are the elements of a padded row, else about so many, as a power of two.
    """
    shaped = _shaped(api)
    padding = Padding.of(api)
    if not shaped:
        return None

    def size(values: Mapping[str, Any]) -> int:
        total = 0
        for name in shaped:
            rows = values[name]
            if isinstance(rows, np.ndarray):
                shape = padding.shape(name, rows) if padding is not None else rows.shape[1:]
                total += math.prod(shape)
        return total if padding is not None else total.bit_length()

    return size


def _shaped(api: ApiSpec) -> list[str]:
    """Return the parameters whose rows may differ in shape."""
    return [p.name for p in api.parameters if p.value.has_rows and not _is_uniform(p.value)]


def _is_uniform(value: Value) -> bool:
    """Say whether any two decoded values can be joined."""
    if not isinstance(value, TensorValue):
        return isinstance(value, ListValue)
    shape = value.spec.shape
    return shape is not None and all(isinstance(dim, int) for dim in shape[1:])


def _shape_of(name: str, rows: Any, padding: Padding | None) -> Hashable:
    if isinstance(rows, np.ndarray):
        shape = rows.shape[1:] if padding is None else padding.shape(name, rows)
        return rows.dtype.str, shape
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


Split = Callable[[int, int], Any]
"""Returns the rows of an answer from one to another, in the form of the whole."""


def splitter(plain: Any, rows: int) -> Split:
    """Return what takes the answer of one call apart; ``rows`` is how many it must have.

    Raises WrongRows when some column has another number of rows.
    """
    if type(plain) is dict:  # the commonest answers of all: named columns, often just one
        for column in plain.values():
            if not _has_rows(column, rows):
                break
        else:
            if len(plain) == 1:
                ((key, column),) = plain.items()
                return lambda start, stop: {key: column[start:stop]}
            return lambda start, stop: {key: column[start:stop] for key, column in plain.items()}
    if isinstance(plain, np.ndarray | list):
        _check(plain, rows)
        return lambda start, stop: plain[start:stop]
    columns = _columns(plain)
    _check(columns, rows)
    return lambda start, stop: _slice(columns, start, stop)


def _has_rows(column: Any, rows: int) -> bool:
    kind = type(column)
    if kind is np.ndarray:
        return column.ndim > 0 and len(column) == rows
    return kind is list and len(column) == rows


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
