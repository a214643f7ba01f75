"""Checks a request against Heroku's own schema before it leaves.

    ("PATCH", "/apps/words/formation", {"updates": […]}) ──problems──► ["updates[0].type: is required"]

The requests that are made here stand in ``platform_api.json``, as the hyper-schema of the Platform API
has them; a request that is none of them is refused, and so is a field that the schema has not.  Source:
Heroku Platform API, JSON schema (devcenter.heroku.com/articles/json-schema-for-platform-api).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from modelpack.errors import UsageError

_KINDS: Mapping[str, type] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
    "null": type(None),
}


@functools.cache
def requests() -> Sequence[Mapping[str, Any]]:
    """Return every request that may be made: ``method``, ``path`` (a pattern), ``body`` (a schema)."""
    text = files("modelpack_heroku").joinpath("platform_api.json").read_text("utf-8")
    found: Sequence[Mapping[str, Any]] = json.loads(text)["requests"]
    return found


def problems(method: str, path: str, body: Any = None) -> list[str]:
    """Return what is wrong with a request; nothing for one that the schema allows."""
    known = [
        one for one in requests() if one["method"] == method and re.fullmatch(one["path"], path)
    ]
    if not known:
        return ["the Platform API has no such request"]
    schema = known[0].get("body")
    if schema is None:
        return ["it takes no body"] if body is not None else []
    return list(_value(schema, body, ""))


def require(method: str, path: str, body: Any = None) -> None:
    """Raise UsageError when anything is wrong with a request."""
    found = problems(method, path, body)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise UsageError(f"'{method} {path}' would be refused: {found[0]}{more}")


def _value(schema: Mapping[str, Any], value: Any, where: str) -> Iterator[str]:
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(_is_a(value, kind) for kind in kinds):
        got = type(value).__name__
        yield f"{where or 'the body'}: must be of the type {' or '.join(kinds)}, got {got}"
    elif isinstance(value, Mapping):
        yield from _object(schema, value, where)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _value(schema["items"], one, f"{where}[{number}]")
    elif isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{where}: '{value[:60]}' does not match {schema['pattern']}"


def _object(schema: Mapping[str, Any], value: Mapping[str, Any], where: str) -> Iterator[str]:
    dot = f"{where}." if where else ""
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{dot}{name}: is required"
    patterns = schema.get("patternProperties", {})
    for name, one in value.items():
        below = schema.get("properties", {}).get(name) or next(
            (found for pattern, found in patterns.items() if re.search(pattern, name)), None
        )
        if below is None:
            yield f"{dot}{name[:60]}: there is no such field"
        else:
            yield from _value(below, one, f"{dot}{name}")


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool) and kind == "integer":
        return False
    return isinstance(value, _KINDS[kind])
