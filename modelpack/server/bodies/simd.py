"""Reads JSON number arrays without a Python object for each number.

    bytes ──simdjson──► document ──as_buffer──► float64 / int64 / uint64 ──► array of the dtype
      └── anything unusual ──► the plain decoder, which takes it or says what is wrong

The SIMD parser never refuses a body by itself: it takes what it is sure of and leaves the rest to
the plain decoder, so both give one verdict.  What it must be sure of, because ``as_buffer`` gives
the numbers alone, ``[[1, 2, 3], [4]]`` as four:

* every axis has one length: the lists of all axes but the last are visited, which is one object a
  row and none a number;
* no list stands where a number should: the ``[`` of the body are just those that were visited;
* no key stands twice: the document has as many members as were taken from it.

Long bodies are read in pieces (``pieces``).  A parser must not be used again while a part of its
document lives, and keeps some ten times the memory of its largest document.  So each decoding
borrows a parser that nobody else has, in whatever thread it runs, and gives it back only when all
went well and the body was not large.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from modelpack.errors import Issue
from modelpack.sdk.api import ApiSpec, Arguments
from modelpack.sdk.tensor import TensorSpec, TensorValue, to_float, to_integer
from modelpack.sdk.values import Value
from modelpack.server.bodies.codecs import Decoder
from modelpack.server.bodies.pieces import Cutter

if TYPE_CHECKING:
    from modelpack.sdk.tensor import Array

LONG_BYTES = 512 * 1024
"""Longest body that is read as a whole: others wait a millisecond for the interpreter meanwhile."""

KEPT_BYTES = 256 * 1024
"""A parser that has read a longer body is thrown away."""

# What the parser and its proxies raise for what they do not take.
UNSURE = (ValueError, TypeError, RuntimeError, KeyError, IndexError, OverflowError)

_BRACE = ord("{")
"""First byte of a body, which leaves out a byte order mark that the parser would skip."""

Take = Callable[[Any], "tuple[Array, int]"]
"""Turns a JSON array into an array, with the number of its lists; raises one of ``UNSURE``."""


def array_decoder(api: ApiSpec, plain: Decoder) -> Decoder | None:
    """Return the decoder of an api with number arrays, None for others; ``plain`` decides doubts."""
    takes = {p.name: _taker(p.value) for p in api.parameters if is_numeric(p.value)}
    if not takes:
        return None
    if len(api.parameters) == 1:
        return _single(api, takes.popitem()[1], plain)
    return _several(api, takes, plain)


def is_numeric(value: Value) -> TypeGuard[TensorValue]:
    """Say whether a value is an array whose numbers can be read at once."""
    return (
        isinstance(value, TensorValue)
        and value.spec.dtype not in ("bool", "str")
        and value.spec.shape != ()
    )


def array_reader(dtype: str) -> Callable[[bytes], Array]:
    """Return what reads one JSON array of numbers by itself, of any shape.

    It raises one of ``UNSURE`` for what it does not take; an array without numbers is one of those.
    """
    take = _taker(TensorValue(TensorSpec(dtype)), is_piece=True)
    idle: list[Any] = []

    def read(text: bytes) -> Array:
        try:
            parser = idle.pop()
        except IndexError:
            parser = _new_parser()
        array, lists = take(parser.parse(text))
        if not _has_just(text, lists):
            raise ValueError
        if len(text) <= KEPT_BYTES:
            idle.append(parser)
        return array

    return read


def _single(api: ApiSpec, take: Take, plain: Decoder) -> Decoder:
    """Return the decoder of an api that takes one array and nothing else."""
    name, has_rows = api.parameters[0].name, api.batch is not None
    by_pieces = _by_pieces(api, plain) or plain
    longest = LONG_BYTES if by_pieces is not plain else sys.maxsize
    idle: list[Any] = []
    new_parser = _new_parser

    def decode(body: bytes) -> Arguments:
        if len(body) > longest:
            return by_pieces(body)
        try:
            parser = idle.pop()  # not asked before: another thread may be quicker
        except IndexError:
            parser = new_parser()
        try:
            document = parser.parse(body)
            array, lists = take(document[name])
            is_sure = len(document) == 1 and body[0] == _BRACE and _has_just(body, lists)
        except UNSURE:
            is_sure = False
        if not is_sure:
            return plain(body)
        document = None  # the parser is free again
        if len(body) <= KEPT_BYTES:
            idle.append(parser)
        return Arguments({name: array}, len(array) if has_rows else 1)

    return decode


def _by_pieces(api: ApiSpec, plain: Decoder) -> Decoder | None:
    """Return the decoder of long bodies of one array; None when its axes are not known."""
    name, value = api.parameters[0].name, api.parameters[0].value
    if not is_numeric(value) or value.spec.shape is None:
        return None
    cutter = Cutter(name, len(value.spec.shape))
    take, check_shape = _taker(value, is_piece=True), value.check_shape
    has_rows = api.batch is not None

    def decode(body: bytes) -> Arguments:
        parser = _new_parser()
        arrays = []
        try:
            for piece in cutter.cut(body):
                array, lists = take(parser.parse(piece))
                if not _has_just(piece, lists):
                    raise ValueError
                arrays.append(array)
                time.sleep(0)  # whoever waits for the interpreter goes first
            whole = np.concatenate(arrays)
            is_sure = check_shape(whole.shape) is None
        except UNSURE:
            is_sure = False
        if not is_sure:
            return plain(body)
        return Arguments({name: whole}, len(whole) if has_rows else 1)

    return decode


def _several(api: ApiSpec, takes: dict[str, Take], plain: Decoder) -> Decoder:
    """Return the decoder of an api that takes arrays and other parameters."""
    others = {p.name: p.value for p in api.parameters if p.name not in takes}
    defaults = {p.name: p.default for p in api.parameters if not p.is_required}
    idle: list[Any] = []

    def read(parser: Any, body: bytes) -> dict[str, Any] | None:
        document = parser.parse(body)
        if len(document) > len(api.parameters):
            return None  # before a key that stands there a million times is looked up that often
        values = dict(defaults)
        issues: list[Issue] = []
        lists = 0
        for key in document:
            element = document[key]
            take = takes.get(key)
            if take is not None:
                values[key], count = take(element)
                lists += count
            elif isinstance(element, str | int | float | bool | None):
                values[key] = others[key].decode(element, f"/{key}", issues)
            else:
                return None
        given = len(values) - sum([key not in document for key in defaults])
        is_whole = len(document) == given and len(values) == len(api.parameters)
        is_sure = is_whole and not issues and body[0] == _BRACE
        return values if is_sure and _has_just(body, lists) else None

    def decode(body: bytes) -> Arguments:
        try:
            parser = idle.pop()
        except IndexError:
            parser = _new_parser()
        try:
            values = read(parser, body)
        except UNSURE:
            values = None
        if values is None:
            return plain(body)
        if len(body) <= KEPT_BYTES:
            idle.append(parser)
        return Arguments(values, api.count_rows(values))

    return decode


def _new_parser() -> Any:
    from simdjson import Parser

    return Parser()


def _has_just(body: bytes, lists: int) -> bool:
    """Say whether a body has that many ``[`` in it; those in texts count too."""
    if lists > _FEW:
        return body.count(b"[") == lists
    # Looking for so few is quicker than counting through all of the body.
    at = -1
    for _ in range(lists):
        at = body.find(b"[", at + 1)
    return body.find(b"[", at + 1) < 0


_FEW = 8


def _taker(value: TensorValue, *, is_piece: bool = False) -> Take:
    """Return what takes the arrays of one parameter, or pieces of them, of any length."""
    from simdjson import Array as ArrayProxy

    dtype = value.spec.dtype
    rank = None if value.spec.shape is None else len(value.spec.shape)
    is_float = dtype.startswith("f")
    of_type = "d" if is_float else "u" if dtype == "uint64" else "i"
    wide: np.dtype[Any] = np.dtype({"d": "float64", "u": "uint64", "i": "int64"}[of_type])
    narrow = to_float if is_float else to_integer
    check_shape, frombuffer = value.check_shape, np.frombuffer

    def take(element: Any) -> tuple[Array, int]:
        shape, lists = _measure(element, rank, ArrayProxy)
        if not is_piece and check_shape(shape) is not None:
            raise ValueError
        flat = frombuffer(element.as_buffer(of_type=of_type), wide)
        array = narrow(flat, dtype) if flat.size else None
        if array is None:
            raise ValueError
        return array.reshape(shape), lists  # raises ValueError when the numbers are more or less

    return take


def _measure(element: Any, rank: int | None, array_type: Any) -> tuple[tuple[int, ...], int]:
    """Return the shape of nested lists and how many lists there are; raises when it is uneven."""
    if type(element) is not array_type:
        raise TypeError
    shape = [len(element)]
    lists = 1
    level = [element]
    while len(shape) != rank:
        if rank is None and type(level[0][0]) is not array_type:
            break
        level = list(element) if lists == 1 else [one for outer in level for one in outer]
        length = len(level[0])
        for one in level:
            # Not the length alone: a text has one too, and its first letter again, without end.
            if type(one) is not array_type or len(one) != length:
                raise TypeError
        shape.append(length)
        lists += len(level)
    return tuple(shape), lists
