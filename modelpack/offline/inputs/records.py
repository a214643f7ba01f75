"""Tables as text: a record a row, the first one names the columns (RFC 4180, in UTF-8).

    lines of nothing but numbers ──as JSON──► an array
    other lines ──csv──► cells ──► bodies ──► Block
                     └─ what is no record is a bad row, and the next line begins another

A place is that of ``lines``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from modelpack.errors import BatchError
from modelpack.offline.block import BadRow, Block, Position
from modelpack.offline.inputs.base import Asked, Streams
from modelpack.offline.inputs.cells import Plan, cell_value, plan_for
from modelpack.offline.inputs.lines import SHOWN, Lines

_MOST_CELL = 16 * 1024 * 1024
_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True)
class _Broken:
    """Text that is no record."""

    why: str
    text: str


class CsvReader:
    """One row a record; the first one names the columns (RFC 4180, with UTF-8)."""

    total_rows: int | None = None

    def __init__(self, streams: Streams, asked: Asked, position: Position | None) -> None:
        """Begin behind the header, or at the end of a block; raises BatchError."""
        csv.field_size_limit(_MOST_CELL)
        head = Lines(streams, 0)
        first = head.next()
        head.close()
        if first is None:
            raise BatchError(f"'{streams.name}' is empty", hint="its first line names the columns")
        self._delimiter = _delimiter_of(first, streams.name)
        self._lines = Lines(streams, 0)
        self._row = 0
        columns = self._header()
        if _is_row(columns):
            raise BatchError(
                f"'{streams.name}': the first line has to name the columns, and is numbers",
                hint="put a line of names before it, as many as there are numbers",
            )
        self._plan = plan_for(columns, asked, f"'{streams.name}'")
        self._texts = frozenset(one.name for one in asked.hello.parameters if one.is_text)
        if position is not None:
            at, self._row = position
            self._lines.close()
            self._lines = Lines(streams, at)

    def take(self, rows: int, most_bytes: int) -> Block | None:
        """See ``Reader``."""
        plan = self._plan
        if (block := self._take_numbers(rows, most_bytes)) is not None:
            return block
        begin = self._lines.at
        block = Block(self._row, 0, None, kept={plan.columns[i]: [] for i in plan.kept})
        records: list[list[str]] = []
        for record in self._records():
            if isinstance(record, _Broken):
                block.bad.append(BadRow(self._row, "bad-csv", record.why, record.text))
                block.count += 1
                self._row += 1
            elif record:  # an empty line is no row
                self._keep(record, records, block)
            if block.count >= rows or self._lines.at - begin >= most_bytes:
                break
        if not block.count:
            return None
        text = ",".join([",".join(record) for record in records])
        block.arrays = _as_array(text.encode(), len(records), plan)
        if block.arrays is None:
            block.rows = [plan.body(self._values(record)) for record in records]
        block.end = [self._lines.at, self._row]
        return block

    def _take_numbers(self, rows: int, most_bytes: int) -> Block | None:
        """Take lines of nothing but numbers, for an array of floats; None: there is something else.

        Such lines are JSON as they are, and need not be cut into cells.
        """
        plan = self._plan
        if plan.whole is None or not plan.whole.is_floats or plan.kept or self._delimiter != ",":
            return None
        begin, commas = self._lines.at, len(plan.columns) - 1
        lines: list[bytes] = []
        while len(lines) < rows and self._lines.at - begin < most_bytes:
            if (line := self._lines.next()) is None:
                break
            lines.append(line)
            if line.count(b",") != commas:
                break
        text = b",".join([line.rstrip(b"\r\n") for line in lines])
        arrays = _as_array(text, len(lines), plan)
        if arrays is None:
            self._lines.unread(lines)
            return None
        first, self._row = self._row, self._row + len(lines)
        numbers = list(range(first, self._row))
        end = [self._lines.at, self._row]
        return Block(first, len(lines), end, numbers=numbers, arrays=arrays)

    def _keep(self, record: list[str], records: list[list[str]], block: Block) -> None:
        plan = self._plan
        if len(record) == len(plan.columns):
            records.append([record[index] for index in plan.used] if plan.kept else record)
            for index in plan.kept:
                block.kept[plan.columns[index]].append(record[index])
            block.numbers.append(self._row)
        else:
            detail = f"expected {len(plan.columns)} cells, got {len(record)}"
            block.bad.append(BadRow(self._row, "bad-csv", detail, record))
        block.count += 1
        self._row += 1

    def _values(self, record: Sequence[str]) -> list[Any]:
        if self._plan.whole is not None:
            return [cell_value(cell) for cell in record]
        names = self._plan.names
        return [
            (cell or None) if name in self._texts else cell_value(cell)
            for name, cell in zip(names, record, strict=True)
        ]

    def _records(self) -> Iterator[list[str] | _Broken]:
        """Yield records; ``self._lines.at`` is behind the one that was yielded.

        What is no record costs itself, and the next line begins another.
        """
        lines, consumed = self._lines, list[bytes]()

        def texts() -> Iterator[str]:
            while (line := lines.next()) is not None:
                consumed.append(line)
                yield line.decode("utf-8")

        while True:
            reader = csv.reader(texts(), delimiter=self._delimiter, strict=True)
            try:
                for record in reader:
                    consumed.clear()
                    yield record
            except (csv.Error, UnicodeDecodeError) as error:
                text = b"".join(consumed)[:SHOWN].decode("utf-8", "replace")
                consumed.clear()
                yield _Broken(str(error), text)
            else:
                return

    def _header(self) -> list[str]:
        header = next(self._records(), [])
        if isinstance(header, _Broken):
            raise BatchError(f"'{self._lines.name}': the first line is no header: {header.why}")
        return [name.removeprefix("\ufeff").strip() for name in header]

    def share(self, position: Position) -> float:
        """See ``Reader``."""
        return self._lines.share(position[0])

    def close(self) -> None:
        """See ``Reader``."""
        self._lines.close()


def _as_array(text: bytes, rows: int, plan: Plan) -> dict[str, Any] | None:
    """Return rows of numbers for an array of floats as one array; None: look at each cell.

    All cells are read at once as JSON, which is several times as fast as one by one.  Anything that
    is no number there (a word, an empty cell, true) is left to the slower way, which knows rows.
    """
    param = plan.whole
    if param is None or not param.is_floats or not rows or text.translate(None, _OF_NUMBERS):
        return None
    try:
        cells = orjson.loads(b"[%b]" % text)
    except ValueError:
        return None
    if len(cells) != rows * len(plan.used):
        return None
    shape = param.shape if param.shape is not None and -1 not in param.shape else (len(plan.used),)
    return {param.name: np.array(cells, np.float64).reshape(rows, *shape)}


_OF_NUMBERS = b"0123456789+-.eE, "


def _is_row(columns: Sequence[str]) -> bool:
    """Say whether a header is a row of numbers instead, which would be lost without a word.

    Names that count the columns from 0, as pandas writes them, are names.
    """
    if list(columns) == [str(number) for number in range(len(columns))]:
        return False
    values = [cell_value(name) for name in columns]
    return all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)


def _delimiter_of(line: bytes, name: str) -> str:
    if name.removesuffix(".gz").endswith(".tsv"):
        return "\t"
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as cause:
        raise BatchError(f"'{name}' is not text in UTF-8") from cause
    return max(_DELIMITERS, key=lambda one: (text.count(one), one == ","))
