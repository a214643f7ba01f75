"""What an api answers to its own example, as far as its types tell.

    returns ──tells──► example_answer(api): plain values, as ``ApiSpec.encode`` gives them

With a batch it has as many rows as the example.  The form is that of every answer; the values mean
nothing, as nobody has asked the model.  Of an answer of any kind, or with any keys, no type tells.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from modelpack.sdk.api import ApiSpec
from modelpack.sdk.containers import (
    ListValue,
    MapValue,
    ObjectValue,
    OptionalValue,
    TupleValue,
    UnionValue,
)
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import AnyValue, Value


def example_answer(api: ApiSpec) -> Any:
    """Return an answer (arrays stay arrays); None: the types do not tell, or it is a file."""
    if api.returns.is_file or not _tells(api.returns):
        return None
    return _answer(api.returns, len(api.sample()[api.batched[0]]) if api.batched else 0)


def _tells(value: Value) -> bool:
    match value:
        case AnyValue() | MapValue():
            return False
        case OptionalValue():
            return _tells(value.inner)
        case UnionValue():
            return _tells(value.choices[0])
        case ListValue():
            return _tells(value.item)
        case TupleValue():
            return all(map(_tells, value.items))
        case ObjectValue():
            return all(map(_tells, value.fields.values()))
        case _:
            return True


def _answer(value: Value, rows: int) -> Any:
    """Return what a value looks like; ``rows``: length of the first axis, 0: there is no batch."""
    match value:
        case OptionalValue():
            return _answer(value.inner, rows)
        case UnionValue():
            return _answer(value.choices[0], rows)
        case TupleValue():
            columns = [_answer(item, rows) for item in value.items]
            return tuple(columns) if rows else columns
        case ObjectValue():
            return {key: _answer(item, rows) for key, item in value.fields.items()}
        case TensorValue() if value.spec.shape != ():
            array = np.array(
                value.example(), object if value.spec.dtype == "str" else value.spec.dtype
            )
            array = np.concatenate([array] * rows)[:rows] if rows else array
            return array.tolist() if array.dtype == object else array
        case ListValue():
            return [_answer(value.item, 0)] * (rows or 1)
        case _:
            return value.example()
