"""Chooses the JSON decoder of an api, once, from its signature.

    body ─┬─ one short row of numbers ──► struct ──► array
          ├─ number arrays ──► simd ──► arrays
          └─ anything else ──► plain (``codecs``), which also says what is wrong

All give one verdict; the quick ones take only what they are sure of.  For a row as short as four
numbers the time goes into calls, so ``struct`` has the fewest of them: it packs the parsed row
straight into the array, and its own checks refuse a wrong length, type or range.

Measured: docs/decisions/0015, ``python tests/benchmarks/bench_decode.py``.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import orjson

from modelpack.sdk.api import ApiSpec, Arguments
from modelpack.server.bodies.codecs import Decoder, plain_decoder
from modelpack.server.bodies.simd import array_decoder, is_numeric

SHORT_BYTES = 1024
"""Longest body that is tried as one short row; beyond it the SIMD parser is quicker."""

FORMATS = {
    "float16": "e", "float32": "f", "float64": "d", "int8": "b", "int16": "h", "int32": "i",
    "int64": "q", "uint8": "B", "uint16": "H", "uint32": "I", "uint64": "Q",
}  # fmt: skip

NUMBER_BYTES = b"0123456789.+-eE, \n\r\t"

_UNSURE = (ValueError, TypeError, KeyError, OverflowError, struct.error)


def json_decoder(api: ApiSpec) -> Decoder:
    """Return what turns JSON bodies into the api's arguments."""
    plain = plain_decoder(api)
    arrays = array_decoder(api, plain)
    if arrays is None:
        return plain
    return row_decoder(api, arrays) or arrays


def row_decoder(api: ApiSpec, otherwise: Decoder, most_bytes: int = SHORT_BYTES) -> Decoder | None:
    """Return the decoder for an api that takes one array of rows of known length.

    Bodies longer than ``most_bytes``, and all that are not one such row, are left to ``otherwise``.
    """
    name, value = api.parameters[0].name, api.parameters[0].value
    if len(api.parameters) != 1 or not is_numeric(value):
        return None
    shape = value.spec.shape
    if shape is None or len(shape) != 2 or shape[0] == 0 or not isinstance(shape[1], int):
        return None
    width = shape[1]
    if not width or (isinstance(shape[0], int) and shape[0] != 1):
        return None
    # What is left of a body without its numbers: one key, one list in a list; no text, no
    # true and no null.  (Letters of the key that stand in numbers too are missing from it.)
    bare = b'{"%b":[[]]}' % name.encode().translate(None, NUMBER_BYTES)
    # "=": the checks of this form refuse floats that are too large, those of "@" do not.
    pack_into = struct.Struct(f"={width}{FORMATS[value.spec.dtype]}").pack_into
    one_row, dtype = (1, width), np.dtype(value.spec.dtype)
    empty, loads, number_bytes = np.empty, orjson.loads, NUMBER_BYTES

    def decode(body: bytes) -> Arguments:
        if len(body) <= most_bytes and body.translate(None, number_bytes) == bare:
            try:
                rows = loads(body)[name]
                array: Any = empty(one_row, dtype)
                pack_into(array, 0, *rows[0])
                if len(rows) == 1:
                    return Arguments({name: array}, 1)
            except _UNSURE:
                pass
        return otherwise(body)

    return decode
