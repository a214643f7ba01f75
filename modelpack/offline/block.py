"""Some rows of the input on their way: what is asked of the service, and what stays here.

Reader.take ──► Block ──message──► the service ──► Answered ──► the part that is being written
                  └── numbers, kept columns, rows that could not even be read
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

Position = Any
"""Where a reader goes on: a plain JSON value that only the reader understands."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row without an answer, as the dead-letter file has it."""

    number: int
    code: str
    detail: str
    row: Any
    issues: tuple[tuple[str, str, str], ...] = ()
    """JSON pointer, what was expected, what was there."""

    def to_line(self) -> bytes:
        """Return its line."""
        error: dict[str, Any] = {"code": self.code, "detail": self.detail}
        if self.issues:
            error["errors"] = [
                {"pointer": at, "expected": expected, "got": got}
                for at, expected, got in self.issues
            ]
        line = {"row": self.number, "error": error, "input": self.row}
        return orjson.dumps(line, _plain, orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


@dataclass(slots=True)
class Block:
    """Rows that were read together.  ``rows`` or ``arrays`` has those that can be asked for."""

    first: int
    """Number of the first row, from 0."""
    count: int
    """Rows that were read, good and bad."""
    end: Position
    """Where the next block begins."""
    numbers: list[int] = field(default_factory=list)
    """Numbers of the rows in ``rows`` or ``arrays``."""
    rows: list[dict[str, Any]] | None = None
    """One body a row."""
    arrays: Mapping[str, Array] | None = None
    """Arrays by parameter, with a row for each of ``numbers``."""
    kept: Mapping[str, list[Any]] = field(default_factory=dict)
    """Columns that go to the output as they are, with a value for each of ``numbers``."""
    bad: list[BadRow] = field(default_factory=list)
    """Rows that could not be read."""

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to ask."""
        return not self.numbers

    def message(self, number: int) -> dict[str, Any]:
        """Return what the service is sent; see ``modelpack.server.offline.frames``."""
        if self.arrays is not None:
            return {"chunk": number, "arrays": dict(self.arrays), "count": len(self.numbers)}
        try:
            return {"chunk": number, "json": orjson.dumps(self.rows)}
        except TypeError:  # files as bytes, integers beyond 64 bits
            return {"chunk": number, "rows": self.rows}

    def row_at(self, place: int) -> Any:
        """Return one row for the dead-letter file."""
        if self.rows is not None:
            return self.rows[place]
        return {name: array[place] for name, array in (self.arrays or {}).items()}


@dataclass(frozen=True, slots=True)
class Answered:
    """What the service made of a block."""

    places: list[int]
    """Places in the block that have an answer, in order."""
    answer: Any
    """Columns for an api with a batch, else one answer for each place."""
    bad: list[BadRow]
    run_s: float


def answered(block: Block, reply: Mapping[str, Any]) -> Answered:
    """Return a reply of the service in terms of the block that it is for."""
    bad = [
        BadRow(
            block.numbers[place],
            code,
            detail,
            block.row_at(place),
            tuple((at, expected, got) for at, expected, got in issues),
        )
        for place, code, detail, issues in reply["bad"]
    ]
    return Answered(list(reply["good"]), reply["answer"], bad, float(reply["run_s"]))


def _plain(value: Any) -> Any:
    """Return what stands in the dead-letter file for bytes and other things that JSON has not."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
