"""Reads from an ``.onnx`` file where its external weights lie, without loading the model.

    ModelProto.graph(7) ─┬─ initializer(5) ───────────────┬─ TensorProto.external_data(13)
                         └─ node(1).attribute(5).t(5)/…  ─┘     {key(1): "location", value(2)}

Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.  Only the
messages on that way are entered, so a file of gigabytes is skimmed, not read.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from modelpack.errors import UsageError

_TENSOR = "tensor"
# message -> {field number: message found there}
_WAYS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: _TENSOR, 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: _TENSOR, 6: "graph", 10: _TENSOR, 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {13: "entry"},
}
_MAX_DEPTH = 64


def external_files(file: Path) -> tuple[str, ...]:
    """Return the locations of external weights, sorted; raises UsageError for no ONNX file."""
    try:
        with file.open("rb") as handle:
            if file.stat().st_size == 0:
                raise ValueError("it is empty")
            with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return tuple(sorted(set(_locations(data, "model", 0, len(data), 0))))
    except (ValueError, IndexError) as cause:
        raise UsageError(
            f"'{file.name}' is not an ONNX model", hint="give a file that an ONNX exporter wrote"
        ) from cause


def _locations(data: mmap.mmap, message: str, start: int, end: int, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deep")
    ways = _WAYS[message]
    for field, low, high in _fields(data, start, end):
        found = ways.get(field)
        if found == "entry":
            entry = {number: data[a:b] for number, a, b in _fields(data, low, high)}
            if entry.get(1) == b"location":
                yield entry.get(2, b"").decode("utf-8", "replace")
        elif found is not None:
            yield from _locations(data, found, low, high, depth + 1)


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield ``(field number, start, end)`` of each length-delimited field, skipping the others."""
    while at < end:
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            _, at = _varint(data, at)
        elif wire == 1:
            at += 8
        elif wire == 2:
            length, at = _varint(data, at)
            if at + length > end:
                raise ValueError("a field is longer than its message")
            yield key >> 3, at, at + length
            at += length
        elif wire == 5:
            at += 4
        else:
            raise ValueError(f"wire type {wire}")
    if at != end:
        raise ValueError("a message ends inside a field")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
