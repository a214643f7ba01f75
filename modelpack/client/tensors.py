"""Arguments and answers as named tensors: the Open Inference Protocol, over HTTP and gRPC.

    {"a": array, "b": 2.0} ──tensors_of──► [Tensor(name, datatype, shape, raw bytes)]
    [Tensor …] ──value_of──► the answer: one array, or one value a name

    tensors ──to_binary──► JSON head + raw bytes ──from_binary──► tensors        (HTTP)

Raw bytes are little-endian, row by row; an element of BYTES is its length in four bytes, and itself.
(Open Inference Protocol; Triton, "binary tensor data extension".)
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelpack.client import values
from modelpack.client.errors import CallError, CallRefusedError
from modelpack.client.reply import Reply
from modelpack.client.schema import Api, Parameter
from modelpack.errors import Issue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

DTYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip
_DATATYPES = {dtype: datatype for datatype, dtype in DTYPES.items()}

OUTPUT = "output"
"""Name of the tensor of an answer that is one value."""

HEAD_LENGTH = "inference-header-content-length"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as it travels."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | memoryview


def tensors_of(api: Api, arguments: Mapping[str, Any]) -> list[Tensor]:
    """Return the tensors for arguments.

    Raises CallRefusedError for what does not fit the datatype, before anything is sent.
    """
    return [_tensor_of(one, arguments[one.name]) for one in api.parameters if one.name in arguments]


def numeric(api: Api, arguments: Mapping[str, Any]) -> list[Tensor] | None:
    """Return the tensors of arguments that are arrays of numbers, all of them; None: they are not."""
    tensors = []
    for name, one in arguments.items():
        parameter = api.parameter(name)
        if parameter is None or not parameter.has_bytes:
            return None
        array = values.array_of(one, parameter.dtype or "str")
        if array is None:
            return None
        tensors.append(_from_array(name, array))
    return tensors


def value_of(tensors: Sequence[Tensor]) -> Any:
    """Return the value that tensors are: arrays of numbers, lists of texts; one alone is itself."""
    found = {one.name: _value(one) for one in tensors}
    return found[OUTPUT] if list(found) == [OUTPUT] else found


def to_binary(tensors: Iterable[Tensor]) -> tuple[bytes, int]:
    """Return the body of a request with binary tensors, and how long the JSON before them is."""
    inputs = [
        {
            "name": one.name,
            "datatype": one.datatype,
            "shape": one.shape,
            "parameters": {"binary_data_size": len(one.data)},
        }
        for one in tensors
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    return b"".join([head, *(one.data for one in tensors)]), len(head)


def from_binary(reply: Reply) -> list[Tensor]:
    """Return the tensors of an answer; raises CallError for what is none."""
    try:
        size = int(reply.headers.get(HEAD_LENGTH, len(reply.body)))
        head = json.loads(reply.body[:size])
        at, tensors, view = size, [], memoryview(reply.body)
        for one in head["outputs"]:
            length = int(one["parameters"]["binary_data_size"])
            shape = tuple(map(int, one["shape"]))
            tensors.append(Tensor(one["name"], one["datatype"], shape, view[at : at + length]))
            at += length
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CallError(f"the answer holds no binary tensors: {type(error).__name__}") from None
    if at != len(reply.body):
        raise CallError("the answer is not as long as its head says")
    return tensors


def _tensor_of(parameter: Parameter, value: Any) -> Tensor:
    if parameter.dtype is None or parameter.dtype == "str":
        return _texts(parameter, value)
    import numpy as np

    try:
        given = value if values.is_array(value) else np.array(value)
        array = values.array_of(np.atleast_1d(given), parameter.dtype)
    except (ValueError, TypeError):
        array = None  # ragged
    if array is None:
        raise _refused(parameter.name, f"values of {parameter.dtype}", type(value).__name__)
    return _from_array(parameter.name, array)


def _from_array(name: str, array: Array) -> Tensor:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    data = memoryview(little.data).cast("B") if little.size else b""
    return Tensor(name, _DATATYPES[array.dtype.name], tuple(array.shape), data)


def _texts(parameter: Parameter, value: Any) -> Tensor:
    """Return a tensor of texts, files, or of JSON for anything else."""
    shape: tuple[int, ...] = (1,)
    elements: list[Any] = [value]
    if parameter.dtype == "str":  # a list of them
        if values.is_array(value):
            import numpy as np

            array = np.asarray(value)
            shape, elements = tuple(array.shape), array.reshape(-1).tolist()
        else:
            elements = list(value)
            shape = (len(elements),)
    parts = []
    for one in elements:
        data = _element(one)
        parts += [struct.pack("<I", len(data)), data]
    return Tensor(parameter.name, "BYTES", shape, b"".join(parts))


def _element(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    file = values.file_of(value)
    return values.dump(value) if file is None else file[0]


def _value(tensor: Tensor) -> Any:
    try:
        if tensor.datatype == "BYTES":
            return _strings(tensor)
        import numpy as np

        dtype = np.dtype(DTYPES[tensor.datatype])
        array: Array = np.frombuffer(bytearray(tensor.data), dtype.newbyteorder("<"))
        return array.astype(dtype, copy=False).reshape(tensor.shape)
    except (KeyError, ValueError, struct.error) as error:
        raise CallError(f"the tensor '{tensor.name}' of the answer is none: {error}") from None


def _strings(tensor: Tensor) -> Any:
    """Return the texts of a tensor, or the bytes of one that is no text, as a list."""
    data, at, found = bytes(tensor.data), 0, []
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        at += 4 + length
        found.append(_text(data[at - length : at]))
    if len(tensor.shape) < 2:
        return found
    import numpy as np

    array: Array = np.empty(len(found), object)
    array[:] = found
    return array.reshape(tensor.shape)


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _refused(name: str, expected: str, got: str) -> CallRefusedError:
    issue = Issue(f"/{name}", expected, got)
    said = f"{issue.pointer}: expected {expected}, got {got}"
    return CallRefusedError(said, code="bad-input", issues=[issue])
