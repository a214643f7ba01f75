"""Reads the text form of protocol buffers, as Triton's ``config.pbtxt`` is written in.

    name: "digits"                  ┐
    input [ { name: "x" dims: 4 } ] ├─ parse ─► {"name": ["digits"], "input": [{"name": ["x"], "dims": [4]}]}
    dims: [ -1, 4 ]                 ┘

Every field is a list, since any may be repeated and no schema is at hand; a word without quotes
(an enum, ``true``) is a ``Word``.  Grammar: https://protobuf.dev/reference/protobuf/textformat-spec/;
left out are ``Any`` and extensions, which no model configuration has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from modelpack.errors import RefusedError

MAX_BYTES = 1024 * 1024
"""Longest text that is read."""

MAX_DEPTH = 32
"""Deepest nesting."""

Message = dict[str, list[Any]]
"""Fields of a message; each value is a Message, a str, a Word, an int or a float."""

_TOKENS = re.compile(
    r"""\s+ | \#[^\n]*                                          # nothing
      | (?P<string>"(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*')
      | (?P<number>-?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?f?))
      | (?P<word>-?[A-Za-z_][A-Za-z0-9_]*)
      | (?P<mark>[{}\[\]<>:;,])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))", re.DOTALL)
_NAMED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_CLOSING = {"{": "}", "<": ">"}


class Word(str):
    """A value without quotes: an enum or a truth value."""

    __slots__ = ()


def parse(text: str, what: str) -> Message:
    """Return the fields of a text; raises RefusedError, naming ``what``, when it is malformed."""
    if len(text) > MAX_BYTES:
        raise RefusedError(f"'{what}' is longer than {MAX_BYTES} bytes")
    return _Parser(text, what).whole()


class _Parser:
    def __init__(self, text: str, what: str) -> None:
        self._what = what
        self._text = text
        self._tokens = self._split()
        self._kind, self._token = "", ""
        self._at = 0
        self._advance()

    def whole(self) -> Message:
        """Read all fields up to the end of the text."""
        return self._message("", 0)

    def _split(self) -> Iterator[tuple[str, str, int]]:
        at = 0
        while at < len(self._text):
            match = _TOKENS.match(self._text, at)
            if match is None:
                self._at = at
                raise self._refused(f"unexpected {self._text[at]!r}")
            if match.lastgroup:
                yield match.lastgroup, match.group(), at
            at = match.end()
        yield "end", "", at

    def _advance(self) -> None:
        self._kind, self._token, self._at = next(self._tokens)

    def _take(self, mark: str) -> bool:
        """Pass over a mark if it comes next; says whether it did."""
        if self._kind == "mark" and self._token == mark:
            self._advance()
            return True
        return False

    def _message(self, closing: str, depth: int) -> Message:
        if depth > MAX_DEPTH:
            raise self._refused(f"nested deeper than {MAX_DEPTH}")
        fields: Message = {}
        while not (self._take(closing) if closing else self._kind == "end"):
            if self._kind != "word":
                raise self._refused(f"expected a field, got {self._shown}")
            name = self._token
            self._advance()
            has_colon = self._take(":")
            fields.setdefault(name, []).extend(self._values(depth, has_colon=has_colon))
            if not self._take(","):
                self._take(";")
        return fields

    def _values(self, depth: int, *, has_colon: bool) -> list[Any]:
        if not self._take("["):
            return [self._value(depth, has_colon=has_colon)]
        values: list[Any] = []
        while not self._take("]"):
            if values and not self._take(","):
                raise self._refused(f"expected ',' or ']', got {self._shown}")
            values.append(self._value(depth, has_colon=True))
        return values

    def _value(self, depth: int, *, has_colon: bool) -> Any:
        kind, token = self._kind, self._token
        if kind == "mark" and token in _CLOSING:
            self._advance()
            return self._message(_CLOSING[token], depth + 1)
        if not has_colon:
            raise self._refused(f"expected ':' or a message, got {self._shown}")
        if kind == "string":
            parts = []
            while self._kind == "string":  # texts side by side are one
                parts.append(_unquoted(self._token))
                self._advance()
            return "".join(parts)
        if kind not in {"number", "word"}:
            raise self._refused(f"expected a value, got {self._shown}")
        self._advance()
        return _number(token) if kind == "number" else Word(token)

    @property
    def _shown(self) -> str:
        return repr(self._token) if self._token else "the end"

    def _refused(self, why: str) -> RefusedError:
        line = self._text.count("\n", 0, self._at) + 1
        return RefusedError(f"'{self._what}', line {line}: {why}")


def _number(token: str) -> int | float:
    if token.lower().startswith(("0x", "-0x")):
        return int(token, 16)
    token = token.removesuffix("f")
    return float(token) if set(token) & set(".eE") else int(token)


def _unquoted(token: str) -> str:
    def plain(match: re.Match[str]) -> str:
        hexadecimal, octal, letter = match.groups()
        if hexadecimal or octal:
            return chr(int(hexadecimal, 16) if hexadecimal else int(octal, 8))
        return _NAMED.get(letter, letter)

    return _ESCAPE.sub(plain, token[1:-1])
