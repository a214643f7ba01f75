"""Requests whose inputs are the columns of a table (MLServer's content type ``pd``).

    {"parameters": {"content_type": "pd"}, "inputs": [{"name": "age", "shape": [2, 1], …}, …]}
       ──as_rows──► one array of rows, where the api takes a single one
                └─► each column as the parameter of its name, where the api has those

Columns are of shape ``[n]`` or ``[n, 1]``, with their data in JSON.  Their order is that of the request,
and a number takes the datatype of the parameter: a table has mostly FP64, whatever the model wants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelpack.errors import InputError
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import describe
from modelpack.server.faces.tensors import InputPort, bare

_TABLE = "pd"


def is_table(head: Any) -> bool:
    """Say whether a request, given as parsed JSON, says that its inputs are columns."""
    parameters = head.get("parameters") if isinstance(head, dict) else None
    return isinstance(parameters, dict) and parameters.get("content_type") == _TABLE


def as_rows(head: dict[str, Any], ports: Sequence[InputPort]) -> dict[str, Any]:
    """Return the same request with its columns as the api takes them; raises InputError."""
    inputs = head.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise InputError.at("/inputs", "a list of columns", describe(inputs))
    columns = [_column(one, f"/inputs/{index}") for index, one in enumerate(inputs)]
    by_name = {port.name: port for port in ports}
    if all(name in by_name for name, _ in columns):
        named = [_tensor(by_name[name], [len(data)], data) for name, data in columns]
        return {**head, "inputs": named}
    tables = [port for port in ports if _has_columns(port)]
    if len(tables) != 1:
        known = ", ".join(f"'{name}'" for name in by_name)
        got = ", ".join(f"'{name}'" for name, _ in columns[:5])
        raise InputError.at("/inputs", f"the columns {known}", got)
    lengths = {len(data) for _, data in columns}
    if len(lengths) > 1:
        raise InputError.at("/inputs", "columns of one length", f"{sorted(lengths)} rows")
    rows = [value for row in zip(*(data for _, data in columns), strict=True) for value in row]
    shape = [lengths.pop(), len(columns)]
    return {**head, "inputs": [_tensor(tables[0], shape, rows)]}


def _column(one: Any, at: str) -> tuple[str, list[Any]]:
    if not isinstance(one, Mapping) or not isinstance(one.get("name"), str):
        raise InputError.at(at, "a column with name, shape, datatype and data", describe(one))
    data = one.get("data")
    if not isinstance(data, list):
        got = describe(data) if data is not None else "nothing"
        raise InputError.at(f"{at}/data", "the values of a column", got)
    if data and all(isinstance(value, list) and len(value) == 1 for value in data):
        data = [value for (value,) in data]
    shape = one.get("shape")
    if shape not in ([len(data)], [len(data), 1]):
        expected = f"the shape of a column of {len(data)} values"
        raise InputError.at(f"{at}/shape", expected, str(shape)[:40])
    return one["name"], data


def _tensor(port: InputPort, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": port.name, "datatype": port.datatype, "shape": shape, "data": data}


def _has_columns(port: InputPort) -> bool:
    value = bare(port.parameter.value)
    return isinstance(value, TensorValue) and value.spec.shape is not None and len(port.shape) == 2
