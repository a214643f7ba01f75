"""Checks what a project file says and makes the project of it.

    Document(values, places)
        │ schema      keys and types, by pydantic
        │ settings    ranges, by the settings themselves, one value at a time
        ▼ words       names, patterns, requirements
    Project           and in ``document.mistakes`` all that is wrong, each at its place

A value with a mistake is left out and the rest goes on being checked, so that nobody has to run
the same command five times to hear of five mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelpack.config.document import Document, KeyPath, clipped, dotted, shown
from modelpack.config.settings import (
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

_SettingsClass = type[ServerSettings] | type[ImageSettings] | type[DeploySettings]


def checked_project(document: Document, *, root: Path, source: Path) -> Project:
    """Return the project; it is worth something only when the document has no mistakes."""
    from pydantic import ValidationError

    from modelpack.config.schema import project_file

    values: dict[str, Any] = dict(document.values)
    try:
        checked = project_file().model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False)
        for detail in details:
            document.mistake(_path_of(detail), _said(detail))
        values = _without(values, [_path_of(detail) for detail in details])
        checked = project_file().model_validate(values)
    given = checked.model_dump(exclude_unset=True)
    server = settings_from(ServerSettings, _good(document, ServerSettings, given, "server"))
    image = settings_from(ImageSettings, _good(document, ImageSettings, given, "image"))
    deploy = settings_from(DeploySettings, _good(document, DeploySettings, given, "deploy"))
    for path, what in _word_mistakes(given):
        document.mistake(path, f"{dotted(path)}: {what}")
    words: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    return Project(root=root, source=source, server=server, image=image, deploy=deploy, **words)


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


def _said(detail: ErrorDetails) -> str:
    """Return pydantic's complaint in our words, with the path of keys before it."""
    path = _path_of(detail)
    kind, given = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return _unknown_key(path)
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


def _unknown_key(path: KeyPath) -> str:
    within, key = path[:-1], str(path[-1])
    known = _keys_of(within)
    near = did_you_mean(key, known)
    more = f", did you mean '{near}'?" if near else f"; known are {', '.join(known)}"
    return f"{dotted(within)}{': ' if within else ''}unknown key '{clipped(key)}'{more}"


def _keys_of(path: KeyPath) -> list[str]:
    """Return the keys that may stand in the section at ``path``."""
    from modelpack.config.schema import project_file

    section: Any = project_file()
    for key in path:
        section = section.model_fields[key].annotation
    return list(section.model_fields)


def _good(
    document: Document, cls: _SettingsClass, given: dict[str, Any], section: str
) -> dict[str, Any]:
    """Take the section out of ``given`` and return its values, by field, that are in range."""
    good: dict[str, Any] = {}
    for path, field, value in _flat(given.pop(section, {}), (section,)):
        mistakes = list(_range_mistakes(cls, path, field, value))
        for place, what in mistakes:
            document.mistake(place, f"{dotted(place)}: {what}")
        if not mistakes:
            good[field] = value
    return good


def _flat(section: Mapping[str, Any], at: KeyPath) -> Iterator[tuple[KeyPath, str, Any]]:
    """Yield (path in the file, field of the settings, value)."""
    for key, value in section.items():
        if key == "resources":
            yield from _flat(value, (*at, key))
        else:
            yield (*at, key), "memory_bytes" if key == "memory" else key, value


def _range_mistakes(
    cls: _SettingsClass, path: KeyPath, field: str, value: Any
) -> Iterator[tuple[KeyPath, str]]:
    """Make the settings with this value alone; of a list or mapping, with each entry alone."""
    parts: list[tuple[KeyPath, Any]] = [(path, value)]
    if isinstance(value, dict):
        parts = [((*path, key), {key: entry}) for key, entry in value.items()]
    elif isinstance(value, list):
        parts = [((*path, index), (entry,)) for index, entry in enumerate(value)]
    for place, part in parts:
        try:
            cls(**{field: part})
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

    if text.lstrip().startswith("-"):
        return f"options are not allowed here, got '{clipped(text)}'"
    try:
        Requirement(text)
    except InvalidRequirement:
        return f"not a requirement such as numpy>=2, got '{clipped(text)}'"
    return None
