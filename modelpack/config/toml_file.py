"""Reads ``[tool.modelpack]`` of a ``pyproject.toml``, with lines and columns.

    text ─┬─tomllib──► values
          └─tokens───► places        (tomllib gives no positions)

The second walk only has to find keys in text that tomllib has accepted already, so it knows
quotes, comments and brackets, and nothing about what values mean.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

from modelpack.config.document import Document, KeyPath, Number, Place

TABLE = ("tool", "modelpack")

_TOKEN = re.compile(
    r"""
      (?P<text> \"{3} (?:\\[\s\S]|[^\\])*? \"{3,5} | '{3} [\s\S]*? '{3,5}
              | "(?:\\.|[^"\\\n])*" | '[^'\n]*' )
    | (?P<comment> \#[^\n]* )
    | (?P<newline> \n )
    | (?P<space> [ \t\r]+ )
    | (?P<mark> [\[\]{}=,.] )
    | (?P<word> [^\s"'\#\[\]{}=,.]+ )
    """,
    re.VERBOSE,
)


def read_toml(text: str, file: str) -> Document | None:
    """Read the table; None when the file has none.  What is wrong is in ``mistakes``."""
    if "modelpack" not in text:
        return None  # whatever else is wrong in there is not ours to say
    document = Document(file)
    try:
        parsed = tomllib.loads(text, parse_float=Number)
    except tomllib.TOMLDecodeError as error:
        what, place = _said(error)
        document.mistake_at(place, f"not valid TOML: {what}")
        return document
    except RecursionError:
        document.mistake_at(None, "nested too deep")
        return document
    tool = parsed.get("tool")
    if not isinstance(tool, dict) or "modelpack" not in tool:
        return None
    for path, place in _Walk(text).places().items():
        if path[:2] == TABLE:
            document.places.setdefault(path[2:], place)
    values = tool["modelpack"]
    if isinstance(values, dict):
        document.values = values
    else:
        document.mistake((), "tool.modelpack must be a table")
    return document


@dataclass(slots=True)
class _Token:
    kind: str
    text: str
    place: Place


class _Walk:
    """Goes through the tokens once and notes where each key path stands first."""

    def __init__(self, text: str) -> None:
        self.tokens = list(_tokens(text))
        self.at = 0
        self.found: dict[KeyPath, Place] = {}

    def places(self) -> dict[KeyPath, Place]:
        table: KeyPath = ()
        counts: dict[KeyPath, int] = {}
        while True:
            self.skip_lines()
            if self.token.kind == "end":
                return self.found
            if self.token.text == "[":
                table = self.header(counts)
            else:
                self.pair(table)

    @property
    def token(self) -> _Token:
        return self.tokens[self.at]

    def skip_lines(self) -> None:
        while self.token.kind in ("newline", "comment"):
            self.at += 1

    def header(self, counts: dict[KeyPath, int]) -> KeyPath:
        """Read ``[a.b]`` or ``[[a.b]]`` and return the path of what follows."""
        place = self.token.place
        self.at += 1
        is_list = self.token.text == "["
        self.at += is_list
        path = self.key(())
        self.at += 1 + is_list
        if is_list:
            counts[path] = counts.get(path, -1) + 1
            path = (*path, counts[path])
        self.found[path] = place
        return path

    def pair(self, table: KeyPath) -> None:
        path = self.key(table)
        self.at += 1  # the equals sign
        self.value(path)

    def key(self, table: KeyPath) -> KeyPath:
        """Read ``a.b``, noting every part of it, and return the path."""
        path = table
        while True:
            path = (*path, _key_text(self.token.text))
            self.found.setdefault(path, self.token.place)
            self.at += 1
            if self.token.text != ".":
                return path
            self.at += 1

    def value(self, path: KeyPath) -> None:
        if self.token.text == "[":
            self.items(path, "]")
        elif self.token.text == "{":
            self.items(path, "}")
        else:
            while self.token.kind in ("text", "word") or self.token.text == ".":
                self.at += 1

    def items(self, path: KeyPath, end: str) -> None:
        """Read a list (``end`` is its bracket) or an inline table."""
        self.at += 1
        index = 0
        while True:
            self.skip_lines()
            if self.token.text == end:
                self.at += 1
                return
            if self.token.text == ",":
                self.at += 1
            elif end == "}":
                self.pair(path)
            else:
                self.found[(*path, index)] = self.token.place
                self.value((*path, index))
                index += 1


def _tokens(text: str) -> Iterator[_Token]:
    line, start = 1, 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind != "space":
            yield _Token(kind, match[0], Place(line, match.start() - start + 1))
        if newlines := match[0].count("\n"):
            line += newlines
            start = match.start() + match[0].rindex("\n") + 1
    yield _Token("end", "", Place(line, 1))


def _key_text(token: str) -> str:
    if token[:1] not in ("'", '"'):
        return token
    return next(iter(tomllib.loads(f"{token} = 0")))


def _said(error: tomllib.TOMLDecodeError) -> tuple[str, Place | None]:
    text = str(error)
    found = re.search(r" \(at line (\d+), column (\d+)\)$", text)
    what = re.sub(r" \(at [^()]*\)$", "", text)
    what = what[:1].lower() + what[1:]
    return what, Place(int(found[1]), int(found[2])) if found else None
