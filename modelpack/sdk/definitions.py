"""Brings the definitions of many JSON Schemas together in one place.

    {"$ref": "#/$defs/Inner", "$defs": {"Inner": …}} ──hoist──► {"$ref": "#/components/schemas/Inner"}
                                                         └────► definitions["Inner"]

What always holds: a definition is never taken for another one of the same name; the later gets a
number behind its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HERE = "#/$defs/"
THERE = "#/components/schemas/"


def hoist(schema: Any, definitions: dict[str, Any], names: Mapping[str, str] | None = None) -> Any:
    """Move the ``$defs`` of a schema into ``definitions`` and point its references there.

    ``names`` are the new names of definitions around it.
    """
    if isinstance(schema, list):
        return [hoist(one, definitions, names) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    known = dict(names or {})
    if own := schema.get("$defs"):
        known |= {name: _name_for(name, one, definitions) for name, one in own.items()}
        for name, one in own.items():
            definitions[known[name]] = hoist(one, definitions, known)
    moved = {}
    for key, value in schema.items():
        if key == "$ref" and isinstance(value, str) and value.startswith(HERE):
            name = value.removeprefix(HERE)
            moved[key] = THERE + known.get(name, name)
        elif key != "$defs":
            moved[key] = hoist(value, definitions, known)
    return moved


def _name_for(name: str, schema: Any, definitions: Mapping[str, Any]) -> str:
    """Return a name that is free, or that stands for the same already."""
    same = hoist(schema, {})
    free, number = name, 1
    while free in definitions and definitions[free] != same:
        number += 1
        free = f"{name}{number}"
    return free
