"""What every writer is given and can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Column = list[Any] | NDArray[Any]

ROW = "row"
"""Name of the first column: the number of the row in the input, from 0."""


@dataclass(frozen=True, slots=True)
class Table:
    """Answers of some rows, a column for each part of an answer."""

    numbers: Sequence[int]
    columns: Mapping[str, Column]
    """As long as ``numbers`` each: arrays along the first axis, or lists of plain values."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of the whole output, in their order; the first part that has rows decides."""

    columns: tuple[str, ...]

    @classmethod
    def of(cls, table: Table) -> Layout:
        """Return the layout of a table."""
        return cls(tuple(table.columns))


@dataclass(frozen=True, slots=True)
class Part:
    """A part that was written, for putting the whole together."""

    rows: int
    open: Callable[[], Iterator[bytes]]
    """Begins to read it."""


class Writer(Protocol):
    """Writes parts of one format, one after the other."""

    size_bytes: int
    """About how long the part is so far."""

    def add(self, table: Table) -> None:
        """Add rows to the part that is being written; raises BatchError."""

    def finish(self) -> bytes:
        """Return the part, and begin another; a part without rows is whole too."""

    def assembled(self, parts: Sequence[Part]) -> Iterator[bytes]:
        """Yield the bytes of the whole file."""
