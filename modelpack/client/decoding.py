"""Answers as values: what JSON cannot say is made again by the schema.

    parsed JSON ──decoder(schema)──► arrays with their dtype, bytes, tuples; all else as it is

numpy is loaded when an array is met, not before.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

Schema = Mapping[str, Any]
"""JSON Schema, with nothing in it that refers to something else."""

Decode = Callable[[Any], Any]


def decoder(schema: Schema) -> Decode | None:
    """Return what turns parsed JSON of that form into values; None: it is what it is."""
    if (dtype := schema.get("x-dtype")) is not None:
        return partial(_to_array, str(dtype))
    if schema.get("contentEncoding") == "base64":
        return base64.b64decode
    if "anyOf" in schema:
        return _optional(schema["anyOf"])
    if "prefixItems" in schema:
        decoders = [decoder(one) or _same for one in schema["prefixItems"]]
        return lambda raw: tuple(f(one) for f, one in zip(decoders, raw, strict=True))
    kind = schema.get("type")
    if kind == "array" and (item := decoder(schema.get("items") or {})) is not None:
        return lambda raw: [item(one) for one in raw]
    if kind == "object":
        return _object(schema)
    return None


def _object(schema: Schema) -> Decode | None:
    known = {
        name: found
        for name, one in schema.get("properties", {}).items()
        if (found := decoder(one)) is not None
    }
    others = schema.get("additionalProperties")
    other = decoder(others) if isinstance(others, Mapping) else None
    if not known and other is None:
        return None
    default = other or _same
    return lambda raw: {key: known.get(key, default)(one) for key, one in raw.items()}


def _optional(choices: list[Schema]) -> Decode | None:
    found = [one for one in choices if one.get("type") != "null"]
    inner = decoder(found[0]) if len(found) == 1 else None
    if inner is None:
        return None
    return lambda raw: None if raw is None else inner(raw)


def _same(raw: Any) -> Any:
    return raw


def _to_array(dtype: str, raw: Any) -> Any:
    import numpy as np

    if raw is None:
        return None
    # ``null`` stands for NaN and the infinities, and becomes NaN.
    return np.array(raw, object if dtype == "str" else dtype)
