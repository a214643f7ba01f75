"""Answers as columns.

    {label: [...], score: array}     batched mapping      columns ``label``, ``score``
    array, list                      batched              column ``output``
    [{…}, {…}]                       a mapping a row      a column a key
    ([...], [...])                   batched tuple        ``output``, ``output_1``

The names are those that tensors have in other contracts (``server.faces.tensors``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelpack.errors import BatchError
from modelpack.offline.block import Answered, Block
from modelpack.offline.hello import Hello
from modelpack.offline.outputs.base import ROW, Table

OUTPUT = "output"


def table_of(block: Block, answered: Answered, hello: Hello) -> Table:
    """Return the answers of a block with the columns that were kept; raises BatchError."""
    numbers = [block.numbers[place] for place in answered.places]
    columns: dict[str, Any] = {
        name: [column[place] for place in answered.places] for name, column in block.kept.items()
    }
    found = _columns(answered.answer, hello) if numbers else {}
    for name, column in found.items():
        if len(column) != len(numbers):
            raise BatchError(f"'{name}' has {len(column)} rows for {len(numbers)} that were asked")
        columns[_free(name, columns)] = column
    return Table(numbers, columns)


def _columns(answer: Any, hello: Hello) -> dict[str, Any]:
    if hello.max_batch_size is not None:
        if isinstance(answer, Mapping):
            return {str(name): column for name, column in answer.items()}
        if isinstance(answer, tuple):
            return {_numbered(index): column for index, column in enumerate(answer)}
    rows: Sequence[Any] = answer
    if isinstance(rows, list) and rows and all(isinstance(row, Mapping) for row in rows):
        keys = list(rows[0])
        if all(list(row) == keys for row in rows):
            return {str(key): _column([row[key] for row in rows]) for key in keys}
    if isinstance(rows, list) and rows and all(isinstance(row, tuple) for row in rows):
        return {_numbered(i): _column(list(one)) for i, one in enumerate(zip(*rows, strict=True))}
    return {OUTPUT: _column(rows)}


def _column(values: Any) -> Any:
    """Return equal arrays of rows as one array; anything else as it is."""
    if not isinstance(values, list) or not values or not isinstance(values[0], np.ndarray):
        return values
    first = values[0]
    if all(isinstance(v, np.ndarray) and v.shape == first.shape for v in values):
        return np.stack(values)
    return values


def _numbered(index: int) -> str:
    return OUTPUT if not index else f"{OUTPUT}_{index}"


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """Return the name, with an underscore for each time that it is taken."""
    while name == ROW or name in taken:
        name += "_"
    return name
