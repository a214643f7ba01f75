"""Bodies that are one value and nothing around it: a file, or an array as bytes.

    alone(api) ──► the parameter that may be a whole body, None: none      the server reads it so
    is_one_array(value) ──► an answer that may be an array's bytes         and writes it so

Shared by what the server does and by what its document says.
"""

from __future__ import annotations

from modelpack.sdk.api import ApiSpec, Parameter
from modelpack.sdk.containers import MapValue, ObjectValue
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import Value


def alone(api: ApiSpec) -> Parameter | None:
    """Return the only file, else the only array with a form of bytes, if no other is required."""
    return _alone(api, [p for p in api.parameters if p.value.is_file]) or _alone(
        api, [p for p in api.parameters if _is_binary(p.value)]
    )


def _alone(api: ApiSpec, found: list[Parameter]) -> Parameter | None:
    if len(found) != 1 or any(p.is_required for p in api.parameters if p is not found[0]):
        return None
    return found[0]


def is_one_array(value: Value) -> bool:
    """Say whether an answer is one array, or an object with one array and nothing else."""
    if isinstance(value, ObjectValue) and len(value.fields) == 1:
        (value,) = value.fields.values()
    elif isinstance(value, MapValue):
        value = value.item
    return _is_binary(value)


def _is_binary(value: Value) -> bool:
    return isinstance(value, TensorValue) and value.spec.dtype != "str"
