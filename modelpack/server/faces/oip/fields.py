"""What stands in the fields of a request, or what should stand there instead.

    parsed JSON ──shape_of, object_in, list_in, flag_in, number_in, id_of──► a value
                                                                       └──► InputError, with its place

``null`` is as good as nothing: clients write it for what they leave out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from modelpack.errors import InputError
from modelpack.sdk.values import describe, shorten
from modelpack.server.faces.oip.cut import MAX_AXES
from modelpack.server.faces.oip.data import fits_memory
from modelpack.server.faces.tensors import Shape


def shape_of(raw: Any, datatype: str, at: str) -> Shape:
    """Return the lengths of the axes of a tensor; raises InputError."""
    if not isinstance(raw, list) or any(type(one) is not int or one < 0 for one in raw):
        raise InputError.at(
            at, "a list of lengths", shorten(str(raw)) if raw is not None else "nothing"
        )
    shape = tuple(raw)
    if len(shape) > MAX_AXES:
        raise InputError.at(at, f"at most {MAX_AXES} axes", f"{len(shape)} axes")
    if not fits_memory(datatype, shape):
        raise InputError.at(at, "a shape that fits into memory", shorten(str(raw), 80))
    return shape


def object_in(of: Mapping[str, Any], key: str, at: str) -> Mapping[str, Any]:
    """Return an object; nothing is an empty one."""
    value = of.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError.at(f"{at}/{key}", "an object", describe(value))
    return value


def list_in(of: Mapping[str, Any], key: str, at: str) -> list[Any]:
    """Return a list of tensors; only ``inputs`` has to be there."""
    value = of.get(key)
    if value is None and key != "inputs":
        return []
    if not isinstance(value, list):
        got = "nothing" if value is None else describe(value)
        raise InputError.at(f"{at}/{key}", "a list of tensors", got)
    return value


def flag_in(of: Mapping[str, Any], key: str, at: str) -> bool | None:
    """Return true or false; None: it is not there."""
    value = of.get(key)
    if value is None or isinstance(value, bool):
        return value
    raise InputError.at(f"{at}/{key}", "true or false", describe(value))


def number_in(of: Mapping[str, Any], key: str, at: str) -> int | None:
    """Return a number that may not be negative; None: it is not there."""
    value = of.get(key)
    if value is None or (type(value) is int and value >= 0):
        return value
    raise InputError.at(f"{at}/{key}", "a whole number from 0", describe(value))


def id_of(head: Mapping[str, Any]) -> bytes:
    """Return the id as JSON; b"": there is none."""
    value = head.get("id")
    if value is None or isinstance(value, str):
        return orjson.dumps(value) if value else b""
    raise InputError.at("/id", "a string", describe(value))
