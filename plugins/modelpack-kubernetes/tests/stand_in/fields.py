"""Sets of fields: which ones a configuration names, and how ``managedFields`` writes them down.

    {"spec": {"ports": [{"port": 80, "name": "http"}]}}
        ──owned──► {("f:spec", "f:ports", 'k:{"port":80,"protocol":"TCP"}', "f:name"), …}
        ──to_v1──► {"f:spec": {"f:ports": {'k:{…}': {".": {}, "f:name": {}}}}}

A path is a tuple of steps as FieldsV1 writes them: ``f:NAME`` a field, ``k:{…}`` an item of a list
that is a map, ``v:…`` an item of a list that is a set, ``.`` the item itself.  Lists and maps that
are atomic are one field.  Source: Kubernetes, "Server-Side Apply", and FieldsV1 of its API reference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .schema import Schema

Path = tuple[str, ...]
Fields = frozenset[Path]

MISSING = object()


def owned(value: Any, schema: Schema) -> Fields:
    """Return the fields that a configuration names, without those that identify the object."""
    return frozenset(
        path for path in _walk(value, schema, ()) if path[:1] not in _IDENTITY and not _is_id(path)
    )


_IDENTITY = (("f:apiVersion",), ("f:kind",), ("f:status",))
_IDS = frozenset(
    {"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp"}
    | {"managedFields", "deletionTimestamp", "selfLink", "generateName"}
)


def _is_id(path: Path) -> bool:
    return path == ("f:metadata",) or (
        len(path) >= 2 and path[0] == "f:metadata" and path[1][2:] in _IDS
    )


def _walk(value: Any, schema: Schema, path: Path) -> Iterator[Path]:
    if isinstance(value, dict) and not schema.is_atomic:
        if not value and path:
            yield path
        for name, one in value.items():
            if one is not None:
                yield from _walk(one, schema.child(name), (*path, f"f:{name}"))
    elif isinstance(value, list) and schema.list_type in ("map", "set"):
        if not value:
            yield path
        for one in value:
            step = step_of(one, schema)
            yield (*path, step, ".") if schema.list_type == "map" else (*path, step)
            if schema.list_type == "map":
                yield from _walk(one, schema.item, (*path, step))
    else:
        yield path


def step_of(item: Any, schema: Schema) -> str:
    """Return the step that leads to an item of a list."""
    if schema.list_type == "set":
        return "v:" + json.dumps(item)
    keys = {key: item.get(key, schema.default_of(key)) for key in schema.keys}
    known = {key: one for key, one in keys.items() if one is not None}
    return "k:" + json.dumps(known, sort_keys=True, separators=(",", ":"))


def value_at(value: Any, path: Path, schema: Schema) -> Any:
    """Return what stands at a path, ``MISSING`` when there is nothing."""
    for step in path:
        if step == ".":
            return True
        if step.startswith("f:"):
            if not isinstance(value, dict) or step[2:] not in value:
                return MISSING
            value, schema = value[step[2:]], schema.child(step[2:])
        else:
            if not isinstance(value, list):
                return MISSING
            found = [one for one in value if step_of(one, schema) == step]
            if not found:
                return MISSING
            value, schema = found[0], schema.item
    return value


def to_v1(fields: Fields) -> dict[str, Any]:
    """Return a set as FieldsV1."""
    tree: dict[str, Any] = {}
    for path in sorted(fields):
        node = tree
        for step in path:
            node = node.setdefault(step, {})
    return tree


def shown(path: Path) -> str:
    """Return a path as conflicts name it: ``.spec.template.spec.containers[name="x"].image``."""
    text = ""
    for step in path:
        if step.startswith("f:"):
            text += f".{step[2:]}"
        elif step.startswith("k:"):
            keys = json.loads(step[2:])
            text += "[" + ",".join(f"{key}={json.dumps(one)}" for key, one in keys.items()) + "]"
        elif step.startswith("v:"):
            text += f"[={step[2:]}]"
    return text
