"""Describes the paths of a contract that are others with a version or a label in them.

    described   /v1/models/digits:predict                        by the contract itself
    answers     /v1/models/digits/versions/1:predict    (a door)
                /v1/models/{model}/versions/{version}   (a route)
    in_versions ──► /v1/models/digits/versions/{version}:predict with the values that are answered

So a contract describes each call once, and none of its paths is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from starlette.routing import Route

from modelpack.server.faces.face import Face
from modelpack.server.faces.openapi_parts import ERROR, REFUSALS, path_parameter, said

_STEP = re.compile(r"/(version|label)s/([^/:]+)")
_HOLE = re.compile(r"\{(\w+)(?::\w+)?\}")


def in_versions(face: Face, items: Mapping[str, Any]) -> dict[str, Any]:
    """Return path items for the paths of a contract that name a version of what ``items`` has."""
    found: dict[str, Any] = {}
    values, error = _values(face), _error_of(items)
    for method, path in _paths(face):
        step = _STEP.search(path)
        if step is None:
            continue
        name = step[1]
        for base, filled in _matches(path[: step.start()] + path[step.end() :], items):
            operation = items[base].get(method)
            is_model = filled.get("model", "") in ("", *face.catalog.models)
            if operation is not None and is_model:  # "stats" is none, but stands where they do
                there = _HOLE.sub(partial(_fill, filled), path)
                there = _STEP.sub(f"/{name}s/{{{name}}}", there, count=1)
                found.setdefault(there, {})[method] = _in(name, operation, values[name], error)
    return found


def _fill(filled: Mapping[str, str], hole: re.Match[str]) -> str:
    return filled.get(hole[1], hole[0])


def _values(face: Face) -> dict[str, list[str]]:
    """Return the versions and labels that a contract answers to."""
    found: dict[str, list[str]] = {"version": [], "label": []}
    for _, path in _paths(face):
        step = _STEP.search(path)
        if step is not None and "{" not in step[2] and step[2] not in found[step[1]]:
            found[step[1]].append(step[2])
    return found


def _error_of(items: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of what a contract says when it refuses."""
    for item in items.values():
        for operation in item.values():
            refused = operation.get("responses", {}).get("400", {}).get("content", {})
            for media in refused.values():
                schema: dict[str, Any] = media["schema"]
                return schema
    return ERROR


def _paths(face: Face) -> Iterator[tuple[str, str]]:
    """Yield the method and path of all that a contract answers."""
    for door in face.doors:
        yield "post", door.path
    for route in face.routes:
        if isinstance(route, Route):
            for method in sorted((route.methods or set()) - {"HEAD"}):
                yield method.lower(), route.path


def _matches(plain: str, items: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the described paths that a pattern stands for, with what is in its holes."""
    if "{" not in plain:
        if plain in items:
            yield plain, {}
        return
    parts = _HOLE.split(plain)
    pattern = "".join(
        f"(?P<{part}>[^/:]+)" if number % 2 else re.escape(part)
        for number, part in enumerate(parts)
    )
    for path in items:
        if match := re.fullmatch(pattern, path):
            yield path, match.groupdict()


def _in(
    name: str, operation: Mapping[str, Any], values: list[str], error: dict[str, Any]
) -> dict[str, Any]:
    """Return an operation with a version or a label in its path."""
    there = {**operation, "responses": {**operation["responses"]}}
    hole = path_parameter(name, f"The {name} of the model that is asked.", values)
    there["parameters"] = [*there.get("parameters", []), hole]
    there["summary"] = f"{there['summary']}, in a {name}"
    for status in (400, 404):
        there["responses"].setdefault(str(status), said(REFUSALS[status], error))
    return there
