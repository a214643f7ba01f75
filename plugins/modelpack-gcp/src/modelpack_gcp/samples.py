"""An instance that an api takes, made from what the bundle records of it.

    {"input": {"properties": {"x": {"type": "array", …}}}, "batch": …} ──instance──► [0.0, 0.0]

An endpoint of Vertex AI passes on one path alone, so the service cannot be asked for its own examples.
What comes out fits the schema: the least of a range, the first of an enumeration, the shortest list.
It says that a prediction works, and not that it is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def default_api(apis: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the api that a platform's one path leads to: ``predict``, else the first."""
    return next((api for api in apis if api.get("name") == "predict"), apis[0] if apis else None)


def instance(api: Mapping[str, Any]) -> Any:
    """Return one instance: of a batch one row of each list; of one parameter, its value alone."""
    whole = sample(api.get("input") or {})
    values = dict(whole) if isinstance(whole, Mapping) else {}
    if api.get("batch"):
        values = {
            key: one[0] if isinstance(one, list) and one else one for key, one in values.items()
        }
    return next(iter(values.values())) if len(values) == 1 else values


def sample(schema: Mapping[str, Any]) -> Any:
    """Return a value that fits a JSON Schema of ours; None where there is no telling."""
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("enum", "anyOf", "oneOf"):
        if schema.get(key):
            first = schema[key][0]
            return first if key == "enum" else sample(first)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        properties = schema.get("properties") or {}
        return {name: sample(properties[name]) for name in schema.get("required") or properties}
    if kind == "array":
        return _items(schema)
    if kind in ("number", "integer"):
        return _number(schema, is_whole=kind == "integer")
    if kind == "string":
        return "a" * max(1, int(schema.get("minLength") or 0))
    return kind == "boolean" or None


def _items(schema: Mapping[str, Any]) -> list[Any]:
    found = [sample(one) for one in schema.get("prefixItems") or ()]
    items = schema.get("items")
    if isinstance(items, Mapping):
        least = max(int(schema.get("minItems") or 0), 1)  # of an axis of any length, one
        found += [sample(items)] * max(0, least - len(found))
    return found


def _number(schema: Mapping[str, Any], *, is_whole: bool) -> float | int:
    step: float | int = 1 if is_whole else 0.5
    value: float | int = 0
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    value = max(value, schema.get("minimum", value), value if above is None else above + step)
    value = min(value, schema.get("maximum", value), value if below is None else below - step)
    return int(value) if is_whole else float(value)
