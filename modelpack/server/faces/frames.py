"""Data frames, as the rows that an api takes.

    split      {"columns": [...], "data": [[1, 2], …]}   ─┐
    records    [{"a": 1, "b": 2}, …]                     ─┼─► instances ──rows──► arguments
    table      names of columns (or none), and rows      ─┘

Columns are told by their names: when those are parameters of the api each is one.  When the api takes
a single array the columns are what its rows are made of, in the order in which they come; when it
takes a list of objects they are the keys of those.  What a value has to be is checked as arguments
are made; here it is only arranged.  Everything raises InputError.

Sources of the two forms: pandas, ``DataFrame.to_json``, ``orient="split"`` and ``"records"``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modelpack.errors import InputError
from modelpack.sdk.containers import ListValue, MapValue, ObjectValue
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import AnyValue, Value, describe
from modelpack.server.endpoint import Endpoint
from modelpack.server.faces import rows
from modelpack.server.faces.rows import Given
from modelpack.server.faces.tensors import bare

Common = Mapping[str, Any]
"""Arguments that hold for all rows."""

Arrange = Callable[[Endpoint, Any, str, Common], Given]
"""Turns what stands at a JSON pointer of a request into arguments."""


def instances(endpoint: Endpoint, raw: Any, at: str, common: Common) -> Given:
    """Return arguments for a list with one entry a row."""
    return rows.from_instances(endpoint, raw, at, common)


def columns(endpoint: Endpoint, raw: Any, at: str, common: Common) -> Given:
    """Return arguments for the values of all rows, by name or for the only parameter."""
    api = endpoint.decodes
    if not common:
        return rows.from_columns(api, raw, at)
    sole = rows.sole_parameter(api, common)
    if not rows.is_named(api, raw) and sole is not None:
        raw = {sole.name: raw}
    return rows.from_columns(api, {**common, **raw} if isinstance(raw, dict) else raw, at)


def split(endpoint: Endpoint, raw: Any, at: str, common: Common) -> Given:
    """Return arguments for a frame as pandas has it with ``orient="split"``; its index is not used."""
    if not isinstance(raw, dict) or not {"data"} <= set(raw) <= {"columns", "index", "data"}:
        raise InputError.at(at, "an object with columns and data", describe(raw))
    names = raw.get("columns")
    if names is not None and not (
        isinstance(names, list) and all(isinstance(one, str | int) for one in names)
    ):
        raise InputError.at(f"{at}/columns", "a list of names", describe(names))
    told = None if names is None else [str(one) for one in names]
    return table(endpoint, told, raw["data"], f"{at}/data", common)


def records(endpoint: Endpoint, raw: Any, at: str, common: Common) -> Given:
    """Return arguments for a frame as pandas has it with ``orient="records"``."""
    if not isinstance(raw, list) or not raw or not isinstance(raw[0], dict):
        raise InputError.at(
            at, "a list of objects", "an empty list" if raw == [] else describe(raw)
        )
    names = list(raw[0])
    for index, one in enumerate(raw):
        if not isinstance(one, dict):
            raise InputError.at(f"{at}/{index}", "an object", describe(one))
        if one.keys() != raw[0].keys():
            raise InputError.at(f"{at}/{index}", "the same keys as in the first row", "others")
    return table(endpoint, names, [[one[name] for name in names] for one in raw], at, common)


def table(
    endpoint: Endpoint, names: Sequence[str] | None, data: Any, at: str, common: Common
) -> Given:
    """Return arguments for rows of cells; ``names`` are those of the columns, None: they have none."""
    api = endpoint.decodes
    if names is not None and isinstance(data, list):
        for index, row in enumerate(data):
            if not isinstance(row, list) or len(row) != len(names):
                expected = f"a list of {len(names)}, one for each column"
                raise InputError.at(f"{at}/{index}", expected, describe(row))
        if rows.is_named(api, {**common, **dict.fromkeys(names)}):
            made: list[Any] = [dict(zip(names, row, strict=True)) for row in data]
            return rows.from_instances(endpoint, made, at, common)
    sole = rows.sole_parameter(api, common)
    if sole is None or not isinstance(data, list):
        return rows.from_instances(endpoint, data, at, common)  # which says what is wrong
    made = [_row(sole.value, names, row, is_batch=api.batch is not None) for row in data]
    return rows.from_instances(endpoint, made, at, common)


def _row(value: Value, names: Sequence[str] | None, row: Any, *, is_batch: bool) -> Any:
    """Return one row as the parameter has it: its cells, its only cell, or an object."""
    if not isinstance(row, list):
        return row
    inner = bare(value)
    if isinstance(inner, TensorValue):
        shape = inner.spec.shape
        has_axis = shape is None or len(shape) > (1 if is_batch else 0)
        return row if has_axis or len(row) != 1 else row[0]
    if is_batch and isinstance(inner, ListValue):
        inner = bare(inner.item)
    if names is not None and isinstance(inner, ObjectValue | MapValue | AnyValue):
        return dict(zip(names, row, strict=True))
    return row[0] if len(row) == 1 and not isinstance(inner, ListValue) else row
