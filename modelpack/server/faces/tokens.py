"""``NaN``, ``Infinity`` and ``-Infinity`` in the JSON of requests, which TensorFlow Serving takes.

    body ──parse──► (message, had tokens)
    api  ──with_tokens──► the same api, whose arrays of floats take such numbers

Strict JSON has none of them: what needs no tokens is read by the ordinary parser, and takes no longer.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from modelpack.sdk.api import ApiSpec
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import Issues, Value
from modelpack.server.bodies import codecs
from modelpack.server.problems import BadJson

_TOKENS = (b"NaN", b"Infinity")


def parse(body: bytes) -> tuple[Any, bool]:
    """Return the parsed JSON and whether there was such a token in it; raises BadJson."""
    try:
        return codecs.parse(body), False
    except BadJson as error:
        if not any(token in body for token in _TOKENS):
            raise
        try:
            message = json.loads(
                body, object_pairs_hook=_unique, parse_int=_integer, parse_float=_float
            )
        except RecursionError:
            raise BadJson(f"nested deeper than {codecs.MAX_DEPTH}") from None
        except ValueError:
            raise error from None
        codecs.check_depth(message)
        try:
            orjson.dumps(message)  # which knows what the ordinary parser takes besides tokens
        except TypeError as odd:
            raise BadJson(str(odd)[:100]) from None
        return message, True


def _integer(text: str) -> int | float:
    """Return an integer of at most 64 bits, else a float, as the ordinary parser does."""
    if len(text) <= _DIGITS and -(2**63) <= (value := int(text)) < 2**64:
        return value
    return _float(text)


def _float(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"no number holds {text[:20]}")
    return value


_DIGITS = 20


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadJson(f"the key '{twice[:60]}' stands twice in one object")
    return found


def with_tokens(api: ApiSpec) -> ApiSpec:
    """Return an api whose arrays of floats may hold NaN and infinities, unless it refuses them."""
    if api.nan == "error":
        return api
    return replace(
        api,
        parameters=tuple(replace(one, value=_taking_tokens(one.value)) for one in api.parameters),
    )


def _taking_tokens(value: Value) -> Value:
    if isinstance(value, TensorValue) and value.spec.dtype.startswith("f"):
        return _Odd(value.spec)
    return value


class _Odd(TensorValue):
    """An array of floats in which all numbers of its dtype may be."""

    __slots__ = ()

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        before = len(issues)
        array = TensorValue.decode(self, _finite(raw), at, issues)
        if len(issues) == before:
            wide = np.array(raw, dtype=np.float64)
            array = np.where(np.isfinite(wide), array, wide).astype(array.dtype)
        return array


def _finite(raw: Any) -> Any:
    """Return the same with 0.0 in the place of what no JSON number is."""
    if isinstance(raw, list):
        return [_finite(one) for one in raw]
    return 0.0 if isinstance(raw, float) and not math.isfinite(raw) else raw
