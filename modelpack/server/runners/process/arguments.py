"""Arguments that cross to another process: checked on one side, made on the other.

    front    body ──decode, to check it──► raw value (JSON, bytes) or array ──► the batch
    runner   raw value ──decode──► dataclass, pydantic model, enum, picture ──► the method

Arrays, numbers, texts and the like are made in the front once and for all.  What only the service's
own classes can hold stays as the request had it, after it was checked, and rows of it are joined as
lists.  Of a picture the front reads only the size; its pixels are for the runner.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from modelpack.errors import InputError, Issue
from modelpack.sdk.api import ApiSpec, Parameter
from modelpack.sdk.containers import ListValue
from modelpack.sdk.files import MAX_PIXELS, BytesValue, ImageValue
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import (
    MISSING,
    AnyValue,
    BoolValue,
    ChoiceValue,
    Issues,
    NumberValue,
    StringValue,
    Value,
)
from modelpack.server.runners.process.codes import ABSENT

_PLAIN = (TensorValue, NumberValue, BoolValue, StringValue, AnyValue, BytesValue)


class RawValue(Value):
    """A value that is checked as ``inner`` checks it and kept as it came."""

    __slots__ = ("_inner", "has_rows", "is_file", "media_type")

    def __init__(self, inner: Value) -> None:
        self._inner = inner
        self.has_rows = inner.has_rows
        self.is_file = inner.is_file
        self.media_type = inner.media_type

    @property
    def expectation(self) -> str:
        """What the value itself expects."""
        return self._inner.expectation

    def schema(self) -> dict[str, Any]:
        """Return the schema of the value itself."""
        return self._inner.schema()

    def example(self) -> Any:
        """Return the example of the value itself."""
        return self._inner.example()

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        """Check it and return it as it is."""
        self._inner.decode(raw, at, issues)
        return raw


class RawList(ListValue):
    """A list that is checked and kept as it came; still a list to whoever joins rows."""

    __slots__ = ()

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        """Check it and return it as it is."""
        ListValue.decode(self, raw, at, issues)
        return raw if isinstance(raw, list) else []


class RawChoice(ChoiceValue):
    """One of a few values; which member of its enum that is, the runner knows."""

    __slots__ = ()

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        """Check it and return it as it is."""
        ChoiceValue.decode(self, raw, at, issues)
        return raw


class RawImage(ImageValue):
    """The bytes of a picture whose size is within bounds."""

    __slots__ = ()

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        """Return the bytes, or add to ``issues``; the pixels are not looked at."""
        trouble: Issues = []
        data = BytesValue().decode(raw, at, trouble)
        if trouble:
            issues.append(dataclasses.replace(trouble[0], expected=self.expectation))
        elif (issue := _size_issue(data, at)) is not None:
            issues.append(issue)
        return data


def crossing(api: ApiSpec) -> ApiSpec:
    """Return the api as a front decodes it whose calls run in other processes."""
    return dataclasses.replace(api, parameters=tuple(_crossing(p) for p in api.parameters))


def arriving(api: ApiSpec) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return what makes the method's arguments of what has crossed; it raises InputError."""
    known = {p.name: p for p in api.parameters}
    made = {p.name: p.value for p in api.parameters if not _is_plain(p.value)}

    def arrive(values: Mapping[str, Any]) -> dict[str, Any]:
        issues: Issues = []
        arguments: dict[str, Any] = {}
        for name, raw in values.items():
            if raw is ABSENT:
                arguments[name] = known[name].default
            elif name in made:
                arguments[name] = made[name].decode(raw, f"/{name}", issues)
            else:
                arguments[name] = raw
        if issues:
            raise InputError.of(issues)
        return arguments

    return arrive


def _is_plain(value: Value) -> bool:
    """Say whether the decoded value can cross as it is."""
    if isinstance(value, ListValue):
        return isinstance(value.item, AnyValue | StringValue | BoolValue)
    if isinstance(value, ChoiceValue):
        return value.enum_type is None
    return isinstance(value, _PLAIN)


def _crossing(parameter: Parameter) -> Parameter:
    value, default = parameter.value, parameter.default
    if default is not MISSING:
        default = _crossing_default(value, default)
    if not _is_plain(value):
        if isinstance(value, ListValue):
            value = RawList(value.item)
        elif isinstance(value, ChoiceValue):
            value = RawChoice(value.options, value.enum_type)
        elif isinstance(value, ImageValue):
            value = RawImage(value.media_type)
        else:
            value = RawValue(value)
    return dataclasses.replace(parameter, value=value, default=default)


def _crossing_default(value: Value, default: Any) -> Any:
    """Return what stands for a default: itself when it has rows to be joined, else ``ABSENT``."""
    if not value.has_rows or default is None:
        return ABSENT
    if isinstance(default, np.ndarray):
        return default
    return value.encode(default)


def _size_issue(data: bytes, at: str) -> Issue | None:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        return Issue(at, "an image file that can be read", f"{len(data)} other bytes")
    if width * height > MAX_PIXELS:
        return Issue(at, f"an image of at most {MAX_PIXELS} pixels", f"{width} x {height}")
    return None
