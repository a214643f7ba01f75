"""Which columns of a table are which parameters.

    every required parameter has a column of its name    {name: cell, …}
    one parameter that takes a list or a row of an array   {x: [cell, …]}, columns in their order
    one parameter that is an object                       {record: {column: cell, …}}

Decided once, from the names of the columns; ``--keep`` takes some out before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from modelpack.errors import BatchError, did_you_mean
from modelpack.offline.hello import Param
from modelpack.offline.inputs.base import Asked


@dataclass(frozen=True, slots=True)
class Plan:
    """How the cells of a row become its body."""

    columns: tuple[str, ...]
    """Of the whole table."""
    used: tuple[int, ...]
    """Columns that go to the service."""
    kept: tuple[int, ...]
    whole: Param | None = None
    """The parameter that all used columns make up; None: each has its own."""

    @property
    def names(self) -> list[str]:
        """Names of the columns that are used."""
        return [self.columns[index] for index in self.used]

    def body(self, cells: Sequence[Any]) -> dict[str, Any]:
        """Return the body of a row, of the values of the columns that are used."""
        if self.whole is None:
            return {
                name: one for name, one in zip(self.names, cells, strict=True) if one is not None
            }
        if not self.whole.takes_vector:
            record = {
                name: one for name, one in zip(self.names, cells, strict=True) if one is not None
            }
            return {self.whole.name: record}
        return {self.whole.name: shaped(list(cells), self.whole)}


def plan_for(columns: Sequence[str], asked: Asked, place: str) -> Plan:
    """Return what the columns of a table mean; raises BatchError."""
    for name in asked.keep:
        if name not in columns:
            near = did_you_mean(name, columns)
            raise BatchError(
                f"{place}: there is no column '{name}' to keep",
                hint=f"did you mean '{near}'?" if near else f"it has {_listed(columns)}",
            )
    if len(set(columns)) < len(columns):
        twice = next(one for one in columns if list(columns).count(one) > 1)
        raise BatchError(f"{place}: two columns are named '{twice}'", hint="rename one of them")
    kept = tuple(columns.index(name) for name in asked.keep)
    used = tuple(index for index in range(len(columns)) if index not in kept)
    names = [columns[index] for index in used]
    wanted = asked.hello.open_params(asked.constants)
    if all(one.name in names for one in wanted if one.is_required) and any(
        one.name in names for one in wanted
    ):
        return _named(columns, used, kept, asked, place)
    whole = _whole(wanted, asked, names, place)
    if whole.takes_vector and whole.shape is not None and -1 not in whole.shape:
        count = math.prod(whole.shape)
        if count != len(used):
            raise BatchError(
                f"{place}: a row of '{whole.name}' has {count} values, the table {len(used)} columns",
                hint="name columns that are none of them with --keep",
            )
    return Plan(tuple(columns), used, kept, whole)


def _named(
    columns: Sequence[str], used: tuple[int, ...], kept: tuple[int, ...], asked: Asked, place: str
) -> Plan:
    known = [one.name for one in asked.hello.open_params(asked.constants)]
    others = [columns[index] for index in used if columns[index] not in known]
    if others:
        raise BatchError(
            f"{place}: {_listed(others)}: no parameter of '{asked.hello.api}', "
            f"which takes {_listed(known)}",
            hint=f"take it to the output as it is with --keep {others[0]}",
        )
    return Plan(tuple(columns), used, kept)


def _whole(wanted: Sequence[Param], asked: Asked, names: Sequence[str], place: str) -> Param:
    required = [one for one in wanted if one.is_required] or list(wanted)
    if len(required) == 1 and (required[0].takes_vector or required[0].is_object):
        return required[0]
    raise BatchError(
        f"{place}: '{asked.hello.api}' takes {_listed([one.name for one in required])}, "
        f"the table has {_listed(names)}",
        hint="name the columns like the parameters",
    )


def shaped(cells: list[Any], param: Param) -> Any:
    """Return a flat row with the axes of its parameter, where all of them are known."""
    shape = param.shape
    if shape is None or len(shape) < 2 or -1 in shape or math.prod(shape) != len(cells):
        return cells
    for length in reversed(shape[1:]):
        cells = [cells[i : i + length] for i in range(0, len(cells), length)]
    return cells


def cell_value(text: str) -> Any:
    """Return what a cell of text says: a number, true or false, JSON, else the text; empty: None."""
    bare = text.strip()
    if not bare:
        return None
    try:
        return orjson.loads(bare)
    except ValueError:
        pass
    if (lower := bare.lower()) in ("true", "false"):
        return lower == "true"
    try:
        number = float(bare)
    except ValueError:
        return text
    # What JSON does not write so: +1, .5, 1., 01.  Underscores and words are text.
    return number if bare[-1] in "0123456789." and "_" not in bare else text


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:6])
    return f"{shown}, …" if len(names) > 6 else shown or "nothing"
