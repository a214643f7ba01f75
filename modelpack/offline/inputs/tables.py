"""A table in the Parquet format, read a few thousand rows at a time.

    row groups ──iter_batches──► record batches ──► arrays where a column is all numbers, else values

Needs the extra ``parquet``.  A place is the number of a row; row groups that lie before it are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from modelpack.errors import BatchError, ToolMissingError
from modelpack.offline.block import Block, Position
from modelpack.offline.hello import Param
from modelpack.offline.inputs.base import Asked, Streams
from modelpack.offline.inputs.cells import plan_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_BATCH_ROWS = 1024


def load_parquet() -> Any:
    """Return the module ``pyarrow.parquet``; raises ToolMissingError."""
    try:
        import pyarrow.parquet
    except ImportError as cause:
        raise ToolMissingError(
            "a .parquet file needs the package 'pyarrow', which is not installed",
            hint="install 'modelpack-cli[parquet]'",
        ) from cause
    return pyarrow.parquet


class ParquetReader:
    """One row a row; columns as ``cells`` says."""

    def __init__(self, streams: Streams, asked: Asked, position: Position | None) -> None:
        """Begin at the first row, or at the end of a block; raises BatchError."""
        import pyarrow as pa

        parquet = load_parquet()
        self._pa = pa
        self._name = streams.name
        self._raw = streams.open()
        try:
            self._file = parquet.ParquetFile(self._raw)
        except pa.ArrowException as cause:
            raise BatchError(f"'{self._name}' is no .parquet file: {cause}") from cause
        columns = list(self._file.schema_arrow.names)
        self._plan = plan_for(columns, asked, f"'{self._name}'")
        self._params = {one.name: one for one in asked.hello.parameters}
        self._rows: int = self._file.metadata.num_rows
        self.total_rows: int | None = self._rows
        self._at: int = position or 0
        self._batches = self._from(self._at)
        self._rest: Any = None

    def take(self, rows: int, most_bytes: int) -> Block | None:
        """See ``Reader``."""
        batch = self._rest if self._rest is not None else self._next()
        if batch is None:
            return None
        row_bytes = max(1, batch.nbytes // max(1, batch.num_rows))
        count = min(rows, max(1, most_bytes // row_bytes), batch.num_rows)
        self._rest = batch.slice(count) if count < batch.num_rows else None
        batch = batch.slice(0, count)
        first, self._at = self._at, self._at + count
        plan = self._plan
        block = Block(first, count, self._at, numbers=list(range(first, self._at)))
        block.kept = {plan.columns[i]: batch.column(i).to_pylist() for i in plan.kept}
        block.arrays = self._arrays(batch)
        if block.arrays is None:
            cells = [batch.column(index).to_pylist() for index in plan.used]
            block.rows = [plan.body(row) for row in zip(*cells, strict=True)]
        return block

    def share(self, position: Position) -> float:
        """See ``Reader``."""
        return float(position) / self._rows if self._rows else 1.0

    def close(self) -> None:
        """See ``Reader``."""
        self._file.close()
        self._raw.close()

    def _next(self) -> Any:
        try:
            return next((batch for batch in self._batches if batch.num_rows), None)
        except (self._pa.ArrowException, OSError) as cause:
            raise BatchError(f"'{self._name}' cannot be read at row {self._at}: {cause}") from cause

    def _from(self, row: int) -> Iterator[Any]:
        """Yield record batches, the first one from that row on."""
        metadata = self._file.metadata
        groups, skipped = list(range(metadata.num_row_groups)), row
        while groups and skipped >= metadata.row_group(groups[0]).num_rows:
            skipped -= metadata.row_group(groups.pop(0)).num_rows
        if not groups:
            return
        for batch in self._file.iter_batches(batch_size=_BATCH_ROWS, row_groups=groups):
            if skipped >= batch.num_rows:
                skipped -= batch.num_rows
                continue
            yield batch.slice(skipped)
            skipped = 0

    def _arrays(self, batch: Any) -> dict[str, Array] | None:
        """Return the columns as arrays when all of them are numbers for arrays; else None."""
        plan = self._plan
        columns = [batch.column(index) for index in plan.used]
        if plan.whole is not None:
            if not plan.whole.is_array:
                return None
            found = [_numbers(column) for column in columns]
            if any(one is None or one.ndim > 1 for one in found):
                return None
            kinds = {one.dtype.kind for one in found if one is not None}
            if len(kinds) > 1 and plan.whole.dtype is not None and plan.whole.dtype[0] != "f":
                return None  # among floats an integer would be none any more
            stacked = np.column_stack([one for one in found if one is not None])
            return {plan.whole.name: _with_axes(stacked, plan.whole)}
        arrays: dict[str, Array] = {}
        for name, column in zip(plan.names, columns, strict=True):
            param = self._params[name]
            array = _numbers(column) if param.is_array else None
            if array is None:
                return None
            arrays[name] = _with_axes(array, param)
        return arrays


def _numbers(column: Any) -> Array | None:
    """Return a column of numbers, or of equally long lists of them, as an array; None: it is none."""
    import pyarrow as pa

    kind = column.type
    if column.null_count:
        return None
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return np.array(column.to_numpy(zero_copy_only=False))
    if not (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    ):
        return None
    inner = column.flatten()
    if inner.null_count or not len(column) or len(inner) % len(column):
        return None
    if not pa.types.is_fixed_size_list(kind):
        lengths = np.diff(column.offsets.to_numpy())
        if (lengths != lengths[0]).any():
            return None
    flat = _numbers(inner)
    return None if flat is None else flat.reshape(len(column), -1, *flat.shape[1:])


def _with_axes(array: Array, param: Param) -> Array:
    """Return flat rows with the axes of their parameter, where these are known."""
    shape = param.shape
    if shape is None or len(shape) < 2 or -1 in shape or array.ndim != 2:
        return array
    return array.reshape(len(array), *shape) if np.prod(shape) == array.shape[1] else array
