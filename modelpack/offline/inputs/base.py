"""What every reader is given and can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

from modelpack.offline.block import Block, Position
from modelpack.offline.hello import Hello


@dataclass(frozen=True, slots=True)
class Asked:
    """What rows are to become."""

    hello: Hello
    constants: Mapping[str, Any] = field(default_factory=dict)
    """Values that ``--set`` gives to parameters: rows do not have those."""
    keep: tuple[str, ...] = ()
    """Columns that go to the output as they are, and not to the service."""


class Reader(Protocol):
    """Rows, in the order of the input."""

    total_rows: int | None
    """How many there are; None: known at the end."""

    def take(self, rows: int, most_bytes: int) -> Block | None:
        """Return up to so many rows, fewer when they take more bytes, one at least; None: the end.

        Raises BatchError when the input cannot be read any further.
        """

    def share(self, position: Position) -> float:
        """Return how much of the input lies before a place, 0 to 1."""

    def close(self) -> None:
        """Let go of the input."""


class Streams(Protocol):
    """How the bytes of one input are opened."""

    @property
    def name(self) -> str:
        """Path or URL."""

    @property
    def size_bytes(self) -> int:
        """Length of it all."""

    def open(self) -> BinaryIO:
        """Return a file that can be read from any place; raises NotFoundError."""
