"""The lines of a file, plain or compressed with gzip, and rows that are a line of JSON each.

    bytes ──Lines──► line, and where the next one begins ──JsonlReader──► body ──► Block
                                                              └─ what is no JSON is a bad row

A line is read as strictly as the body of a request: a key that stands twice is no JSON either.
A place is a number of bytes (after decompression) and the number of the row there.
"""

from __future__ import annotations

import gzip
from collections import deque
from typing import Any

import numpy as np

from modelpack.errors import BatchError
from modelpack.offline.block import BadRow, Block, Position
from modelpack.offline.inputs.base import Asked, Streams
from modelpack.server.bodies.codecs import parse
from modelpack.server.problems import BadJson

MOST_LINE_BYTES = 64 * 1024 * 1024
"""Longest line; a file without line ends is not read into memory."""

SHOWN = 200


class Lines:
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
        self._again: deque[bytes] = deque()

    def next(self) -> bytes | None:
        """Return the next line with its end, None behind the last; raises BatchError."""
        if self._again:
            line = self._again.popleft()
            self.at += len(line)
            return line
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

    def unread(self, lines: list[bytes]) -> None:
        """Let the last lines that were read be the next ones; going back costs more in a .gz."""
        self._again.extend(lines)
        self.at -= sum(map(len, lines))

    def share(self, at: int) -> float:
        """Return how much lies before a place; of a compressed file, before where it is read now."""
        done = self._raw.tell() if self._is_packed else at
        return min(1.0, done / self._size) if self._size else 1.0

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
        self._raw.close()


class JsonlReader:
    """One row a line: an object, or the value of the only parameter; empty lines are none."""

    total_rows: int | None = None

    def __init__(self, streams: Streams, asked: Asked, position: Position | None) -> None:
        """Begin at the start, or at the end of a block."""
        at: int = position[0] if position else 0
        self._row: int = position[1] if position else 0
        self._lines = Lines(streams, at)
        self._asked = asked
        self._has_words = False
        floats = [one for one in asked.hello.open_params(asked.constants) if one.is_floats]
        self._floats = floats[0] if len(floats) == 1 else None

    def take(self, rows: int, most_bytes: int) -> Block | None:
        """See ``Reader``."""
        block = Block(self._row, 0, None, rows=[], kept={name: [] for name in self._asked.keep})
        begin = self._lines.at
        self._has_words = False
        while block.count < rows and self._lines.at - begin < most_bytes:
            if (line := self._lines.next()) is None:
                break
            if line.isspace():
                continue
            block.count += 1
            self._add(line, block)
            self._row += 1
        block.end = [self._lines.at, self._row]
        block.arrays = None if self._has_words else self._as_array(block.rows or [])
        if block.arrays is not None:
            block.rows = None
        return block if block.count else None

    def _as_array(self, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Return rows of numbers for an array of floats as one array; None: they are something else.

        One array costs the service a fraction of what its numbers cost it one by one.
        """
        param = self._floats
        if param is None or not rows or any(row.keys() != {param.name} for row in rows):
            return None
        try:
            array = np.array([row[param.name] for row in rows])
        except (ValueError, OverflowError):
            return None  # of different lengths
        return {param.name: array} if array.dtype.kind in "fi" else None

    def _add(self, line: bytes, block: Block) -> None:
        try:
            row = parse(line.removeprefix(b"\xef\xbb\xbf"))
            # numpy would take these for numbers when they stand among some
            self._has_words |= b"true" in line or b"false" in line
        except BadJson as error:
            shown = line[:SHOWN].decode("utf-8", "replace").rstrip("\n")
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
