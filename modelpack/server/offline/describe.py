"""What an api takes and gives, as plain values, for whoever turns a file into rows for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelpack.errors import Issue, UsageError, did_you_mean
from modelpack.sdk.api import ApiSpec, Parameter
from modelpack.sdk.containers import ListValue
from modelpack.sdk.service import ServiceSpec
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import StringValue, Value
from modelpack.sdk.whole import is_one_array
from modelpack.server.faces.tensors import bare


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


def check_constants(api: ApiSpec, constants: Mapping[str, Any]) -> None:
    """Raise UsageError for a value of ``--set`` that no row could be answered with."""
    known = {one.name: one for one in api.parameters}
    for name, raw in constants.items():
        if name not in known:
            near = did_you_mean(name, known)
            listed = ", ".join(f"'{one}'" for one in known) or "none"
            hint = f"did you mean '{near}'?" if near else f"it has {listed}"
            raise UsageError(f"--set {name}: '{api.name}' has no such parameter", hint=hint)
        if name in api.batched:
            hint = "give it as a column or a key of the rows"
            raise UsageError(f"--set {name}: each row has a value of its own", hint=hint)
        issues: list[Issue] = []
        known[name].value.decode(raw, "", issues)
        if issues:
            one = issues[0]
            hint = f"""a text that looks like a number is --set '{name}="5"'"""
            raise UsageError(
                f"--set {name}{one.pointer}: expected {one.expected}, got {one.got}",
                hint=hint if isinstance(raw, int | float) else None,
            )


def _parameter(parameter: Parameter, *, is_batched: bool) -> dict[str, Any]:
    value = bare(parameter.value)
    row: Value | None = value
    if is_batched:
        row = value.item if isinstance(value, ListValue) else None
    row = bare(row) if row is not None else None
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
