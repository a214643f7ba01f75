"""What a server offers: its apis, their parameters and answers, read from its OpenAPI document.

    /openapi.json ──service_of──► Service ──► Api, Api …
                                              ├─ parameters, in the order of the method
                                              ├─ whole: the parameter that may be a body of its own
                                              └─ signature, doc: what ``help`` shows

Only the apis of the service itself are read, those under the tag ``apis``; the contracts of other
servers are ways to the same.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from modelpack.client.decoding import Decode, Schema, decoder
from modelpack.client.errors import CallError

JSON = "application/json"
BINARY = "application/octet-stream"
NPY = "application/x-npy"
NDJSON = "application/x-ndjson"
FORM = "multipart/form-data"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an api."""

    name: str
    schema: Schema
    is_required: bool

    @property
    def dtype(self) -> str | None:
        """Dtype of an array; None: it is none."""
        found = self.schema.get("x-dtype")
        return found if isinstance(found, str) else None

    @property
    def is_file(self) -> bool:
        """True when it is a file or an image."""
        return self.schema.get("contentEncoding") == "base64"

    @property
    def is_text(self) -> bool:
        """True when it is a text."""
        return self.schema.get("type") == "string" and not self.is_file

    @property
    def has_bytes(self) -> bool:
        """True when it is an array of numbers."""
        return self.dtype not in (None, "str")


@dataclass(frozen=True, kw_only=True)
class Api:
    """One api of a server; what is worked out from its schema is worked out once."""

    name: str
    route: str
    """Its path; with gRPC the name of the model."""
    doc: str = ""
    parameters: tuple[Parameter, ...] = ()
    returns: Schema = field(default_factory=dict)
    """Schema of the answer; of a stream, of each piece."""
    bodies: frozenset[str] = frozenset({JSON})
    """Content types that it reads."""
    answers: frozenset[str] = frozenset({JSON})
    """Content types that it can answer with."""
    example: Any = None
    """A valid body; None: there is none."""

    @property
    def is_stream(self) -> bool:
        """True when the answer comes piece by piece."""
        return NDJSON in self.answers

    @cached_property
    def whole(self) -> Parameter | None:
        """The parameter whose bytes may be all of a body; None: there is none."""
        if BINARY not in self.bodies:
            return None
        for found in (
            [p for p in self.parameters if p.is_file],
            [p for p in self.parameters if p.has_bytes],
        ):
            others = [p for p in self.parameters if p not in found]
            if len(found) == 1 and not any(p.is_required for p in others):
                return found[0]
        return None

    @cached_property
    def signature(self) -> inspect.Signature:
        """The parameters and what they may be, as Python writes them."""
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [
            inspect.Parameter(
                one.name if one.name.isidentifier() else f"_{number}",
                kind,
                default=inspect.Parameter.empty if one.is_required else _DEFAULT,
                annotation=_Spelled(spelled(one.schema)),
            )
            for number, one in enumerate(self.parameters)
        ]
        parameters.sort(key=lambda one: one.default is _DEFAULT)
        returns = spelled(self.returns)
        if self.is_stream:
            returns = f"Iterator[{returns}]"
        return inspect.Signature(parameters, return_annotation=_Spelled(returns))

    @cached_property
    def decode(self) -> Decode | None:
        """What turns the JSON of an answer into values; None: it is what it is."""
        return decoder(self.returns)

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter of that name."""
        return next((one for one in self.parameters if one.name == name), None)


@dataclass(frozen=True, slots=True)
class Service:
    """What a server says of itself."""

    name: str
    version: str
    apis: Mapping[str, Api]
    """By name, in the order of the document."""
    paths: frozenset[str] = frozenset()
    """All paths that it answers on."""

    @property
    def default(self) -> str:
        """Name of the api that is meant where none is named: ``predict``, else the first one."""
        return "predict" if "predict" in self.apis else next(iter(self.apis), "")


class _Spelled:
    """An annotation that shows as it was written."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


_DEFAULT = _Spelled("...")
"""Stands for a default that only the service knows."""


def service_of(body: bytes | bytearray) -> Service:
    """Return what a document says; raises CallError for one that is none."""
    try:
        document = json.loads(body)
        info, paths = document["info"], document["paths"]
        definitions = document.get("components", {}).get("schemas", {})
        apis = {one.name: one for one in _apis(paths, definitions)}
        return Service(str(info["title"]), str(info["version"]), apis, frozenset(paths))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CallError(
            f"/openapi.json is not what a service shows: {type(error).__name__}",
            hint="does the URL name a server of modelpack?",
        ) from None


def _apis(paths: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[Api]:
    for route, path in paths.items():
        operation = path.get("post")
        if operation is None or "apis" not in operation.get("tags", ()):
            continue
        bodies = operation["requestBody"]["content"]
        good = operation["responses"]["200"]["content"]
        given = resolved(bodies[JSON]["schema"], definitions)
        required = given.get("required", ())
        media, answer = next(
            ((one, good[one]) for one in (JSON, NDJSON) if one in good), next(iter(good.items()))
        )
        summary, description = operation.get("summary", ""), operation.get("description", "")
        yield Api(
            name=str(operation["operationId"]),
            route=str(route),
            doc=summary if summary == description else f"{summary}\n\n{description}".strip(),
            parameters=tuple(
                Parameter(name, one, name in required)
                for name, one in given.get("properties", {}).items()
            ),
            returns=resolved(answer.get("schema", {}), definitions) or _file(media),
            bodies=frozenset(bodies),
            answers=frozenset(good),
            example=bodies[JSON].get("example"),
        )


def _file(media: str) -> Schema:
    """Return the schema of an answer that is a file; {} for one that may be anything."""
    return {} if media in (JSON, NDJSON) else {"contentMediaType": media}


def resolved(schema: Any, definitions: Mapping[str, Any], depth: int = 0) -> Any:
    """Return a schema with what it refers to in its place; what refers to itself becomes anything."""
    if isinstance(schema, list):
        return [resolved(one, definitions, depth) for one in schema]
    if not isinstance(schema, Mapping) or depth > 16:
        return {} if isinstance(schema, Mapping) else schema
    where = schema.get("$ref")
    if isinstance(where, str):
        found = definitions.get(where.rpartition("/")[2], {})
        return resolved(found, definitions, depth + 1)
    return {key: resolved(one, definitions, depth + 1) for key, one in schema.items()}


def spelled(schema: Schema) -> str:
    """Return a schema as a type of Python, as near as it can be said."""
    if (dtype := schema.get("x-dtype")) is not None:
        text = str(schema.get("description", f"an array {dtype}"))
        return text.removeprefix("an array ")
    if schema.get("contentEncoding") == "base64" or "contentMediaType" in schema:
        media = str(schema.get("contentMediaType", ""))
        return "image" if media.startswith("image/") else "bytes"
    if "enum" in schema:
        return f"Literal[{', '.join(map(repr, schema['enum']))}]"
    if "anyOf" in schema:
        return " | ".join(spelled(one) for one in schema["anyOf"])
    kind = schema.get("type")
    if kind == "array":
        if "prefixItems" in schema:
            return f"tuple[{', '.join(spelled(one) for one in schema['prefixItems'])}]"
        return f"list[{spelled(schema.get('items') or {})}]"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"dict[str, {spelled(schema['additionalProperties'])}]"
    if kind == "object":
        return str(schema.get("title", "dict"))
    names = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
    return names.get(str(kind), "None" if kind == "null" else "Any")
