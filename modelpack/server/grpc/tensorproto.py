"""TensorFlow's ``TensorProto`` as arrays, and answers as ``TensorProto``.

    tensor_content, or *_val ──array_from──► array, or bytes objects
    Named ──proto_of──► *_val, as TensorFlow Serving answers

A list shorter than the shape asks for is filled up with its last element, as TensorFlow does; the
array that becomes of it may be no longer than a request.  tensorflow/core/framework/tensor.proto
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from modelpack.server.faces.tensors import DTYPES, Named, Shape
from modelpack.server.grpc.arguments import misfit
from modelpack.server.grpc.contents import from_raw, objects, shape_from
from modelpack.server.grpc.messages import Message, enum, message

if TYPE_CHECKING:
    from modelpack.sdk.tensor import Array

_Proto = message("tensorflow.TensorProto")
_NUMBERS = enum("tensorflow.DataType")

TYPES = {
    "FP32": "DT_FLOAT", "FP64": "DT_DOUBLE", "INT32": "DT_INT32", "UINT8": "DT_UINT8",
    "INT16": "DT_INT16", "INT8": "DT_INT8", "BYTES": "DT_STRING", "INT64": "DT_INT64",
    "BOOL": "DT_BOOL", "UINT16": "DT_UINT16", "FP16": "DT_HALF", "UINT32": "DT_UINT32",
    "UINT64": "DT_UINT64",
}  # fmt: skip
"""TensorFlow's name of a datatype."""

_DATATYPES = {_NUMBERS[name]: datatype for datatype, name in TYPES.items()}

_FIELDS = {
    "FP32": "float_val", "FP64": "double_val", "INT32": "int_val", "UINT8": "int_val",
    "INT16": "int_val", "INT8": "int_val", "BYTES": "string_val", "INT64": "int64_val",
    "BOOL": "bool_val", "UINT16": "int_val", "FP16": "half_val", "UINT32": "uint32_val",
    "UINT64": "uint64_val",
}  # fmt: skip

_NARROW = ("UINT8", "INT16", "INT8", "UINT16")


def type_number(datatype: str) -> int:
    """Return TensorFlow's number of a datatype."""
    return _NUMBERS[TYPES[datatype]]


def array_from(at: str, proto: Message, most_bytes: int) -> Array:
    """Return the elements of a tensor, of which a filled-up one has at most so many bytes.

    Raises InputError.
    """
    datatype = _DATATYPES.get(proto.dtype)
    if datatype is None:
        raise misfit(at, f"one of {', '.join(TYPES.values())}", f"dtype {proto.dtype}")
    if proto.tensor_shape.unknown_rank:
        raise misfit(at, "a shape", "an unknown one")
    shape = shape_from(at, [dim.size for dim in proto.tensor_shape.dim])
    if proto.tensor_content:
        if datatype == "BYTES":
            raise misfit(at, "DT_STRING in string_val", "tensor_content")
        return from_raw(at, datatype, shape, proto.tensor_content)
    return _from_values(at, datatype, shape, proto, most_bytes)


def _from_values(at: str, datatype: str, shape: Shape, proto: Message, most_bytes: int) -> Array:
    field = _FIELDS[datatype]
    values = getattr(proto, field)
    count, given = math.prod(shape), len(values)
    if given > count or (count and not given):
        raise misfit(at, f"1 to {count} elements in {field} for {list(shape)}", str(given))
    item_bytes = 8 if datatype == "BYTES" else np.dtype(DTYPES[datatype]).itemsize
    if given < count and count * item_bytes > most_bytes:
        raise misfit(at, f"at most {most_bytes} bytes", f"{list(shape)} of one element")
    if datatype == "BYTES":
        elements = list(values)
        return objects(elements + elements[-1:] * (count - given), shape)
    found = _numbers(at, datatype, values)
    if given < count:
        found = np.concatenate([found, np.full(count - given, found[-1])])
    return found.reshape(shape)


def _numbers(at: str, datatype: str, values: Message) -> Array:
    dtype = np.dtype(DTYPES[datatype])
    if datatype == "FP16":
        bits = np.fromiter(values, np.int64, len(values))
        if ((bits < 0) | (bits > 0xFFFF)).any():
            raise misfit(at, "the bits of DT_HALF", "a number beyond them")
        return bits.astype(np.uint16).view(np.float16)
    if datatype not in _NARROW:
        return np.fromiter(values, dtype, len(values))
    wide = np.fromiter(values, np.int64, len(values))
    narrow: Array = wide.astype(dtype)
    if (narrow != wide).any():
        worst = int(wide[narrow != wide][0])
        raise misfit(at, f"elements of {TYPES[datatype]}", str(worst))
    return narrow


def proto_of(one: Named) -> Message:
    """Return a tensor of an answer."""
    proto = _Proto(dtype=type_number(one.datatype))
    proto.tensor_shape.SetInParent()  # a scalar has a shape without axes
    for length in one.shape:
        proto.tensor_shape.dim.add(size=length)
    data = one.data
    if not isinstance(data, list):
        bits = data.view(np.uint16) if one.datatype == "FP16" else data
        data = bits.ravel().tolist()
    getattr(proto, _FIELDS[one.datatype]).extend(data)
    return proto
