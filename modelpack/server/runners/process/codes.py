"""The words that packed values are made of: tags, forms of numbers, limits.

What they mean together stands in ``packing``, which writes them; ``unpacking`` reads them.
"""

from __future__ import annotations

import re
import struct
from typing import Final

MAX_DEPTH = 100
"""Deepest nesting of lists, tuples and mappings."""

MAX_AXES = 32
"""Most axes of an array."""

ALIGNMENT = 64
"""Where blobs begin: at multiples of this many bytes."""

LONG_BYTES = 1024
"""Bytes longer than this stand among the blobs."""


class PackingError(ValueError):
    """The bytes are not a value, or the value has no bytes."""


class Absent:
    """Stands for a parameter that the request left out; there is one."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()

(
    T_NONE, T_TRUE, T_FALSE, T_INT, T_BIG, T_FLOAT, T_TEXT, T_BYTES, T_LONG_BYTES, T_LIST, T_TUPLE, T_DICT,
    T_JSON, T_ARRAY, T_OBJECTS, T_SCALAR, T_ABSENT,
) = range(17)  # fmt: skip

U32 = struct.Struct("<I")
TAG_U32 = struct.Struct("<BI")
TAG_I64 = struct.Struct("<Bq")
TAG_F64 = struct.Struct("<Bd")
TAG_SPAN = struct.Struct("<BQQ")
I64 = struct.Struct("<q")
F64 = struct.Struct("<d")
SPAN = struct.Struct("<QQ")
SHAPES = [struct.Struct(f"<{axes}Q") for axes in range(MAX_AXES + 1)]

DTYPE_CODE = re.compile(
    rb"[<>|=](?:[biufcUS]\d{1,9}|[mM]8(?:\[\d{0,9}(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)"
)


def aligned(at: int) -> int:
    """Return where the next blob may begin, ``at`` or behind it."""
    return (at + ALIGNMENT - 1) & -ALIGNMENT
