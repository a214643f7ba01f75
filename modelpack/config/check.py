"""Checks what a file of settings says: a project's, or the user's own.

    Document(values, places)
        │ schema      keys and types, by pydantic
        │ settings    ranges, by the settings themselves, one value at a time
        ▼ words       names, patterns, requirements
    Given             what is right, and where it stands
        ▼             and in ``document.mistakes`` all that is wrong, each at its place
    Project

A value with a mistake is left out and the rest goes on being checked, so that nobody has to run
the same command five times to hear of five mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelpack.config.deploying import GROUPS
from modelpack.config.document import Document, KeyPath, clipped, dotted, shown
from modelpack.config.requirement import local_path
from modelpack.config.settings import (
    WRITTEN_KEYS,
    DeploySettings,
    ImageSettings,
    Project,
    ServerSettings,
    settings_from,
)
from modelpack.errors import TagError, did_you_mean
from modelpack.tag import check_name, check_version

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from modelpack.config.schema import Section

SettingsClass = type[ServerSettings] | type[ImageSettings] | type[DeploySettings]

SECTIONS: dict[str, SettingsClass] = {
    "server": ServerSettings,
    "image": ImageSettings,
    "deploy": DeploySettings,
}
"""The sections of a file and what is made of each."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a file says, as far as it is right."""

    words: dict[str, Any]
    """What stands at its top, by key."""

    sections: dict[str, dict[str, Any]]
    """Values of each section, by field of its settings."""

    places: dict[str, str]
    """Where each of them stands, ``FILE:LINE:COLUMN`` by ``name`` or ``server.port``."""


def checked(document: Document, shape: type[Section]) -> Given:
    """Return what is right in the document; ``shape`` says which keys there are."""
    from pydantic import ValidationError

    values: dict[str, Any] = dict(document.values)
    try:
        typed = shape.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False)
        for detail in details:
            document.mistake(_path_of(detail), _said(detail, shape))
        values = _without(values, [_path_of(detail) for detail in details])
        typed = shape.model_validate(values)
    given = typed.model_dump(exclude_unset=True)
    places: dict[str, str] = {}
    sections = {
        name: _good(document, cls, given.pop(name, {}), name, places)
        for name, cls in SECTIONS.items()
    }
    for path, what in _word_mistakes(given):
        document.mistake(path, f"{dotted(path)}: {what}")
    for name in given:
        places[name] = _where(document, (name,))
    words: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    return Given(words, sections, places)


def checked_project(document: Document, *, root: Path, source: Path) -> Project:
    """Return the project; it is worth something only when the document has no mistakes."""
    from modelpack.config.schema import project_file

    given = checked(document, project_file())
    return Project(
        root=root,
        source=source,
        server=settings_from(ServerSettings, given.sections["server"]),
        image=settings_from(ImageSettings, given.sections["image"]),
        deploy=settings_from(DeploySettings, given.sections["deploy"]),
        places=given.places,
        **given.words,
    )


def _without(values: dict[str, Any], paths: list[KeyPath]) -> dict[str, Any]:
    """Return the values without what stands at the paths; a list goes as a whole."""
    gone = {tuple(part for part in path if isinstance(part, str)) for path in paths}

    def kept(inner: dict[str, Any], at: KeyPath) -> dict[str, Any]:
        return {
            key: kept(value, (*at, key)) if isinstance(value, dict) else value
            for key, value in inner.items()
            if (*at, key) not in gone
        }

    return kept(values, ())


def _path_of(detail: ErrorDetails) -> KeyPath:
    return tuple(detail["loc"])


def _said(detail: ErrorDetails, shape: type[Section]) -> str:
    """Return pydantic's complaint in our words, with the path of keys before it."""
    path = _path_of(detail)
    kind, given = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return _unknown_key(path, shape)
    if kind == "value_error":
        return f"{dotted(path)}: {detail['ctx']['error']}"
    advice = ""
    if kind == "string_type" and isinstance(given, bool):
        advice = f"; put it in quotes: '{str(given).lower()}'"
    elif kind == "list_type" and isinstance(given, str):
        advice = f"; write it as ['{clipped(given)}']"
    expected = _EXPECTED.get(kind, "another kind of value")
    return f"{dotted(path)}: expected {expected}, got {shown(given)}{advice}"


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
}


def _unknown_key(path: KeyPath, shape: type[Section]) -> str:
    within, key = path[:-1], str(path[-1])
    known = _keys_of(within, shape)
    near = did_you_mean(key, known)
    more = f", did you mean '{near}'?" if near else f"; known are {', '.join(known)}"
    return f"{dotted(within)}{': ' if within else ''}unknown key '{clipped(key)}'{more}"


def _keys_of(path: KeyPath, shape: type[Section]) -> list[str]:
    """Return the keys that may stand in the section at ``path``."""
    section: Any = shape
    for key in path:
        section = section.model_fields[key].annotation
    return list(section.model_fields)


def _good(
    document: Document,
    cls: SettingsClass,
    given: Mapping[str, Any],
    section: str,
    places: dict[str, str],
) -> dict[str, Any]:
    """Return the values of a section, by field, that are in range; notes where they stand."""
    good: dict[str, Any] = {}
    doubtful: list[tuple[KeyPath, str, Any]] = []
    paths: dict[str, KeyPath] = {}
    for path, field, value in _flat(given, (section,)):
        paths[field] = path
        places[f"{section}.{field}"] = _where(document, path)
        if any(_range_mistakes(cls, {}, (path, field, value))):
            doubtful.append((path, field, value))
        else:
            good[field] = tuple(value) if isinstance(value, list) else value
    _drop_what_clashes(document, cls, good, paths, section)
    # Some values are right only beside others.
    for path, field, value in doubtful:
        mistakes = list(_range_mistakes(cls, good, (path, field, value)))
        for place, what in mistakes:
            document.mistake(place, f"{dotted(place)}: {what}")
        if not mistakes:
            good[field] = tuple(value) if isinstance(value, list) else value
    _drop_what_clashes(document, cls, good, paths, section)
    return good


def _drop_what_clashes(
    document: Document,
    cls: SettingsClass,
    good: dict[str, Any],
    paths: Mapping[str, KeyPath],
    section: str,
) -> None:
    """Take out the values that are wrong only together, each with its mistake."""
    while what := _refusal(cls, good):
        field = what.partition(":")[0].partition(".")[0]
        path = paths.get(field, (section,))
        document.mistake(path, f"{dotted(path)}: {what.partition(': ')[2]}")
        if good.pop(field, None) is None:
            break


def _refusal(cls: SettingsClass, values: Mapping[str, Any]) -> str:
    """Return what the settings say against these values; empty: nothing."""
    try:
        cls(**values)
    except ValueError as error:
        return str(error)
    return ""


def _where(document: Document, path: KeyPath) -> str:
    place = document.place_of(path)
    return f"{document.file}:{place.line}:{place.column}" if place else document.file


_FIELDS = {key: field for field, key in WRITTEN_KEYS.items()}


def _flat(section: Mapping[str, Any], at: KeyPath) -> Iterator[tuple[KeyPath, str, Any]]:
    """Yield (path in the file, field of the settings, value)."""
    for key, value in section.items():
        if at == ("deploy",) and key in GROUPS:
            yield from _flat(value, (*at, key))
        else:
            yield (*at, key), _FIELDS.get(key, key), value


def _range_mistakes(
    cls: SettingsClass, others: Mapping[str, Any], one: tuple[KeyPath, str, Any]
) -> Iterator[tuple[KeyPath, str]]:
    """Make the settings with this value beside the others; of a list or mapping, each entry alone."""
    path, field, value = one
    parts: list[tuple[KeyPath, Any]] = [(path, value)]
    if isinstance(value, dict):
        parts = [((*path, key), {key: entry}) for key, entry in value.items()]
    elif isinstance(value, list):
        parts = [((*path, index), (entry,)) for index, entry in enumerate(value)]
    for place, part in parts:
        try:
            cls(**{**others, field: part})
        except ValueError as error:
            # The settings say 'field: what', or 'field.key: what'; the place says it already.
            yield place, str(error).partition(": ")[2]


def _word_mistakes(given: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Check the words at the top of the file; yields where and what."""
    for key, check in (("name", check_name), ("version", check_version)):
        try:
            check(given.get(key, "0"))
        except TagError as error:
            yield (key,), f"{error.message}; {error.hint}"
    service, python = given.get("service", "a:B"), given.get("python", "3.11")
    if not _IMPORT_STRING.fullmatch(service):
        yield ("service",), f"must look like service:Digits, got '{clipped(service)}'"
    if not re.fullmatch(r"3\.\d{1,2}", python, re.ASCII):
        yield ("python",), f"must look like 3.11, got '{clipped(python)}'"
    elif int(python[2:]) < 11:
        yield ("python",), f"must be 3.11 or later, got {python}"
    for key in ("include", "exclude", "allow_secrets"):
        for index, pattern in enumerate(given.get(key, ())):
            if ".." in pattern.split("/") or not pattern.strip():
                yield (key, index), f"must stay inside the project, got '{clipped(pattern)}'"
    for index, text in enumerate(given.get("requirements", ())):
        if what := _requirement_mistake(text):
            yield ("requirements", index), what


_IMPORT_STRING = re.compile(r"[A-Za-z_][\w.]*(:[A-Za-z_]\w*)?")


def _requirement_mistake(text: str) -> str | None:
    from packaging.requirements import InvalidRequirement, Requirement

    if local_path(text) is not None:
        return None
    if text.lstrip().startswith("-"):
        return f"options are not allowed here, got '{clipped(text)}'"
    try:
        Requirement(text)
    except InvalidRequirement:
        return f"not a requirement such as numpy>=2, got '{clipped(text)}'"
    return None
