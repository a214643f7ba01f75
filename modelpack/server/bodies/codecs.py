"""JSON in, JSON out.

    bytes ──plain_decoder(api)──► Arguments              BadJson: syntax; InputError: does not fit
    answer ──dump──► bytes                               BadOutput: no JSON form

This is the decoder that takes everything and says what is wrong; ``decoders`` has quicker ones for
arrays of numbers, which leave to it what they are not sure of.

The verdicts are those of ``ApiSpec.decode``; what is added here is what only the bytes show: broken
syntax, a key that stands twice, nesting deeper than ``MAX_DEPTH``, numbers that no float holds.
The tests that decide are counts of single bytes, so that an ordinary body costs no second pass.

Numbers in arrays are written without a Python object each; NaN and infinities become ``null``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from modelpack.errors import InputError
from modelpack.sdk.api import ApiSpec, Arguments
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import BoolValue, ChoiceValue, NumberValue, StringValue
from modelpack.server.problems import BadJson, BadOutput

MAX_DEPTH = 64
"""Deepest nesting of a body."""

_FLAT = (TensorValue, BoolValue, ChoiceValue, NumberValue, StringValue)

Decoder = Callable[[bytes], Arguments]


def plain_decoder(api: ApiSpec) -> Decoder:
    """Return what turns any JSON body into the api's arguments, or says what is wrong with it."""
    is_flat = all(isinstance(p.value, _FLAT) for p in api.parameters)

    def decode(body: bytes) -> Arguments:
        parsed = parse(body)
        # Only what is neither array nor scalar may be nested as deep as the client likes.
        if not is_flat and _may_be_deep(body):
            check_depth(parsed)
        return _decode(api, parsed, body)

    return decode


def _decode(api: ApiSpec, parsed: Any, body: bytes) -> Arguments:
    try:
        return api.decode(parsed)
    except (InputError, RecursionError):
        if _may_be_deep(body):
            check_depth(parsed)
        raise


def _may_be_deep(body: bytes) -> bool:
    return body.count(b"[") + body.count(b"{") > MAX_DEPTH


def parse(body: bytes) -> Any:
    """Return the parsed JSON; raises BadJson that says where it is wrong."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if not body.strip():
            raise BadJson("it is empty") from None
        raise BadJson(f"{error.msg}: line {error.lineno} column {error.colno}") from None
    quotes = body.count(b'"')
    # Two quotes a key, and two more for each text: when that is all there is, no key can stand
    # twice.  Anything else is read again by a parser that shows every key.
    if quotes and type(parsed) is dict and quotes != 2 * len(parsed):
        texts = sum([type(one) is str for one in parsed.values()])
        if quotes != 2 * (len(parsed) + texts):
            _refuse_repeated_keys(body)
    elif quotes and type(parsed) is not dict:
        _refuse_repeated_keys(body)
    return parsed


def _refuse_repeated_keys(body: bytes) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> None:
        if len(pairs) != len({key for key, _ in pairs}):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise BadJson(f"the key '{twice[:60]}' stands twice in one object")

    try:
        # Numbers stay text: only the keys matter, and int() of many digits is slow.
        json.loads(body, object_pairs_hook=unique, parse_int=str, parse_float=str)
    except RecursionError:
        raise _too_deep() from None


def check_depth(parsed: Any) -> None:
    """Raise BadJson when a value is nested deeper than ``MAX_DEPTH``."""
    level = [parsed]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for one in level:
            if type(one) is dict:
                deeper.extend([v for v in one.values() if type(v) is dict or type(v) is list])
            elif type(one) is list:
                deeper.extend([v for v in one if type(v) is dict or type(v) is list])
        if not deeper:
            return
        level = deeper
    raise _too_deep()


def _too_deep() -> BadJson:
    return BadJson(f"nested deeper than {MAX_DEPTH}")


def dump(answer: Any) -> bytes:
    """Return the JSON of an answer; raises BadOutput."""
    try:
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        pass  # something unusual in it: once more, array by array
    try:
        return orjson.dumps(answer, _plain, orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        raise BadOutput(f"no JSON form: {error.__cause__ or error}") from None


def _plain(value: Any) -> Any:
    """Return what the JSON writer takes instead of a value that it does not know."""
    if isinstance(value, np.ndarray):
        if value.ndim == 0 or value.dtype.kind in "OUS":
            return value.tolist()
        value = np.ascontiguousarray(value, value.dtype.newbyteorder("="))
    if isinstance(value, np.integer):
        return value.item()  # there are types of equal width that the writer does not know
    if isinstance(value, np.ndarray | np.generic):
        return orjson.Fragment(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))
    raise TypeError(f"{type(value).__name__} has no JSON form")
