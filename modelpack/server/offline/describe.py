"""What an api takes and gives, as plain values, for whoever turns a file into rows for it."""

from __future__ import annotations

from typing import Any

from modelpack.sdk.api import ApiSpec, Parameter
from modelpack.sdk.containers import ListValue, OptionalValue
from modelpack.sdk.service import ServiceSpec
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import StringValue, Value
from modelpack.sdk.whole import is_one_array


def describe(spec: ServiceSpec, api: ApiSpec, runner: str) -> dict[str, Any]:
    """Return the description that stands in ``hello``; see ``modelpack.offline.hello``."""
    returns = api.returns
    return {
        "service": spec.name,
        "api": api.name,
        "runner": runner,
        "max_batch_size": api.batch.max_batch_size if api.batch is not None else None,
        "parameters": [
            _parameter(one, is_batched=one.name in api.batched) for one in api.parameters
        ],
        "output": {
            "schema": returns.schema(),
            "is_one_array": is_one_array(returns) and not api.is_stream,
            "is_file": returns.is_file and not api.is_stream,
            "is_stream": api.is_stream,
        },
    }


def _parameter(parameter: Parameter, *, is_batched: bool) -> dict[str, Any]:
    value = _bare(parameter.value)
    row: Value | None = value
    if is_batched:
        row = value.item if isinstance(value, ListValue) else None
    row = _bare(row) if row is not None else None
    dtype, shape = None, None
    if isinstance(value, TensorValue):
        dtype = value.spec.dtype
        axes = value.spec.shape
        if axes is not None:
            shape = [dim if isinstance(dim, int) else -1 for dim in axes[1 if is_batched else 0 :]]
    return {
        "name": parameter.name,
        "is_required": parameter.is_required,
        "is_batched": is_batched,
        "dtype": dtype,
        "shape": shape,
        "is_file": row is not None and row.is_file,
        "is_text": isinstance(row, StringValue) or (dtype == "str" and not shape),
        "schema": row.schema() if row is not None else value.schema(),
    }


def _bare(value: Value) -> Value:
    while isinstance(value, OptionalValue):
        value = value.inner
    return value
