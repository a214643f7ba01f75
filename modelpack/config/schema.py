"""The shape of a project file: which keys there are and what type each one has.

    ServerSettings ─┐
    ImageSettings  ─┼─fields──► ProjectFile (pydantic) ─┬─► load          checks a file
    DeploySettings ─┤                                   ├─► file_schema   JSON Schema for editors
    Project        ─┘                                   └─► reference     the page of all settings
                        UserFile   the same without the project's own keys: what a user sets for all

A setting is declared once, in ``settings``; the types here are made from it.  What people write
differs in three ways: text may be written as a number (``version: 1.10`` is '1.10'), sizes have
units (``512MB``), and some settings of a deployment stand under a word (``deploying.GROUPS``).

Ranges are not here: the settings check them as they are made.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator
from pydantic.json_schema import WithJsonSchema

from modelpack.config.deploying import GROUPS
from modelpack.config.document import Number, WholeNumber
from modelpack.config.settings import (
    WRITTEN_KEYS,
    DeploySettings,
    ImageSettings,
    Project,
    ServerSettings,
)
from modelpack.config.units import SIZE_PATTERN, parse_size


def _as_written(value: object) -> object:
    return value.text if isinstance(value, WholeNumber | Number) else value


def _bytes_of(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


Text = Annotated[
    str,
    BeforeValidator(_as_written),
    WithJsonSchema({"type": ["string", "number"]}),
]
Size = Annotated[
    int,
    BeforeValidator(_bytes_of),
    WithJsonSchema(
        {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": f"^{SIZE_PATTERN}$"}]}
    ),
]


class Section(BaseModel):
    """A mapping whose keys are all known; a key with nothing after it keeps its default."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nothing(cls, values: object) -> object:
        if values is None:
            return {}
        if not isinstance(values, dict):
            return values
        return {k: v for k, v in values.items() if v is not None or k not in cls.model_fields}


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a section: where its value goes and how it is written."""

    key: str
    field: str
    type: Any
    default: Any
    doc: str


@cache
def settings_of(cls: type) -> tuple[Setting, ...]:
    """Return the settings of a settings class, in its order, with their docstrings."""
    hints = get_type_hints(cls)
    docs = field_docs(cls)
    found = []
    for item in fields(cls):
        default = None if item.default is MISSING else item.default
        if item.default_factory is not MISSING:
            default = item.default_factory()
        written = _written_type(hints[item.name], item.name)
        key = WRITTEN_KEYS.get(item.name, item.name)
        default = list(default) if isinstance(default, tuple) else default
        found.append(Setting(key, item.name, written, default, docs.get(item.name, "")))
    return tuple(found)


def field_docs(cls: type) -> dict[str, str]:
    """Return the docstrings under the fields of a class, by field name."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    docs: dict[str, str] = {}
    for statement, after in itertools.pairwise(body):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            docs[statement.target.id] = " ".join(after.value.value.split())
    return docs


def _written_type(hint: Any, name: str) -> Any:
    """Return the type in a file for a type in the settings."""
    if get_origin(hint) in (Union, types.UnionType):
        inner = next(part for part in get_args(hint) if part is not type(None))
        return _written_type(inner, name)
    if hint is str:
        return Text
    if hint is int and name.endswith("_bytes"):
        return Size
    if get_origin(hint) is tuple:
        return list[Text]
    if get_origin(hint) is Mapping:
        return dict[str, Text]
    return hint


GROUP_DOCS: Mapping[str, str] = {
    "resources": "What a replica of a deployment may use at most, and on which machine it runs.",
    "scaling": "How many replicas there are.",
    "traffic": "How a new revision gets the requests.",
    "network": "Who may reach it.",
}
"""What is written under each word of ``deploy``."""

PROJECT_KEYS = (
    "name",
    "version",
    "service",
    "include",
    "exclude",
    "allow_secrets",
    "requirements",
    "python",
    "platforms",
    "torch_backend",
)
"""Fields of Project that people write at the top of the file."""


def group_of(field: str) -> str | None:
    """Return the word of ``deploy`` under which the field is written; None: none."""
    return next((group for group, members in GROUPS.items() if field in members), None)


def _section(name: str, doc: str, settings: list[Setting], **more: type[Section]) -> type[Section]:
    made: dict[str, Any] = {
        s.key: (s.type, Field(default=s.default, description=s.doc)) for s in settings
    }
    for key, section in more.items():
        made[key] = (section, Field(default_factory=section, description=section.__doc__))
    model: type[Section] = create_model(name, __base__=Section, __doc__=doc, **made)
    return model


@cache
def project_file() -> type[Section]:
    """Return the type of a whole project file."""
    return _section(
        "ProjectFile",
        "What modelpack.yaml may say; all of it optional.",
        [s for s in settings_of(Project) if s.field in PROJECT_KEYS],
        **_sections(),
    )


@cache
def user_file() -> type[Section]:
    """Return the type of the user's own file: what is true for every project of theirs."""
    return _section("UserFile", "What the user's own file may say.", [], **_sections())


@cache
def _sections() -> dict[str, type[Section]]:
    deploy = settings_of(DeploySettings)
    groups = {
        group: _section(group.title(), GROUP_DOCS[group], [s for s in deploy if s.field in members])
        for group, members in GROUPS.items()
    }
    return {
        "server": _section(
            "Server", _first_line(ServerSettings), list(settings_of(ServerSettings))
        ),
        "image": _section("Image", _first_line(ImageSettings), list(settings_of(ImageSettings))),
        "deploy": _section(
            "Deploy",
            _first_line(DeploySettings),
            [s for s in deploy if group_of(s.field) is None],
            **groups,
        ),
    }


def file_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of ``modelpack.yaml``, for editors and other tools."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema.update(project_file().model_json_schema())
    _tidy(schema)
    schema["title"] = "modelpack.yaml"
    return schema


def _tidy(schema: dict[str, Any]) -> None:
    """Drop what says nothing: titles made of the keys, and defaults that mean 'not set'."""
    schema.pop("title", None)
    if schema.get("default", 0) is None:
        del schema["default"]
    if "description" in schema:
        schema["description"] = for_people(schema["description"])
    for name in ("properties", "$defs"):
        for inner in schema.get(name, {}).values():
            _tidy(inner)


def for_people(doc: str) -> str:
    """Return a docstring as it reads outside of Python."""
    doc = " ".join(doc.split()).replace("``", "`")
    return re.sub(r"\bNone: ", "not set: ", doc)


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]
