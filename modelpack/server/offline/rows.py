"""Rows as they come from a file, as arguments of the api; those that do not fit are told apart.

    {rows: [{x: …}, …]}              one body a row, without the axis of the batch
    {json: b"[…]"}                   the same, as JSON
    {arrays: {x: array}, count: K}   the rows of all of them along the first axis
        │
        ├─► Group(places, Arguments)  as few calls as can be
        └─► Bad(place, Refusal)       what the decoder says of that row alone

The decoder is that of the server.  Rows are decoded together, since that costs a fraction of one by
one; only when some row does not fit are they looked at one by one.  Rows of an api with a batch that
cannot stand in one array, for their lengths differ, become groups of their own and meet again in the
batcher, which may pad them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from modelpack.errors import InputError, Issue
from modelpack.sdk.api import ApiSpec, Arguments
from modelpack.sdk.tensor import TensorValue, to_float, to_integer
from modelpack.sdk.values import MISSING
from modelpack.server.faces.tensors import InputPort, inputs_of
from modelpack.server.offline.call import Refusal, refusal_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

Row = dict[str, Any]


@dataclass(slots=True)
class Group:
    """Rows that go into one call; ``places`` are where they stood in the chunk."""

    places: list[int]
    arguments: Arguments


@dataclass(frozen=True, slots=True)
class Bad:
    """A row without an answer."""

    place: int
    why: Refusal

    def to_plain(self) -> list[Any]:
        """Return it as the other side reads it."""
        return [self.place, self.why.code, self.why.detail, self.why.issues]


class RowReader:
    """Reads the chunks of one run."""

    def __init__(self, api: ApiSpec, constants: Row) -> None:
        """``constants`` are values for parameters that no row has."""
        self._api = api
        self._constants = constants
        self._batched = frozenset(api.batched)
        self._ports = {port.name: port for port in inputs_of(api)}

    def read(
        self, chunk: Mapping[str, Any], skipped: frozenset[int]
    ) -> tuple[list[Group], list[Bad]]:
        """Return the calls to make for a chunk, without the places that are ``skipped``."""
        if (arrays := chunk.get("arrays")) is not None:
            places = [place for place in range(chunk["count"]) if place not in skipped]
            return self._read_arrays(arrays, places)
        given = orjson.loads(chunk["json"]) if "json" in chunk else chunk["rows"]
        rows = [(place, row) for place, row in enumerate(given) if place not in skipped]
        groups: list[Group] = []
        bad: list[Bad] = []
        if not self._batched:
            for place, row in rows:
                self._read_one(place, row, groups, bad)
            return groups, bad
        for _, alike in groupby(rows, lambda one: self._mates(one[1])):
            self._read_together(list(alike), groups, bad)
        return groups, bad

    def _mates(self, row: Row) -> tuple[list[str], str]:
        """Return what rows of one call have in common: their keys, and values without an axis."""
        keys = sorted(row)
        single = [row[key] for key in keys if key not in self._batched]
        return keys, repr(single) if single else ""

    def _read_together(
        self, rows: list[tuple[int, Row]], groups: list[Group], bad: list[Bad]
    ) -> None:
        try:
            groups.append(self._decoded(rows))
            return
        except InputError:
            found: list[Group] = []
            for place, row in rows:
                self._read_one(place, row, found, bad)
        fitting = {group.places[0] for group in found}
        good = [(place, row) for place, row in rows if place in fitting]
        try:
            if len(good) > 1:
                found = [self._decoded(good)]
        except InputError:
            pass  # each fits, but not all together: they are of different lengths
        groups += found

    def _read_one(self, place: int, row: Row, groups: list[Group], bad: list[Bad]) -> None:
        try:
            groups.append(self._decoded([(place, row)]))
        except InputError as error:
            why = refusal_of(error)
            why.issues = [[self._in_row(at), *rest] for at, *rest in why.issues]
            if why.issues:
                at, expected, got = why.issues[0]
                more = f", and {len(error.issues) - 1} more" if len(error.issues) > 1 else ""
                why.detail = f"{at or 'the row'}: expected {expected}, got {got}{more}"
            bad.append(Bad(place, why))

    def _decoded(self, rows: Sequence[tuple[int, Row]]) -> Group:
        """Decode rows that have the same keys as one body; raises InputError."""
        first = rows[0][1]
        body = {**self._constants, **first}
        for name in self._batched & first.keys():
            body[name] = [row[name] for _, row in rows]
        return Group([place for place, _ in rows], self._api.decode(body))

    def _in_row(self, pointer: str) -> str:
        """Return a pointer into the body of one row as one into the row: without its number."""
        name, slash, rest = pointer[1:].partition("/")
        if slash and name in self._batched:
            _, slash, rest = rest.partition("/")
        return f"/{name}{slash}{rest}" if name else pointer

    def _read_arrays(
        self, arrays: Mapping[str, Array], places: list[int]
    ) -> tuple[list[Group], list[Bad]]:
        groups: list[Group] = []
        bad: list[Bad] = []
        runs = [places] if self._batched and places else [[place] for place in places]
        for run in runs:
            try:
                groups.append(self._taken(arrays, run))
            except InputError as error:
                if len(run) == 1:
                    bad.append(Bad(run[0], refusal_of(error)))
                    continue
                more, worse = self._halved(arrays, run)
                groups += more
                bad += worse
        return groups, bad

    def _halved(self, arrays: Mapping[str, Array], run: list[int]) -> tuple[list[Group], list[Bad]]:
        middle = len(run) // 2
        halves = [self._read_arrays(arrays, half) for half in (run[:middle], run[middle:])]
        return halves[0][0] + halves[1][0], halves[0][1] + halves[1][1]

    def _taken(self, arrays: Mapping[str, Array], run: list[int]) -> Group:
        """Return some rows of the arrays as arguments; raises InputError."""
        issues: list[Issue] = []
        values = self._api_values(arrays, run, issues)
        if issues:
            raise InputError.of(issues)
        return Group(run, Arguments(values, len(run) if self._batched else 1))

    def _api_values(self, arrays: Mapping[str, Array], run: list[int], issues: list[Issue]) -> Row:
        values: Row = {}
        is_whole = run[-1] - run[0] + 1 == len(run)
        for parameter in self._api.parameters:
            name = parameter.name
            if name in arrays:
                array = arrays[name]
                if name not in self._batched:
                    part = np.asarray(array[run[0]])
                else:
                    part = array[run[0] : run[-1] + 1] if is_whole else array[run]
                port = self._ports[name]
                values[name] = port.take(_fitting(port, part), issues)
            elif name in self._constants:
                at = f"/{name}"
                values[name] = parameter.value.decode(self._constants[name], at, issues)
            elif parameter.default is MISSING:
                issues.append(Issue(f"/{name}", parameter.value.expectation, "nothing"))
            else:
                values[name] = parameter.default
        return values


def _fitting(port: InputPort, array: Array) -> Array:
    """Return the array in the dtype of its parameter where no number changes, as JSON would be read.

    Whole numbers and wider floats become floats, and integers others that hold them; what does
    not fit is left for the port to refuse.
    """
    value = port.parameter.value
    if not isinstance(value, TensorValue) or not array.size or array.dtype.kind not in "iuf":
        return array
    wanted = np.dtype(object if value.spec.dtype == "str" else value.spec.dtype)
    if array.dtype == wanted:
        return array
    if wanted.kind == "f":
        is_finite = np.isfinite(array)
        fitting = to_float(np.where(is_finite, array, 0), value.spec.dtype)
        if fitting is not None and not is_finite.all():
            with np.errstate(over="ignore"):
                fitting = array.astype(wanted)  # NaN and infinities are numbers of an array
    elif wanted.kind in "iu" and array.dtype.kind in "iu":
        fitting = to_integer(array, value.spec.dtype)
    else:
        return array
    return array if fitting is None else fitting


def halves_of(group: Group, batched: Sequence[str]) -> Iterator[Group]:
    """Yield a group in two halves; it has two rows or more."""
    middle = len(group.places) // 2
    for part in (slice(0, middle), slice(middle, None)):
        places = group.places[part]
        values = {
            name: value[part] if name in batched else value
            for name, value in group.arguments.values.items()
        }
        yield Group(places, replace(group.arguments, values=values, rows=len(places)))
