"""Checks a request against the discovery document of the service that it is for.

    ("run.projects.locations.services.create", {"parent": …}, {...}) ──problems──► ["ingress: …"]

Google's client sends any body.  The services refuse unknown fields, words that are none of an
enumeration, and fields that only they may set; the documents, which the client brings along, hold
all of it, and their descriptions begin with "Required." where a field is.  So what is wrong is said
before anything is asked of Google: a plan checks the bodies that its apply would send.

A field is not required where a mask says which fields are meant.  Not here: rules between two
fields, and what depends on other resources.  Source: Google API discovery service, "Discovery
document" (types, formats, ``readOnly``, ``additionalProperties``).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modelpack.errors import ToolMissingError, UsageError

VERSIONS: Mapping[str, str] = {
    "aiplatform": "v1",
    "artifactregistry": "v1",
    "container": "v1",
    "logging": "v2",
    "run": "v2",
}
"""Services that are asked here, and the version of each."""

_WHOLE = {"int32": 2**31, "uint32": 2**32, "int64": 2**63, "uint64": 2**64}
_DIGITS = re.compile(r"-?[0-9]{1,20}")


@functools.cache
def document(service: str) -> Mapping[str, Any]:
    """Return the discovery document of a service; raises ToolMissingError without Google's client."""
    try:
        import googleapiclient.discovery_cache as cache
    except ImportError as cause:
        raise ToolMissingError(
            "the client library of Google is not installed", hint="pip install modelpack-gcp"
        ) from cause
    folder = Path(str(cache.__file__)).parent / "documents"
    found: Mapping[str, Any] = json.loads(
        (folder / f"{service}.{VERSIONS[service]}.json").read_bytes()
    )
    return found


@functools.cache
def method(name: str) -> Mapping[str, Any]:
    """Return what the document says of a method, such as ``run.projects.locations.services.get``."""
    service, *way, last = name.split(".")
    found: Mapping[str, Any] = document(service)
    for word in way:
        found = found["resources"][word]
    one: Mapping[str, Any] = found["methods"][last]
    return one


def problems(name: str, parameters: Mapping[str, Any], body: Any = None) -> list[str]:
    """Return what is wrong with a call of a method; nothing for one that the document allows."""
    known = method(name)
    found = list(_parameters(known.get("parameters", {}), parameters))
    asked = known.get("request", {}).get("$ref")
    if asked is None:
        return found + (["it takes no body"] if body else [])
    masked = "updateMask" in parameters or (isinstance(body, Mapping) and "updateMask" in body)
    check = _Check(document(name.partition(".")[0])["schemas"], is_whole=not masked)
    return found + list(check.value({"$ref": asked}, body if body is not None else {}, ""))


def require(name: str, parameters: Mapping[str, Any], body: Any = None) -> None:
    """Raise UsageError when anything is wrong with a call."""
    found = problems(name, parameters, body)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise UsageError(f"'{name}' would be refused: {found[0]}{more}")


def _parameters(known: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    for name, one in known.items():
        if one.get("required") and not given.get(name):
            yield f"{name}: is required"
    for name, value in given.items():
        if name not in known:
            yield f"{name}: there is no such parameter"
        elif (pattern := known[name].get("pattern")) and not re.search(pattern, str(value)):
            yield f"{name}: '{str(value)[:80]}' does not match {pattern}"


class _Check:
    """Walks a value along the schemas of one document."""

    def __init__(self, schemas: Mapping[str, Any], *, is_whole: bool) -> None:
        self.schemas, self.is_whole = schemas, is_whole

    def value(self, schema: Mapping[str, Any], value: Any, where: str) -> Iterator[str]:
        """Yield what is wrong with a value."""
        if "$ref" in schema:
            schema = self.schemas[schema["$ref"]]
        kind = schema.get("type", "any")
        if kind == "object":
            yield from self._object(schema, value, where)
        elif kind == "array":
            yield from self._array(schema, value, where)
        elif kind == "string":
            yield from _string(schema, value, where)
        elif kind in ("integer", "number"):
            yield from _number(schema, value, where)
        elif kind == "boolean" and not isinstance(value, bool):
            yield f"{where}: must be true or false, got {_kind(value)}"

    def _object(self, schema: Mapping[str, Any], value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield f"{where or 'it'}: must be fields and values, got {_kind(value)}"
            return
        known, other = schema.get("properties", {}), schema.get("additionalProperties")
        if self.is_whole:
            for name, one in known.items():
                if _is_required(one) and not value.get(name):
                    yield f"{_at(where, name)}: is required"
        for name, one in value.items():
            if name in known:
                if _is_read_only(known[name]):
                    yield f"{_at(where, name)}: is set by Google alone"
                else:
                    yield from self.value(known[name], one, _at(where, name))
            elif other is not None:
                yield from self.value(other, one, _at(where, name))
            else:
                yield f"{_at(where, name)}: there is no such field"

    def _array(self, schema: Mapping[str, Any], value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, list | tuple):
            yield f"{where}: must be a list, got {_kind(value)}"
            return
        for number, one in enumerate(value):
            yield from self.value(schema["items"], one, f"{where}[{number}]")


def _string(schema: Mapping[str, Any], value: Any, where: str) -> Iterator[str]:
    form = schema.get("format")
    if form in _WHOLE and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        yield f"{where}: must be text, got {_kind(value)}"
    elif form in _WHOLE and not _DIGITS.fullmatch(value):
        yield f"{where}: must be a whole number in text, got '{value[:40]}'"
    elif schema.get("enum") and value not in schema["enum"]:
        yield f"{where}: '{value[:60]}' is none of its {len(schema['enum'])} values"
    elif (pattern := schema.get("pattern")) and not re.search(pattern, value):
        yield f"{where}: '{value[:60]}' does not match {pattern}"


def _number(schema: Mapping[str, Any], value: Any, where: str) -> Iterator[str]:
    is_whole = schema["type"] == "integer"
    kinds = (int,) if is_whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        yield f"{where}: must be a {'whole ' if is_whole else ''}number, got {_kind(value)}"
        return
    bound = _WHOLE.get(schema.get("format", ""))
    if bound is not None and not -bound <= value < bound:
        yield f"{where}: {value} is out of range"
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and value < float(least):
        yield f"{where}: {value}, at least {least}"
    if most is not None and value > float(most):
        yield f"{where}: {value}, at most {most}"


def _is_required(schema: Mapping[str, Any]) -> bool:
    return str(schema.get("description", "")).startswith("Required.")


def _is_read_only(schema: Mapping[str, Any]) -> bool:
    return bool(schema.get("readOnly"))


def _at(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _kind(value: Any) -> str:
    return type(value).__name__
