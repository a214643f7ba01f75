"""A body that an api takes, made from what the bundle records of it.

    {"type": "object", "properties": {"x": {"type": "array", ...}}} ──sample──► {"x": [[0.0, 0.0]]}

Where nothing but one path of a service can be reached, the service cannot be asked for its own
examples.  What comes out fits the schema: the least of a range, the first of an enumeration, the
shortest list.  It says that a prediction works, and not that it is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def default_api(apis: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the api that a platform's one path leads to: ``predict``, else the first."""
    return next((api for api in apis if api.get("name") == "predict"), apis[0] if apis else None)


def sample(schema: Mapping[str, Any]) -> Any:
    """Return a value that fits a JSON Schema of ours; None where there is no telling."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if "default" in schema:
        return schema["default"]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return sample(schema[key][0])
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        properties = schema.get("properties") or {}
        return {name: sample(properties[name]) for name in schema.get("required") or ()}
    if kind == "array":
        return _items(schema)
    if kind in ("number", "integer"):
        return _number(schema, kind)
    if kind == "string":
        return "a" * max(1, int(schema.get("minLength") or 0))
    return kind == "boolean" or None


def _items(schema: Mapping[str, Any]) -> list[Any]:
    prefix = [sample(one) for one in schema.get("prefixItems") or ()]
    items = schema.get("items")
    if not isinstance(items, Mapping):
        return prefix
    # Of an axis of any length, one.
    least = max(int(schema.get("minItems") or 0), 1)
    return prefix + [sample(items)] * max(0, least - len(prefix))


def _number(schema: Mapping[str, Any], kind: str) -> float | int:
    value: float | int = 0
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    step: float | int = 1 if kind == "integer" else 0.5
    if least is not None and value < least:
        value = least
    if above is not None and value <= above:
        value = above + step
    if most is not None and value > most:
        value = most
    if below is not None and value >= below:
        value = below - step
    return int(value) if kind == "integer" else float(value)
