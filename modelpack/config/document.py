"""A file that people write, read but not yet understood: plain values and where each one stands.

    modelpack.yaml  ──yaml_file──┐
                                 ├─► Document(values, places) ──load──► Project
    pyproject.toml  ──toml_file──┘

A place is found by the path of keys to it, ``("server", "port")``; the entry of a list has its
index, ``("requirements", 2)``.  Lines and columns count from 1, as editors do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modelpack.errors import Mistake

KeyPath = tuple[str | int, ...]
Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file; both count from 1."""

    line: int
    column: int


class WholeNumber(int):
    """A whole number that remembers how it was written: ``version: 010`` may mean text."""

    text: str

    def __new__(cls, text: str) -> WholeNumber:
        """Read the digits; raises ValueError."""
        number = super().__new__(cls, text)
        number.text = text
        return number


class Number(float):
    """A number with a point that remembers how it was written: ``python: 3.10`` means text."""

    text: str

    def __new__(cls, text: str) -> Number:
        """Read the digits; raises ValueError."""
        number = super().__new__(cls, text)
        number.text = text
        return number


@dataclass(slots=True)
class Document:
    """What stands in a file; ``mistakes`` grows as it is read and checked."""

    file: str
    """The file as it is named in messages."""

    values: dict[str, Plain] = field(default_factory=dict)
    places: dict[KeyPath, Place] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def place_of(self, path: KeyPath) -> Place | None:
        """Return where the path stands, or the nearest thing around it."""
        while path:
            if path in self.places:
                return self.places[path]
            path = path[:-1]
        return self.places.get(())

    def mistake(self, path: KeyPath, what: str) -> None:
        """Record that something is wrong with what stands at ``path``."""
        self.mistake_at(self.place_of(path), what)

    def mistake_at(self, place: Place | None, what: str) -> None:
        """Record that something is wrong at a place."""
        line, column = (place.line, place.column) if place else (None, None)
        self.mistakes.append(Mistake(self.file, line, column, what))


def dotted(path: Sequence[str | int]) -> str:
    """Return the path as people write it: ``server.port``, ``requirements[2]``."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += f".{key}" if text else key
    return text


def shown(value: object) -> str:
    """Return a value as a message shows it: what it is, and short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, WholeNumber | Number):
        return f"the number {value.text}"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text '{clipped(value)}'"
    if isinstance(value, Mapping):
        return "keys and values"
    return "a list" if isinstance(value, list) else f"a {type(value).__name__}"


def clipped(text: str) -> str:
    """Return the text as a message can hold it: printable, and not long."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 60 else text[:57] + "..."
