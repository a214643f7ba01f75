"""Google's discovery documents as strict JSON Schema, for a library that others wrote to judge by.

discovery schema ──schema_of──► JSON Schema: no unknown field, no read-only one, the words of
                                enumerations, patterns, and what the descriptions require
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import googleapiclient.discovery_cache as cache
import jsonschema_rs

VERSIONS = {
    "aiplatform": "v1", "artifactregistry": "v1", "container": "v1", "run": "v2", "logging": "v2",
}  # fmt: skip
NEVER: dict[str, Any] = {"not": {}}


@functools.cache
def document(service: str) -> Any:
    folder = Path(str(cache.__file__)).parent / "documents"
    return json.loads((folder / f"{service}.{VERSIONS[service]}.json").read_text())


def schema_of(one: Mapping[str, Any], *, is_whole: bool) -> dict[str, Any]:
    if "$ref" in one:
        return {"$ref": f"#/$defs/{one['$ref']}"}
    if one.get("readOnly"):
        return NEVER
    kind = one.get("type")
    if kind == "any" or kind is None:
        return {}
    found: dict[str, Any] = {"type": kind}
    if kind == "string" and one.get("format", "").endswith("int64"):
        return {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^-?[0-9]+$"}]}
    for name in ("enum", "pattern"):
        if name in one:
            found[name] = one[name]
    for name in ("minimum", "maximum"):
        if name in one:
            found[name] = float(one[name])
    if kind == "array":
        found["items"] = schema_of(one["items"], is_whole=is_whole)
    if kind == "object":
        known = one.get("properties", {})
        found["properties"] = {
            name: schema_of(value, is_whole=is_whole) for name, value in known.items()
        }
        other = one.get("additionalProperties")
        found["additionalProperties"] = (
            schema_of(other, is_whole=is_whole) if other is not None else False
        )
        if is_whole:
            found["required"] = [
                name
                for name, value in known.items()
                if str(value.get("description", "")).startswith("Required.")
            ]
    return found


@functools.cache
def validator(service: str, name: str, is_whole: bool) -> Any:
    """Return what judges bodies of one schema of a service."""
    schemas = document(service)["schemas"]
    needed, todo = {}, [name]
    while todo:
        one = todo.pop()
        if one not in needed:
            needed[one] = schema_of(schemas[one], is_whole=is_whole)
            todo += re.findall(r'"\$ref": "([^"]+)"', json.dumps(schemas[one]))
    return jsonschema_rs.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": needed})


def mistakes(service: str, name: str, body: Any, *, is_whole: bool) -> list[str]:
    found = validator(service, name, is_whole).iter_errors(body)
    return [f"{'.'.join(str(step) for step in one.instance_path)}: {one.message}" for one in found]


@functools.cache
def routes(service: str) -> list[tuple[str, re.Pattern[str], str, Any]]:
    """Return HTTP method, path, name and description of every method of a service."""
    found: list[tuple[str, re.Pattern[str], str, Any]] = []

    def walk(resource: Mapping[str, Any]) -> None:
        for one in resource.get("methods", {}).values():
            path = re.sub(r"\\\{\\\+?(\w+)\\\}", r"(?P<\1>[^?]+?)", re.escape(one["path"]))
            path = re.sub(r"\{\+?(\w+)\}", r"(?P<\1>[^?]+?)", path)
            found.append((one["httpMethod"], re.compile(path), one["id"], one))
        for below in resource.get("resources", {}).values():
            walk(below)

    walk(document(service))
    # What names more words comes first, and of those what has the stricter parameters.
    return sorted(found, key=lambda row: -len(row[1].pattern))


@functools.cache
def find(http_method: str, path: str) -> tuple[str, dict[str, str], Any] | None:
    """Return the method that a request is for, and what its path says."""
    for service in VERSIONS:
        for verb, pattern, name, known in routes(service):
            match = pattern.fullmatch(path)
            if verb == http_method and match is not None:
                said = match.groupdict()
                parameters = known.get("parameters", {})
                if all(
                    re.search(parameters[key].get("pattern", ""), value)
                    for key, value in said.items()
                ):
                    return name, said, known
    return None


def request_of(name: str) -> str:
    """Return which schema the body of a method has."""
    service, *way, last = name.split(".")
    found = document(service)
    for word in way:
        found = found["resources"][word]
    return str(found["methods"][last]["request"]["$ref"])
