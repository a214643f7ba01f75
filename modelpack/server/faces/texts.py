"""Rows as text: CSV (RFC 4180) and JSON lines, both ways.

    text/csv           1.5,2        or, with a header:   a,b
                       3,4                               1.5,2
    application/jsonlines           {"x": [1.5, 2]}      or the bare value: [1.5, 2]
                                    {"x": [3, 4]}

A cell is a number, ``true`` or ``false`` where it looks like one, unless the api wants text there.
``header=present`` or ``header=absent`` behind the content type says whether the first line names the
columns (RFC 4180, 3); without it a line in which nothing is a number is a header, unless all of the
columns are text: then only one that names parameters is.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from modelpack.errors import InputError
from modelpack.sdk.api import ApiSpec
from modelpack.sdk.containers import ListValue, ObjectValue
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import ChoiceValue, StringValue, Value
from modelpack.server.bodies.codecs import check_depth, dump, parse
from modelpack.server.endpoint import Endpoint
from modelpack.server.faces.frames import table
from modelpack.server.faces.rows import Given, from_instances, sole_parameter
from modelpack.server.faces.tensors import bare
from modelpack.server.problems import BadJson, BadOutput

CSV = "text/csv"
JSON_LINES = ("application/jsonlines", "application/x-jsonlines", "application/jsonl",
              "application/x-ndjson")  # fmt: skip
"""Names that are in use for one JSON value a line; the first is SageMaker's."""

_WHOLE = re.compile(r"[+-]?\d{1,30}")
_WORDS = {"true": True, "false": False}


def has_header(content_type: bytes) -> bool | None:
    """Return what a content type says of the first line; None: nothing."""
    found = re.search(rb';\s*header\s*=\s*"?(present|absent)', content_type.lower())
    return None if found is None else found[1] == b"present"


def from_csv(endpoint: Endpoint, body: bytes, *, header: bool | None) -> Given:
    """Return the arguments for lines of CSV in UTF-8; raises InputError.

    ``header`` says whether the first line names the columns; None: it is looked at.
    """
    api, rows = endpoint.decodes, _lines_of_csv(body)
    if not rows:
        raise InputError.at("", "at least one row", "none")
    is_header = _is_header(api, rows[0]) if header is None else header
    names = rows.pop(0) if is_header else None
    if not rows:
        raise InputError.at("", "at least one row below the header", "none")
    is_text = _are_texts(api, names, len(rows[0]))
    made = []
    for index, row in enumerate(rows):
        if len(row) != len(is_text):
            raise InputError.at(
                f"/{index}", f"{len(is_text)} values as in the others", f"{len(row)}"
            )
        made.append([_cell(one, is_text=text) for one, text in zip(row, is_text, strict=True)])
    return table(endpoint, names, made, "", {})


def from_json_lines(endpoint: Endpoint, body: bytes) -> Given:
    """Return the arguments for one JSON value a line; raises InputError and BadJson."""
    rows = []
    for index, line in enumerate(body.split(b"\n")):
        if line.strip():
            try:
                rows.append(parse(line))
            except BadJson as error:
                raise BadJson(f"line {index + 1}: {error}") from None
            check_depth(rows[-1])
    return from_instances(endpoint, rows, "")


def to_csv(rows: Sequence[Any]) -> bytes:
    """Return one line a row, without a header; raises BadOutput."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([list(_cells(row)) for row in rows])
    return out.getvalue().encode()


def to_json_lines(rows: Iterable[Any]) -> bytes:
    """Return one JSON value a row; raises BadOutput."""
    return b"".join([dump(row) + b"\n" for row in rows])


def _cells(row: Any) -> Iterable[Any]:
    """Yield what stands in the cells of a row, whatever is nested in it."""
    if isinstance(row, np.ndarray):
        row = row.tolist()
    elif isinstance(row, np.generic):
        row = row.item()
    if isinstance(row, Mapping):
        row = list(row.values())
    if isinstance(row, list | tuple):
        for one in row:
            yield from _cells(one)
    elif isinstance(row, bool):
        yield "true" if row else "false"
    elif row is None or isinstance(row, int | float | str):
        yield row
    else:
        raise BadOutput(f"{type(row).__name__} has no form in CSV")


def _lines_of_csv(body: bytes) -> list[list[str]]:
    try:
        text = body.decode("utf-8-sig")
        return [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except UnicodeDecodeError:
        raise InputError.at("", "CSV in UTF-8", "other bytes") from None
    except csv.Error as error:
        raise InputError.at("", "CSV as in RFC 4180", str(error)[:100]) from None


def _is_header(api: ApiSpec, row: Sequence[str]) -> bool:
    if any(not isinstance(_cell(one, is_text=False), str) for one in row):
        return False
    names = {one.name for one in api.parameters}
    return set(row) <= names or not all(_are_texts(api, None, len(row)))


def _are_texts(api: ApiSpec, columns: Sequence[str] | None, width: int) -> list[bool]:
    """Say for each column whether its cells stay text."""
    values = {one.name: one.value for one in api.parameters}
    if columns is not None and set(columns) <= set(values):
        return [_is_text(values[name]) for name in columns]
    only = sole_parameter(api)
    if only is None:
        return [False] * width
    inner = _inner(only.value)
    if columns is not None and isinstance(inner, ObjectValue):
        fields = inner.fields
        return [name in fields and _is_text(fields[name]) for name in columns]
    return [_is_text(inner)] * width


def _inner(value: Value) -> Value:
    value = bare(value)
    while isinstance(value, ListValue):
        value = bare(value.item)
    return value


def _is_text(value: Value) -> bool:
    inner = _inner(value)
    if isinstance(inner, TensorValue):
        return inner.spec.dtype == "str"
    if isinstance(inner, ChoiceValue):
        return all(isinstance(one, str) for one in inner.options)
    return isinstance(inner, StringValue)


def _cell(text: str, *, is_text: bool) -> Any:
    """Return what a cell says; what is no number stays text, and is refused where it does not fit."""
    if is_text:
        return text
    word = text.strip()
    if _WHOLE.fullmatch(word):
        return int(word)
    if word.lower() in _WORDS:
        return _WORDS[word.lower()]
    try:
        return float(word)
    except ValueError:
        return text
