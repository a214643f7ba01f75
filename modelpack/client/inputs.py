"""Files as the arguments of an api: what they hold is known by their names, else by their bytes.

    .json                an object with the parameters as keys, or the value of the only one
    .jsonl, .ndjson      a list: one value a line
    .csv, .tsv           rows of an array or a list; columns named as parameters are those
    .npy, .npz           an array; several, by name
    .txt                 a text
    anything else        a file or image, as it is

    data, name, api ──arguments_of──► {"x": array}        raises UsageError that names file and place

"The only one" is the only parameter of that kind that has to be given, else the only one there is.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any

from modelpack.client.decoding import Schema
from modelpack.client.schema import Api, Parameter
from modelpack.errors import UsageError

KINDS = ("json", "jsonl", "csv", "tsv", "npy", "npz", "text", "file")

_SUFFIXES = {
    ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv",
    ".npy": "npy", ".npz": "npz", ".txt": "text", ".md": "text",
}  # fmt: skip


def arguments_of(api: Api, data: bytes, name: str, kind: str | None = None) -> dict[str, Any]:
    """Return the arguments that a file holds; ``kind`` is one of KINDS, None: guessed."""
    kind = kind or kind_of(api, data, name)
    if kind == "file":
        return {only(api, name, "file", lambda p: p.is_file).name: data}
    if kind == "npz":
        return _arrays(data, name)
    if kind == "npy":
        return {only(api, name, "array", _is_array).name: _array(data, name)}
    text = _text(data, name)
    if kind == "text":
        return {only(api, name, "text", lambda p: p.is_text).name: text.removesuffix("\n")}
    if kind in ("csv", "tsv"):
        return _table(api, text, name, "\t" if kind == "tsv" else ",")
    if kind == "jsonl":
        lines = [(at, line) for at, line in enumerate(text.splitlines(), 1) if line.strip()]
        rows = [_json(line, f"{name}:{at}") for at, line in lines]
        return {only(api, name, "list", _is_list).name: rows}
    value = _json(text, name)
    names = {one.name for one in api.parameters}
    if isinstance(value, dict) and (value.keys() <= names or value.keys() & names):
        return value
    return {only(api, name, "parameter", lambda _: True).name: value}


def kind_of(api: Api, data: bytes, name: str) -> str:
    """Return what a file is: by its suffix, else by how it begins and what the api takes."""
    found = _SUFFIXES.get(PurePath(name).suffix.lower())
    if found is not None:
        return found
    start = data[:512].lstrip()
    if data.startswith(b"\x93NUMPY"):
        return "npy"
    if data.startswith(b"PK\x03\x04") and not any(p.is_file for p in api.parameters):
        return "npz"
    if any(p.is_file for p in api.parameters) and not start.startswith((b"{", b"[")):
        return "file"
    if not _is_text(data):
        return "file"  # which the api does not take, as will be said
    if start.startswith((b"{", b"[", b'"')) or start in (b"true", b"false", b"null"):
        return "json"
    if any(_is_list(p) for p in api.parameters):
        return "csv"
    return "text" if any(p.is_text for p in api.parameters) else "json"


def _is_text(data: bytes) -> bool:
    """Say whether the beginning of a file may be text in UTF-8."""
    start = data[:512]
    text = start.decode("utf-8", "ignore").encode()
    return b"\0" not in start and len(start) - len(text) < 4  # a character may be cut in two


def value_of(parameter: Parameter, text: str) -> Any:
    """Return the value that a word of a command line means; raises UsageError."""
    try:
        return _cell(parameter.schema, text)
    except ValueError:
        is_plain = parameter.schema.get("type") in _PLAIN
        hint = f"give it as JSON, or as a file: --set {parameter.name}=@FILE"
        raise UsageError(
            f"'{parameter.name}': '{text[:60]}' is {_wanted(parameter.schema)}",
            hint=None if is_plain else hint,
        ) from None


def only(api: Api, source: str, what: str, fits: Callable[[Parameter], bool]) -> Parameter:
    """Return the parameter that something without a name is for; raises UsageError."""
    found = [one for one in api.parameters if fits(one)]
    required = [one for one in found if one.is_required]
    if len(required) == 1:
        return required[0]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            f"'{api.name}' takes no {what}, and '{source}' is one",
            hint=f"it is called as {api.name}{api.signature}",
        )
    names = ", ".join(one.name for one in found)
    raise UsageError(
        f"'{source}' may be any of {names}", hint=f"say which: --set {found[0].name}=@{source}"
    )


def _is_array(parameter: Parameter) -> bool:
    return parameter.dtype is not None


def _is_list(parameter: Parameter) -> bool:
    return parameter.dtype is not None or parameter.schema.get("type") == "array"


def _array(data: bytes, name: str) -> Any:
    import numpy as np

    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UsageError(f"'{name}' is no .npy file of numbers: {_said(error)}") from None


def _arrays(data: bytes, name: str) -> dict[str, Any]:
    import zipfile

    import numpy as np

    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return dict(file)
    except (ValueError, EOFError, OSError, TypeError, zipfile.BadZipFile) as error:
        raise UsageError(f"'{name}' is no .npz file of numbers: {_said(error)}") from None


def _said(error: Exception) -> str:
    """Return what numpy says of a file, without its own options."""
    text = str(error)
    return "it holds objects of Python" if "allow_pickle" in text else text[:1].lower() + text[1:]


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"'{name}' is no text in UTF-8, at byte {error.start}",
            hint="say what it is with --as: " + ", ".join(KINDS),
        ) from None


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        said = str(error).lower() if isinstance(error, ValueError) else "nested too deep"
        raise UsageError(f"'{where}' is not JSON: {said}") from None


def _table(api: Api, text: str, name: str, delimiter: str) -> dict[str, Any]:
    lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    numbered = [(at, line) for at, line in enumerate(lines, 1) if line]
    if not numbered:
        raise UsageError(f"'{name}' is empty")
    _, head = numbered[0]
    head = [cell.strip() for cell in head]
    names = {one.name: one for one in api.parameters}
    if set(head) <= names.keys() and len(set(head)) == len(head):
        columns = {
            title: _column(names[title], ((at, line, i) for at, line in numbered[1:]), name)
            for i, title in enumerate(head)
        }
        return dict(columns)
    parameter = only(api, name, "list", _is_list)
    return {parameter.name: _rows(parameter, numbered, head, name)}


def _column(parameter: Parameter, cells: Iterable[tuple[int, list[str], int]], name: str) -> Any:
    """Return one column; of a parameter that is no list, its only cell."""
    item = _item(parameter.schema) if _is_list(parameter) else parameter.schema
    values = []
    for at, line, i in cells:
        if i >= len(line):
            raise UsageError(f"{name}:{at}: {i + 1} cells are needed, there are {len(line)}")
        values.append(_checked(item, line[i], f"{name}:{at}:{i + 1}"))
    if _is_list(parameter):
        return _as_array(parameter, values)
    if len(values) != 1:
        raise UsageError(
            f"'{name}' has {len(values)} rows, and '{parameter.name}' is one value",
            hint="'modelpack batch' calls an api once for each row",
        )
    return values[0]


def _rows(
    parameter: Parameter, numbered: list[tuple[int, list[str]]], head: list[str], name: str
) -> Any:
    item = _item(parameter.schema)
    is_records = item.get("type") == "object"
    if is_records or _is_head(parameter, head):
        numbered = numbered[1:]
    rows: list[Any] = []
    for at, line in numbered:
        if len(line) != len(head):
            raise UsageError(f"{name}:{at}: {len(head)} cells are needed, there are {len(line)}")
        if is_records:
            known: Mapping[str, Schema] = item.get("properties", {})
            rows.append(
                {
                    title: _checked(known.get(title, {}), cell, f"{name}:{at}:{i}")
                    for i, (title, cell) in enumerate(zip(head, line, strict=True), 1)
                }
            )
            continue
        scalar = _scalar(parameter)
        rows.append([_checked(scalar, cell, f"{name}:{at}:{i}") for i, cell in enumerate(line, 1)])
    if not is_records and _rank(parameter.schema) == 1 and (len(head) == 1 or len(rows) == 1):
        rows = [cell for row in rows for cell in row]
    return _as_array(parameter, rows)


def _is_head(parameter: Parameter, head: list[str]) -> bool:
    """Say whether a first line is the names of the columns: it has a cell that is no value."""
    scalar = _scalar(parameter)
    if scalar.get("type") in ("string", None):
        return False
    try:
        for cell in head:
            _cell(scalar, cell)
    except ValueError:
        return True
    return False


def _scalar(parameter: Parameter) -> Schema:
    """Return the schema of one cell of a table that is all of a parameter."""
    if (dtype := parameter.dtype) is not None:
        kind = {"b": "boolean", "s": "string", "f": "number"}.get(dtype[0], "integer")
        return {"type": kind}
    item = _item(parameter.schema)
    while item.get("type") == "array":
        item = _item(item)
    return item


def _item(schema: Schema) -> Schema:
    if "x-dtype" in schema and not isinstance(schema.get("items"), Mapping):
        return {}
    found = schema.get("items")
    return found if isinstance(found, Mapping) else {}


def _rank(schema: Schema) -> int | None:
    """Return the number of axes; None: any."""
    rank = 0
    while schema.get("type") == "array":
        rank, schema = rank + 1, _item(schema)
    return rank if schema.get("type") is not None else None


def _as_array(parameter: Parameter, values: list[Any]) -> Any:
    """Return values as the array that they are to be, which travels shorter than a list."""
    if not parameter.has_bytes:
        return values
    import numpy as np

    try:
        return np.array(values, parameter.dtype)
    except (ValueError, OverflowError):
        return values  # the server says what does not fit


def _checked(schema: Schema, text: str, where: str) -> Any:
    try:
        return _cell(schema, text)
    except ValueError:
        raise UsageError(f"{where}: '{text[:40]}' is {_wanted(schema)}") from None


def _cell(schema: Schema, text: str) -> Any:
    """Return the value of a cell; raises ValueError."""
    kind = schema.get("type")
    if kind == "string":
        return text
    if kind == "integer":
        return int(text)
    if kind == "number":
        return float(text)
    if kind == "boolean":
        return _truth(text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        if kind is None:
            return text  # of any type: it is a text then
        raise ValueError(text) from None


def _truth(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("true", "1", "false", "0"):
        raise ValueError(text)
    return word in ("true", "1")


_PLAIN = {
    "integer": "no whole number", "number": "no number", "boolean": "neither 'true' nor 'false'",
}  # fmt: skip
"""What a text is that is no value of a type."""


def _wanted(schema: Schema) -> str:
    return _PLAIN.get(str(schema.get("type")), "no JSON")
