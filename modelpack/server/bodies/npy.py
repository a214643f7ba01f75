"""The ``.npy`` form of one array, as numpy writes it (versions 1.0 to 3.0).

    magic, version, length ─► {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } ─► data

Read by a small grammar of our own: the header is a Python literal, and nothing of a request is
given to an evaluator.  Only plain numbers are known, so an array of objects, which holds a pickle,
is refused by its name.  A header longer than ``MAX_HEADER_BYTES`` is refused unread.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from modelpack.errors import InputError
from modelpack.sdk.values import shorten
from modelpack.server.bodies.binary import BINARY_DTYPES, MAX_AXES, Told

if TYPE_CHECKING:
    from modelpack.sdk.tensor import Array

MAGIC = b"\x93NUMPY"

MAX_HEADER_BYTES = 4096
"""Longest header; numpy writes 118 bytes for any array that fits here."""

_ENTRY = re.compile(
    r"""\s*(['"])(descr|fortran_order|shape)\1\s*:\s*
    ('[^'\\]*'|"[^"\\]*"|True|False|\([\d,\s]*\))\s*(,|(?=\}))""",
    re.VERBOSE,
)
_RECORDS = re.compile(r"""['"]descr['"]\s*:\s*\[""")
_AXIS = re.compile(r"\s*(\d{1,18})\s*")
_DESCR = re.compile(r"([<>|=])([biuf]\d)")
_ANY_DTYPE = f"one of the dtypes {', '.join(BINARY_DTYPES)}"
_NAMES = {np.dtype(name).str[1:]: name for name in BINARY_DTYPES}


def read(body: bytes, at: str) -> tuple[Told, memoryview]:
    """Return what a file says of its array, and the data; raises InputError naming ``at``."""
    if body[:6] != MAGIC:
        raise InputError.at(at, "an .npy file", "other bytes")
    version = tuple(body[6:8])
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise InputError.at(
            at, "an .npy file of version 1.0, 2.0 or 3.0", f"version {list(version)}"
        )
    start = 10 if version == (1, 0) else 12
    length = int.from_bytes(body[8:start], "little")
    if length > MAX_HEADER_BYTES:
        raise InputError.at(at, f"a header of up to {MAX_HEADER_BYTES} bytes", f"{length} bytes")
    header = body[start : start + length]
    if len(body) < start or len(header) < length:
        raise InputError.at(at, "an .npy file", f"{len(body)} bytes, less than its header")
    return _told(header.decode("latin-1"), at), memoryview(body)[start + length :]


def _told(header: str, at: str) -> Told:
    if _RECORDS.search(header):
        raise InputError.at(at, _ANY_DTYPE, "an array of records")
    found = _entries(header)
    if found is None or set(found) != {"descr", "fortran_order", "shape"}:
        raise InputError.at(
            at, "an .npy header with descr, fortran_order and shape", _quote(header)
        )
    descr = found["descr"][1:-1]
    known = _DESCR.fullmatch(descr)
    if known is None or known[2] not in _NAMES:
        raise InputError.at(at, _ANY_DTYPE, f"dtype {_quote(descr)}")
    shape = _shape(found["shape"])
    if shape is None or found["fortran_order"] not in ("True", "False"):
        raise InputError.at(at, f"an .npy header with up to {MAX_AXES} lengths", _quote(header))
    return Told(
        dtype=_NAMES[known[2]],
        shape=shape,
        is_fortran=found["fortran_order"] == "True",
        is_swapped=known[1] == ">",
    )


def _entries(header: str) -> dict[str, str] | None:
    """Return the three entries as they are written; None when it is anything else."""
    text = header.strip()
    if not text.startswith("{"):
        return None
    found: dict[str, str] = {}
    at = 1
    while (entry := _ENTRY.match(text, at)) is not None:
        if entry[2] in found:
            return None
        found[entry[2]] = entry[3]
        at = entry.end()
    return found if text[at:].strip() == "}" else None


def _shape(text: str) -> tuple[int, ...] | None:
    """Return a tuple that is written like ``(2, 3)``, ``(2,)`` or ``()``."""
    if not text.startswith("("):
        return None
    parts = text[1:-1].split(",")
    if not parts[-1].strip():
        parts.pop()
    elif len(parts) == 1:
        return None  # (2) is a number
    lengths = [_AXIS.fullmatch(part) for part in parts]
    if len(lengths) > MAX_AXES or None in lengths:
        return None
    return tuple(int(one[1]) for one in lengths if one is not None)


def write(array: Array) -> bytes:
    """Return an array as a file of version 1.0."""
    order = "|" if array.dtype.itemsize == 1 else "<"
    descr = order + array.dtype.str[1:]
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {array.shape}, }}"
    # As numpy does: the data begins at a multiple of 64, so that it can be mapped.
    header += " " * (-(len(header) + 11) % 64) + "\n"
    head = MAGIC + b"\x01\x00" + len(header).to_bytes(2, "little") + header.encode("latin-1")
    return head + array.astype(descr, copy=False).tobytes()


def _quote(text: str) -> str:
    return repr(shorten(text.strip(), 60))
