"""Tables and objects as lines of text: csv, tsv and jsonl, plain or compressed with gzip.

    bytes ──lines, with the place of each──► records ──► bodies ──► Block
                                                └─ a record that cannot be read is a bad row

A place is a number of bytes (after decompression) and the number of the row there.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from modelpack.errors import BatchError
from modelpack.offline.block import BadRow, Block, Position
from modelpack.offline.inputs.base import Asked, Streams
from modelpack.offline.inputs.cells import Plan, cell_value, plan_for

MOST_LINE_BYTES = 64 * 1024 * 1024
"""Longest line; a file without line ends is not read into memory."""

_MOST_CELL = 16 * 1024 * 1024
_SHOWN = 200
_DELIMITERS = ",;\t|"


class _Lines:
    """The lines of a file, and where the next one begins."""

    def __init__(self, streams: Streams, at: int) -> None:
        self.name = streams.name
        self._raw = streams.open()
        self._is_packed = streams.name.endswith(".gz")
        self._file: Any = gzip.GzipFile(fileobj=self._raw) if self._is_packed else self._raw
        self._size = streams.size_bytes
        if at:
            self._file.seek(at)
        self.at = at

    def next(self) -> bytes | None:
        """Return the next line with its end, None behind the last; raises BatchError."""
        try:
            line = self._file.readline(MOST_LINE_BYTES)
        except (OSError, EOFError) as cause:
            raise BatchError(f"'{self.name}' cannot be read at byte {self.at}: {cause}") from cause
        if len(line) == MOST_LINE_BYTES:
            raise BatchError(
                f"'{self.name}': the line at byte {self.at} is longer than "
                f"{MOST_LINE_BYTES // 1024 // 1024} MB",
                hint="has it line ends?",
            )
        self.at += len(line)
        return line or None

    def share(self, at: int) -> float:
        """Return how much lies before a place; of a compressed file, before where it is read now."""
        done = self._raw.tell() if self._is_packed else at
        return min(1.0, done / self._size) if self._size else 1.0

    def close(self) -> None:
        self._file.close()
        self._raw.close()


class JsonlReader:
    """One row a line: an object, or the value of the only parameter; empty lines are none."""

    total_rows: int | None = None

    def __init__(self, streams: Streams, asked: Asked, position: Position | None) -> None:
        """Begin at the start, or at the end of a block."""
        at: int = position[0] if position else 0
        self._row: int = position[1] if position else 0
        self._lines = _Lines(streams, at)
        self._asked = asked

    def take(self, rows: int, most_bytes: int) -> Block | None:
        """See ``Reader``."""
        block = Block(self._row, 0, None, rows=[], kept={name: [] for name in self._asked.keep})
        begin = self._lines.at
        while block.count < rows and self._lines.at - begin < most_bytes:
            if (line := self._lines.next()) is None:
                break
            if line.isspace():
                continue
            block.count += 1
            self._add(line, block)
            self._row += 1
        block.end = [self._lines.at, self._row]
        return block if block.count else None

    def _add(self, line: bytes, block: Block) -> None:
        try:
            row = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
        except ValueError as error:
            shown = line[:_SHOWN].decode("utf-8", "replace").rstrip("\n")
            block.bad.append(BadRow(self._row, "bad-json", str(error), shown))
            return
        if not isinstance(row, dict):
            only = self._asked.hello.only(self._asked.constants, "lines without keys")
            row = {only.name: row}
        for name, column in block.kept.items():
            column.append(row.pop(name, None))
        block.numbers.append(self._row)
        if block.rows is not None:
            block.rows.append(row)

    def share(self, position: Position) -> float:
        """See ``Reader``."""
        return self._lines.share(position[0])

    def close(self) -> None:
        """See ``Reader``."""
        self._lines.close()


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
        head = _Lines(streams, 0)
        first = head.next()
        head.close()
        if first is None:
            raise BatchError(f"'{streams.name}' is empty", hint="its first line names the columns")
        self._delimiter = _delimiter_of(first, streams.name)
        self._lines = _Lines(streams, 0)
        self._row = 0
        columns = self._header()
        self._plan = plan_for(columns, asked, f"'{streams.name}'")
        self._texts = frozenset(one.name for one in asked.hello.parameters if one.is_text)
        if position is not None:
            at, self._row = position
            self._lines.close()
            self._lines = _Lines(streams, at)

    def take(self, rows: int, most_bytes: int) -> Block | None:
        """See ``Reader``."""
        plan = self._plan
        block = Block(self._row, 0, None, kept={plan.columns[i]: [] for i in plan.kept})
        begin = self._lines.at
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
        block.arrays = _as_array(records, plan)
        if block.arrays is None:
            block.rows = [plan.body(self._values(record)) for record in records]
        block.end = [self._lines.at, self._row]
        return block

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
                text = b"".join(consumed)[:_SHOWN].decode("utf-8", "replace")
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


def _as_array(records: list[list[str]], plan: Plan) -> dict[str, Any] | None:
    """Return rows of numbers for an array of floats as one array; None: look at each cell.

    All cells are read at once as JSON, which is several times as fast as one by one.  Anything that
    is no number there (a word, an empty cell, true) is left to the slower way, which knows rows.
    """
    param = plan.whole
    if param is None or param.dtype is None or not param.dtype.startswith("f") or not records:
        return None
    text = ",".join([",".join(record) for record in records])
    if not set(text) <= _OF_NUMBERS:
        return None
    try:
        cells = orjson.loads(f"[{text}]")
    except ValueError:
        return None
    if len(cells) != len(records) * len(plan.used):
        return None
    shape = param.shape if param.shape is not None and -1 not in param.shape else (len(plan.used),)
    return {param.name: np.array(cells, np.float64).reshape(len(records), *shape)}


_OF_NUMBERS = frozenset("0123456789+-.eE, ")


def _delimiter_of(line: bytes, name: str) -> str:
    if name.removesuffix(".gz").endswith(".tsv"):
        return "\t"
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as cause:
        raise BatchError(f"'{name}' is not text in UTF-8") from cause
    return max(_DELIMITERS, key=lambda one: (text.count(one), one == ","))
