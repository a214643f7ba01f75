"""Makes values of type hints.

    hint of a parameter ──value_of──► Value       float, list[str], Tensor[...], a dataclass, …
    hint of a return    ──answer_of─► Value, is_stream

A hint that has no JSON form is refused as the class is decorated, with the place named, and not at
the first request.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

import numpy as np

from modelpack.errors import SignatureError
from modelpack.sdk.containers import (
    ListValue,
    MapValue,
    ObjectValue,
    OptionalValue,
    TupleValue,
    UnionValue,
)
from modelpack.sdk.files import BytesValue, ImageValue
from modelpack.sdk.records import RecordValue
from modelpack.sdk.tensor import TensorSpec, TensorValue
from modelpack.sdk.values import (
    AnyValue,
    BoolValue,
    ChoiceValue,
    NumberValue,
    StringValue,
    Value,
)


@dataclass(frozen=True, slots=True)
class Range:
    """Limits of a number, both included: ``Annotated[float, Range(0, 120)]``.

    A request outside of them is answered 422.
    """

    low: float | None = None
    high: float | None = None


_STREAMS = (AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterator)
_HINT = "use numbers, strings, lists, dataclasses, pydantic models, Tensor, bytes or PIL images"


def value_of(hint: Any, where: str) -> Value:
    """Return how a hint looks on the wire; raises SignatureError that names ``where``."""
    if hint in _PLAIN:
        return _PLAIN[hint]()
    origin = get_origin(hint)
    if origin is Annotated:
        return _annotated(hint, where)
    if origin in (Required, NotRequired):
        return value_of(get_args(hint)[0], where)
    if origin is Literal:
        return ChoiceValue(tuple(get_args(hint)))
    if origin in (Union, types.UnionType):
        return _union(get_args(hint), where)
    if origin is np.ndarray or hint is np.ndarray:
        return _array(hint)
    if origin is not None:
        return _container(origin, get_args(hint), hint, where)
    if isinstance(hint, type):
        return _class(hint, where)
    raise SignatureError(f"{where}: no JSON form for '{_spell(hint)}'", hint=_HINT)


def answer_of(hint: Any, where: str) -> tuple[Value, bool]:
    """Return how the answer looks, and whether it is a stream of such values."""
    if get_origin(hint) in _STREAMS:
        arguments = get_args(hint)
        return value_of(arguments[0] if arguments else Any, where), True
    if hint in _STREAMS:
        return AnyValue(), True
    return value_of(hint, where), False


_PLAIN: Mapping[Any, Callable[[], Value]] = {
    Any: AnyValue,
    object: AnyValue,
    None: AnyValue,
    type(None): AnyValue,
    bool: BoolValue,
    int: lambda: NumberValue(is_integer=True),
    float: NumberValue,
    str: StringValue,
    bytes: BytesValue,
    bytearray: BytesValue,
    list: lambda: ListValue(AnyValue()),
    dict: lambda: MapValue(AnyValue()),
}


def _annotated(hint: Any, where: str) -> Value:
    inner, *notes = get_args(hint)
    for note in notes:
        if isinstance(note, TensorSpec):
            return TensorValue(note)
    value = value_of(inner, where)
    for note in notes:
        # ge and le are the names that the annotated-types package gives to the same limits.
        low, high = _first(note, "low", "ge"), _first(note, "high", "le")
        if isinstance(value, NumberValue) and (low is not None or high is not None):
            value = dataclasses.replace(
                value,
                low=value.low if low is None else low,
                high=value.high if high is None else high,
            )
    return value


def _first(note: Any, *names: str) -> Any:
    found = (getattr(note, name, None) for name in names)
    return next((value for value in found if value is not None), None)


def _union(members: tuple[Any, ...], where: str) -> Value:
    rest = [member for member in members if member is not type(None)]
    choices = tuple(value_of(member, where) for member in rest)
    value = choices[0] if len(choices) == 1 else UnionValue(choices)
    return value if len(rest) == len(members) else OptionalValue(value)


def _array(hint: Any) -> Value:
    arguments = get_args(hint)  # (shape, dtype[scalar]) as numpy.typing.NDArray spells it
    if len(arguments) == 2 and (scalar := get_args(arguments[1])):
        kind = scalar[0]
        if isinstance(kind, type) and issubclass(kind, np.generic):
            return TensorValue(TensorSpec(np.dtype(kind).name))
    return TensorValue(TensorSpec("float64"))


def _container(origin: Any, arguments: tuple[Any, ...], hint: Any, where: str) -> Value:
    if origin in (list, set, frozenset, Sequence):
        return ListValue(value_of(arguments[0], where))
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return ListValue(value_of(arguments[0], where))
        return TupleValue(tuple(value_of(one, where) for one in arguments))
    if origin in (dict, Mapping):
        if arguments[0] is not str:
            raise SignatureError(
                f"{where}: the keys of '{_spell(hint)}' are not strings",
                hint="JSON objects have string keys: use dict[str, ...]",
            )
        return MapValue(value_of(arguments[1], where))
    raise SignatureError(f"{where}: no JSON form for '{_spell(hint)}'", hint=_HINT)


def _class(cls: type, where: str) -> Value:
    if hasattr(cls, "model_validate") and hasattr(cls, "model_json_schema"):
        return RecordValue(cls)
    if dataclasses.is_dataclass(cls):
        return _dataclass(cls, where)
    if typing.is_typeddict(cls):
        return _typed_dict(cls, where)
    if issubclass(cls, enum.Enum):
        return ChoiceValue(tuple(member.value for member in cls), cls)
    if cls.__module__.split(".")[0] == "PIL" and cls.__name__ == "Image":
        return ImageValue()
    raise SignatureError(f"{where}: no JSON form for '{_spell(cls)}'", hint=_HINT)


def _dataclass(cls: type, where: str) -> Value:
    hints = hints_of(cls, where)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    required = frozenset(
        name
        for name, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    )
    values = {name: value_of(hints[name], f"{where}.{name}") for name in fields}
    return ObjectValue(cls.__name__, values, required, cls)


def _typed_dict(cls: Any, where: str) -> Value:
    hints = hints_of(cls, where)
    values = {name: value_of(hint, f"{where}.{name}") for name, hint in hints.items()}
    # Where annotations are kept as text, the class itself does not see NotRequired in them.
    required = {
        name
        for name, hint in hints.items()
        if get_origin(hint) is not NotRequired and name in cls.__required_keys__
    } | {name for name, hint in hints.items() if get_origin(hint) is Required}
    return ObjectValue(cls.__name__, values, frozenset(required), dict)


def hints_of(thing: Any, where: str) -> dict[str, Any]:
    """Return the evaluated hints; raises SignatureError when a name in them is unknown."""
    try:
        return typing.get_type_hints(thing, include_extras=True)
    except NameError as cause:
        raise SignatureError(
            f"{where}: {cause}", hint="import it at the top of the module, not only for checking"
        ) from cause
    except TypeError as cause:
        raise SignatureError(f"{where}: {cause}", hint=_HINT) from cause


def _spell(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) else str(hint).replace("typing.", "")
