"""Answers as text: csv and jsonl.

Numbers are written as short as they can be and still be read back as the same (those of ``float32``
too); NaN and infinities are ``NaN`` in csv and ``null`` in jsonl, as everywhere in JSON here.
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson

from modelpack.errors import BatchError
from modelpack.offline.outputs.base import ROW, Layout, Part, Table

_JSON = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class JsonlWriter:
    """One object a row, with its number first."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self.size_bytes = 0

    def add(self, table: Table) -> None:
        """See ``Writer``."""
        names = (ROW, *table.columns)
        columns = [_items(column) for column in table.columns.values()]
        for values in zip(table.numbers, *columns, strict=True):
            row = dict(zip(names, values, strict=True))
            line = orjson.dumps(row, plain, _JSON | orjson.OPT_APPEND_NEWLINE)
            self._lines.append(line)
            self.size_bytes += len(line)

    def finish(self) -> bytes:
        """See ``Writer``."""
        lines, self._lines, self.size_bytes = self._lines, [], 0
        return b"".join(lines)

    def assembled(self, parts: Sequence[Part]) -> Iterator[bytes]:
        """See ``Writer``."""
        for part in parts:
            yield from part.open()


class CsvWriter:
    """One record a row, a header in every part."""

    def __init__(self, layout: Layout | None) -> None:
        """``layout`` None: the first table says which columns there are."""
        self.layout = layout
        self._text = io.StringIO()
        self._writer = csv.writer(self._text, lineterminator="\n")
        self.size_bytes = 0

    def add(self, table: Table) -> None:
        """See ``Writer``."""
        if not table.numbers:
            return
        if self.layout is None:
            self.layout = Layout.of(table)
        if self.layout.columns != tuple(table.columns):
            raise BatchError(
                "the answers have other keys from row to row, which a table cannot hold",
                hint="write .jsonl",
            )
        columns = [_cells(column) for column in table.columns.values()]
        self._writer.writerows(zip(table.numbers, *columns, strict=True))
        self.size_bytes = self._text.tell()

    def finish(self) -> bytes:
        """See ``Writer``."""
        data = self._header() + self._text.getvalue().encode("utf-8", "surrogatepass")
        self._text.seek(0)
        self._text.truncate()
        self.size_bytes = 0
        return data

    def _header(self) -> bytes:
        text = io.StringIO()
        columns = self.layout.columns if self.layout is not None else ()
        csv.writer(text, lineterminator="\n").writerow((ROW, *columns))
        return text.getvalue().encode()

    def assembled(self, parts: Sequence[Part]) -> Iterator[bytes]:
        """See ``Writer``."""
        header = self._header()
        yield header
        for part in parts:
            if part.rows:  # one without rows may have been written before the columns were known
                yield from _behind(part.open(), len(header))


def _behind(chunks: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Yield the bytes without the first ``count``."""
    for chunk in chunks:
        yield chunk[count:]
        count = max(0, count - len(chunk))


def plain(value: Any) -> Any:
    """Return what JSON has in the place of a value that it does not know."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, np.ndarray):
        return value.tolist()  # text, float16, or not in one piece
    return str(value)


def _items(column: Any) -> Any:
    """Return a column so that iterating it gives what JSON writes."""
    if isinstance(column, np.ndarray) and column.dtype.isnative and column.dtype.kind in "biuf":
        return np.ascontiguousarray(column)
    return column.tolist() if isinstance(column, np.ndarray) else column


def _cells(column: Any) -> list[Any]:
    """Return the cells of a column."""
    if isinstance(column, np.ndarray):
        if column.ndim == 1 and column.dtype.kind in "iufb" and column.dtype.itemsize > 2:
            words = orjson.dumps(column, option=_JSON)[1:-1].decode().split(",")
            return ["NaN" if word == "null" else word for word in words]
        column = list(column) if column.ndim > 1 else column.tolist()
    return [_cell(one) for one in column]


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and value != value:  # noqa: PLR0124  NaN
        return "NaN"
    return orjson.dumps(value, plain, _JSON).decode()
