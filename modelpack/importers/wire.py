"""Reads the fields of binary protocol buffers, without their schemas.

    bytes ──fields──► (number, value): an int for what has a size of its own, else bytes

Wire facts: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

Value = int | memoryview


def fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """Give number and value of each field of a message; raises ValueError when it is malformed."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in {1, 5}:
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(data):
            raise ValueError("it ends in the middle of a field")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it ends in the middle of a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is too long")


def messages(data: memoryview, number: int) -> Iterator[memoryview]:
    """Give the values of a field that is a message or a text."""
    for found, value in fields(data):
        if found == number and not isinstance(value, int):
            yield value


def number_of(data: memoryview, number: int, default: int = 0) -> int:
    """Return the value of a field that is a number, the last if it stands twice."""
    for found, value in fields(data):
        if found == number and isinstance(value, int):
            default = value
    return default


def mapping(data: memoryview, number: int) -> Mapping[str, memoryview]:
    """Return a map field from texts to messages."""
    found: dict[str, memoryview] = {}
    for entry in messages(data, number):
        keys, values = list(messages(entry, 1)), list(messages(entry, 2))
        if keys and values:
            found[bytes(keys[-1]).decode("utf-8", "replace")] = values[-1]
    return found
