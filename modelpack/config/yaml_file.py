"""Reads YAML of the plain kind: mappings, lists, text, numbers, true and false.

    text ──events of libyaml──► Document(values, places, mistakes)

The values are built from the parser's events, so that each has its line and column, and so that
nothing is built which a project file does not need: no tags, no anchors, no aliases, one
document, no deep nesting (threat model S9).  A key that stands twice is a mistake.

Words mean what they mean in YAML 1.2: ``yes`` and ``on`` are text, ``1:30`` and ``2024-01-01`` are
text, and a number remembers how it was written, so that ``python: 3.10`` stays 3.10.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from modelpack.config.document import Document, KeyPath, Number, Place, Plain, WholeNumber, dotted

if TYPE_CHECKING:
    import yaml
    from yaml._yaml import Mark as ParserMark

MAX_DEPTH = 20

_WHOLE = re.compile(r"[-+]?[0-9]{1,40}")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?")
_NULL = ("", "~", "null", "Null", "NULL")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


class _Unreadable(Exception):
    """The rest of the file cannot be read; the mistake is recorded already."""


def read_yaml(text: str, file: str) -> Document:
    """Read the text; what is wrong with it is in ``mistakes`` of the answer."""
    import yaml

    document = Document(file)
    try:
        _Reader(document, yaml.parse(text, Loader=yaml.CSafeLoader)).read()
    except yaml.MarkedYAMLError as error:
        place = _place(error.problem_mark or error.context_mark)
        document.mistake_at(place, f"not valid YAML: {_said(error)}")
    except yaml.YAMLError:
        document.mistake_at(_first_odd_character(text), "not valid YAML: a control character")
    except _Unreadable:
        pass
    return document


class _Reader:
    """Walks over the events, once."""

    def __init__(self, document: Document, events: Iterator[yaml.Event]) -> None:
        self.document = document
        self.events = events

    def read(self) -> None:
        import yaml

        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                break
        else:
            return
        root = next(self.events)
        self.document.places[()] = _place(root.start_mark)
        value = self.value(root, ())
        if isinstance(value, dict):
            self.document.values = value
        elif value is not None:
            self.document.mistake((), "expected keys and values, such as 'name: digits'")
        next(self.events)  # the end of the document
        if isinstance(more := next(self.events), yaml.DocumentStartEvent):
            self.document.mistake_at(
                _place(more.start_mark), "a second document: the file holds one"
            )

    def value(self, event: yaml.Event, path: KeyPath) -> Plain:
        import yaml

        if isinstance(event, yaml.AliasEvent):
            self.stop(event, "aliases (*name) are not allowed: write the value out")
        if getattr(event, "anchor", None) is not None:
            self.stop(event, "anchors (&name) are not allowed: write the value out")
        if getattr(event, "tag", None) is not None:
            self.stop(event, "tags (!name) are not allowed")
        if len(path) > MAX_DEPTH:
            self.stop(event, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(path)
        if isinstance(event, yaml.ScalarEvent):
            text: str = event.value
            return scalar(text) if event.implicit[0] else text
        raise AssertionError(event)

    def mapping(self, path: KeyPath) -> dict[str, Plain]:
        import yaml

        values: dict[str, Plain] = {}
        while not isinstance(key_event := next(self.events), yaml.MappingEndEvent):
            self.value(key_event, (*path, "?"))
            if not isinstance(key_event, yaml.ScalarEvent):
                self.stop(key_event, "a key must be a word")
            name: str = key_event.value
            here = (*path, name)
            place = _place(key_event.start_mark)
            if name in values:
                first = self.document.places[here].line
                self.document.mistake_at(
                    place, f"the key '{dotted(here)}' stands twice, first in line {first}"
                )
                self.value(next(self.events), (*path, "?"))
                continue
            self.document.places[here] = place
            values[name] = self.value(next(self.events), here)
        return values

    def sequence(self, path: KeyPath) -> list[Plain]:
        import yaml

        values: list[Plain] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            here = (*path, len(values))
            self.document.places[here] = _place(event.start_mark)
            values.append(self.value(event, here))
        return values

    def stop(self, event: yaml.Event, what: str) -> NoReturn:
        self.document.mistake_at(_place(event.start_mark), what)
        raise _Unreadable


def scalar(text: str) -> Plain:
    """Return what an unquoted word means."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _WHOLE.fullmatch(text):
        return WholeNumber(text)
    if _NUMBER.fullmatch(text):
        return Number(text)
    return text


def _place(mark: yaml.Mark | ParserMark | None) -> Place:
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)


def _said(error: yaml.MarkedYAMLError) -> str:
    """Return the parser's complaint in the words of somebody who edits the file."""
    problem = str(error.problem)
    if "cannot start any token" in problem:
        if error.context == "while scanning for the next token":
            return "text that starts with a tab, '@', '`' or '%' must stand in quotes"
        return problem
    known = {
        "mapping values are not allowed in this context": "a ':' that does not belong here; text "
        "with a colon in it must stand in quotes",
        "did not find expected key": "expected a key here; check the indentation",
        "found unexpected end of stream": "the file ends inside of a quoted text",
        "did not find expected ',' or ']'": "a '[' is never closed",
        "did not find expected ',' or '}'": "a '{' is never closed",
    }
    return known.get(problem, problem)


def _first_odd_character(text: str) -> Place | None:
    for number, line in enumerate(text.split("\n"), 1):
        for column, char in enumerate(line, 1):
            if not char.isprintable() and char not in "\t\r":
                return Place(number, column)
    return None
