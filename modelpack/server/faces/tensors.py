"""Parameters and answers of an api as named tensors: what OIP, Triton and TensorFlow Serving speak.

    tensor (array, or BYTES as an object array) ──InputPort.take──► argument of the method
    answer ──OutputPorts.split──► [Named(name, datatype, shape, data)]

| in the signature                      | tensor                                             |
| ------------------------------------- | -------------------------------------------------- |
| Tensor["float32", "batch", 4]         | FP32 [-1, 4]                                       |
| Tensor["str", "batch"], list[str]     | BYTES [-1], UTF-8                                  |
| float, int, bool, str                 | FP64, INT64, BOOL, BYTES [1]                       |
| list[float] …                         | the same, [-1]                                     |
| bytes, an image                       | BYTES [1], the file itself                         |
| a dataclass, a model, dict, Any       | BYTES [1], JSON                                    |

An answer that is an object has one tensor a key; columns in a tuple are ``output``, ``output_1`` …,
any other answer is the tensor ``output``.  Datatype names: Open Inference Protocol, required API.
A tensor of another datatype or shape is refused, never cast; an axis of length 1 behind a list is
let through, as some clients send it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from modelpack.errors import Issue
from modelpack.sdk.api import ApiSpec, Parameter
from modelpack.sdk.containers import ListValue, MapValue, ObjectValue, OptionalValue, TupleValue
from modelpack.sdk.tensor import Dim, TensorValue
from modelpack.sdk.values import (
    AnyValue,
    BoolValue,
    ChoiceValue,
    Issues,
    NumberValue,
    StringValue,
    Value,
)
from modelpack.server.bodies.codecs import dump

if TYPE_CHECKING:
    from modelpack.sdk.tensor import Array

DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64", "str": "BYTES",
}  # fmt: skip
"""Datatype of a tensor by the name of its dtype."""

_OF_DTYPE = {np.dtype(name): one for name, one in DATATYPES.items() if name != "str"}

DTYPES = {datatype: dtype for dtype, datatype in DATATYPES.items() if dtype != "str"}
"""The other way round, for those that are numbers."""

OUTPUT = "output"
"""Name of the tensor of an answer that is no object."""

Shape = tuple[int, ...]
"""Lengths of the axes; -1 in a declaration: any."""


@dataclass(frozen=True, slots=True)
class InputPort:
    """One parameter of an api as a tensor."""

    parameter: Parameter
    datatype: str
    shape: Shape
    refuses_nan: bool = False
    read: Callable[[], ApiSpec] | None = None
    """Returns the api as its arguments are made at this moment; None: as the signature says."""

    @property
    def name(self) -> str:
        """Name of the parameter, and of the tensor."""
        return self.parameter.name

    @property
    def is_required(self) -> bool:
        """True when a request must give it."""
        return self.parameter.is_required

    def take(self, data: Array, issues: Issues) -> Any:
        """Return the argument that a tensor is, or add to ``issues``.

        ``data`` is an array of numbers, or for BYTES one of Python ``bytes``.  What is returned may
        be written to.
        """
        value, at = bare(self.parameter.value), f"/{self.name}"
        if isinstance(value, TensorValue):
            return self._take_array(value, data, at, issues)
        raw = _plain(value, data, at, issues)
        return None if issues else self._reading.decode(raw, at, issues)

    @property
    def _reading(self) -> Value:
        parameters = () if self.read is None else self.read().parameters
        return next(
            (one.value for one in parameters if one.name == self.name), self.parameter.value
        )

    def _take_array(self, value: TensorValue, data: Array, at: str, issues: Issues) -> Any:
        if (datatype := datatype_of(data)) != self.datatype:
            issues.append(Issue(at, f"datatype {self.datatype}", f"datatype {datatype}"))
            return data
        if (trouble := value.check_shape(data.shape)) is not None:
            issues.append(Issue(at, value.expectation, trouble))
        elif data.dtype == object:
            return _texts(data, at, issues)
        elif self.refuses_nan and data.dtype.kind == "f" and not np.isfinite(data).all():
            issues.append(Issue(at, f"finite numbers ({value.spec.dtype})", "NaN or an infinity"))
        return data if data.flags.writeable else data.copy()


def inputs_of(api: ApiSpec, read: Callable[[], ApiSpec] | None = None) -> tuple[InputPort, ...]:
    """Return the parameters of an api as tensors, in their order; ``read`` as ``InputPort.read``."""
    return tuple(
        InputPort(one, *_declared(bare(one.value)), api.nan == "error", read)
        for one in api.parameters
    )


@dataclass(frozen=True, slots=True)
class Named:
    """One tensor of an answer."""

    name: str
    datatype: str
    shape: Shape
    data: Array | list[bytes]
    """Numbers as an array of that shape; for BYTES the elements, row by row."""


@dataclass(frozen=True, slots=True)
class OutputPort:
    """What is known of a tensor of the answers before there is one."""

    name: str
    datatype: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class OutputPorts:
    """The answers of an api as tensors."""

    api: ApiSpec
    declared: tuple[OutputPort, ...] = field(init=False)
    """What the signature says; empty when only the answers show it."""

    def __post_init__(self) -> None:
        value = bare(self.api.returns)
        fields: Mapping[str, Value] = {OUTPUT: value}
        if isinstance(value, ObjectValue):
            fields = value.fields
        elif isinstance(value, TupleValue) and self.api.batch is not None:
            fields = {output_name(i): one for i, one in enumerate(value.items)}
        elif isinstance(value, AnyValue | MapValue):
            fields = {}
        ports = tuple(OutputPort(name, *_declared(bare(one))) for name, one in fields.items())
        object.__setattr__(self, "declared", ports)

    def split(self, answer: Any) -> list[Named]:
        """Return the tensors of an answer (``ApiSpec.encode``), in its order; raises BadOutput."""
        if isinstance(answer, Mapping):
            return [named(str(name), one) for name, one in answer.items()]
        if isinstance(answer, tuple):  # columns: what is a list is one tensor
            return [named(output_name(i), one) for i, one in enumerate(answer)]
        return [named(OUTPUT, answer)]


def named(name: str, answer: Any) -> Named:
    """Return a part of an answer as a tensor; what is neither number nor text becomes JSON."""
    if isinstance(answer, np.ndarray):
        # By the dtype itself: its name is put together anew each time, which takes a microsecond.
        datatype = _OF_DTYPE.get(answer.dtype) or DATATYPES.get(answer.dtype.name)
        if datatype is not None:
            return Named(name, datatype, answer.shape, answer)
    if isinstance(answer, np.generic):
        answer = answer.item()
    if isinstance(answer, list | tuple):
        return _list(name, answer)
    if isinstance(answer, bool | int | float) and (one := _numbers([answer])) is not None:
        return Named(name, DATATYPES[one.dtype.name], (1,), one)
    return Named(name, "BYTES", (1,), [_bytes(answer)])


def output_name(index: int) -> str:
    """Return the name of a column of an answer that has no names: output, output_1, output_2 ..."""
    return f"{OUTPUT}_{index}" if index else OUTPUT


def datatype_of(data: Array) -> str:
    """Return the datatype of an array of numbers, or of one of ``bytes``."""
    found = _OF_DTYPE.get(data.dtype)  # making the name of a dtype costs ten times as much
    if found is not None:
        return found
    return "BYTES" if data.dtype == object else DATATYPES.get(data.dtype.name, data.dtype.name)


def _list(name: str, answer: list[Any] | tuple[Any, ...]) -> Named:
    numbers = _numbers(answer)
    if numbers is not None:
        return Named(name, DATATYPES[numbers.dtype.name], numbers.shape, numbers)
    lengths, level = [len(answer)], list(answer)
    # Texts may be nested, as those of Tensor["str", "batch", 2] are.
    while level and all(isinstance(one, list) for one in level):
        if len({len(one) for one in level}) > 1 or not _has_texts(level):
            break
        lengths.append(len(level[0]))
        level = [inner for one in level for inner in one]
    return Named(name, "BYTES", tuple(lengths), [_bytes(one) for one in level])


def _has_texts(rows: list[list[Any]]) -> bool:
    return all(isinstance(one, str | list) for row in rows for one in row)


def _numbers(answer: Any) -> Array | None:
    """Return numbers or booleans as an array; None: there is something else among them."""
    try:
        array: Array = np.array(answer)
    except (ValueError, OverflowError):
        return None  # of unequal lengths
    if array.dtype.kind not in "biuf" or (array.size == 0 and array.ndim > 1):
        return None
    return array if array.dtype.name in DATATYPES else None


def _bytes(answer: Any) -> bytes:
    if isinstance(answer, bytes):
        return answer
    return answer.encode("utf-8", "surrogatepass") if isinstance(answer, str) else dump(answer)


def bare(value: Value) -> Value:
    """Return the value inside of an optional one."""
    while isinstance(value, OptionalValue):
        value = value.inner
    return value


def _declared(value: Value) -> tuple[str, Shape]:
    """Return datatype and shape of a parameter or an answer."""
    if isinstance(value, TensorValue):
        shape = (None,) if value.spec.shape is None else value.spec.shape
        return DATATYPES[value.spec.dtype], tuple(map(_length, shape))
    if isinstance(value, ListValue):
        return _element(bare(value.item)), (-1,)
    return _element(value), (1,)


def _length(dim: Dim) -> int:
    return dim if isinstance(dim, int) else -1


def _element(value: Value) -> str:
    if isinstance(value, NumberValue):
        return "INT64" if value.is_integer else "FP64"
    return "BOOL" if isinstance(value, BoolValue) else "BYTES"


def _plain(value: Value, data: Array, at: str, issues: Issues) -> Any:
    """Return what JSON would have in the place of a tensor."""
    is_list = isinstance(value, ListValue)
    item = bare(value.item) if isinstance(value, ListValue) else value
    count = int(data.size)
    lengths = data.shape[1:] if is_list else data.shape
    if math.prod(lengths) != 1 or (is_list and data.ndim == 0):
        shape = "[-1]" if is_list else "[1]"
        issues.append(Issue(at, f"a tensor of shape {shape}", f"shape {list(data.shape)}"))
        return None
    kinds = _kinds(item)
    if data.dtype.kind not in kinds:
        issues.append(Issue(at, f"datatype {_element(item)}", f"datatype {datatype_of(data)}"))
        return None
    elements = data.reshape(count).tolist()
    if data.dtype == object:
        elements = [_read(item, one, f"{at}/{i}", issues) for i, one in enumerate(elements)]
    return elements if is_list else elements[0]


def _kinds(item: Value) -> str:
    """Return the kinds of arrays that may stand for a value."""
    if isinstance(item, NumberValue):
        return "iu" if item.is_integer else "iuf"
    return "b" if isinstance(item, BoolValue) else "O"


def _read(item: Value, one: bytes, at: str, issues: Issues) -> Any:
    """Return what one element of a BYTES tensor says."""
    if item.is_file:
        return one
    is_text = isinstance(item, StringValue) or (
        isinstance(item, ChoiceValue) and all(isinstance(o, str) for o in item.options)
    )
    try:
        return one.decode() if is_text else orjson.loads(one)
    except ValueError:  # of either
        issues.append(Issue(at, "UTF-8" if is_text else "JSON", f"{len(one)} other bytes"))
        return None


def _texts(data: Array, at: str, issues: Issues) -> Array:
    """Return an array of ``str`` for one of ``bytes``."""
    texts: Array = np.empty(data.shape, dtype=object)
    try:
        texts.reshape(-1)[:] = [one.decode() for one in data.reshape(-1).tolist()]
    except UnicodeDecodeError:
        issues.append(Issue(at, "texts in UTF-8", "other bytes"))
    return texts
