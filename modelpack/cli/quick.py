"""Reads the words of a command without what typer reads them with.

    word ──as_typed──► str, int, float, bool, Path, member of an Enum, list of these
                └─ NOT_SURE ──► typer, and what it says about a word that does not fit

typer hands every parameter to pydantic, also those that were not given: 50 ms before a command
begins, and 8 MB that a server keeps for as long as it runs.  What is read here is what typer would
have read; everything else, wrong words before all, is left to it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

NOT_SURE: Any = object()

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_CHECKED = ("exists", "writable", "resolve_path", "allow_dash", "path_type", "parser")
"""Wishes of a path or a parser that are typer's matter."""


class Quick:
    """Stands where a parameter of typer keeps what converts its words."""

    def __init__(self, annotation: Any, info: Any) -> None:
        self._annotation = annotation
        self._info = info

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value; raises what typer raises for one that does not fit."""
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        quick = as_typed(value, self._annotation, self._info)
        if quick is not NOT_SURE:
            return quick
        param._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def read_quickly(parameters: Iterable[Any]) -> None:
    """Let the parameters of a command be read here, where typer is one that can be told so."""
    for parameter in parameters:
        described = getattr(parameter, "type_descriptor", None)
        if described is not None and getattr(parameter, "_runtime_param", NOT_SURE) is None:
            parameter._runtime_param = Quick(described.annotation, described.parameter_info)


def as_typed(value: Any, annotation: Any, info: Any) -> Any:
    """Return a word as ``annotation`` says, or NOT_SURE; a list of words for ``list[…]``."""
    if get_origin(annotation) is list and isinstance(value, list | tuple):
        (inner,) = get_args(annotation)
        values = [as_typed(one, inner, info) for one in value]
        return NOT_SURE if any(one is NOT_SURE for one in values) else values
    if not isinstance(annotation, type) or any(getattr(info, name, None) for name in _CHECKED):
        return NOT_SURE
    if annotation in (str, bool, Path) and isinstance(value, annotation):
        return value
    if annotation is Path and isinstance(value, str):
        return Path(value)
    if annotation in (int, float):
        return _number(value, annotation, info)
    if issubclass(annotation, Enum):
        members = (one for one in annotation if one is value or one.value == value)
        return next(members, NOT_SURE)
    return NOT_SURE


def _number(value: Any, kind: type, info: Any) -> Any:
    if isinstance(value, str):
        fits = (_WHOLE if kind is int else _NUMBER).fullmatch(value)
        number = kind(value) if fits else math.nan
    else:
        number = value if type(value) is kind else math.nan
    least, most = info.min, info.max
    is_inside = (least is None or number >= least) and (most is None or number <= most)
    return number if is_inside and not math.isnan(number) else NOT_SURE
