"""Answers as a table in the Parquet format; needs the extra ``parquet``.

    JSON Schema of the answer ──types──► number: double, integer: int64, array: list, object: JSON text
    arrays ──► their own dtypes

The types of a column do not go by its values, so that every part has the same ones: a part in which a
column is all null is no exception.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson

from modelpack.errors import BatchError
from modelpack.offline.hello import Hello
from modelpack.offline.inputs.tables import load_parquet
from modelpack.offline.outputs.base import ROW, Part, Table
from modelpack.offline.outputs.text import plain


class ParquetWriter:
    """One row a row; every part is a file of its own, and a row group of the whole."""

    def __init__(self, hello: Hello) -> None:
        """Raises ToolMissingError without pyarrow."""
        self._parquet = load_parquet()
        self._types = _Types(hello)
        self._tables: list[Any] = []
        self.schema: Any = None
        self.size_bytes = 0

    def add(self, table: Table) -> None:
        """See ``Writer``."""
        import pyarrow as pa

        if not table.numbers:
            return
        arrays = [pa.array(table.numbers, pa.int64())]
        arrays += [self._types.array(name, column) for name, column in table.columns.items()]
        made = pa.Table.from_arrays(arrays, names=[ROW, *table.columns])
        self._tables.append(self._alike(made))
        self.size_bytes += made.nbytes

    def _alike(self, table: Any) -> Any:
        import pyarrow as pa

        if self.schema is None:
            self.schema = table.schema
        if table.schema.equals(self.schema):
            return table
        try:
            return table.select(self.schema.names).cast(self.schema)
        except (pa.ArrowException, KeyError) as cause:
            raise BatchError(
                f"the answers have other columns or types from row to row: {cause}",
                hint="write .jsonl",
            ) from cause

    def finish(self) -> bytes:
        """See ``Writer``."""
        import pyarrow as pa

        tables, self._tables, self.size_bytes = self._tables, [], 0
        file = io.BytesIO()
        empty = pa.schema([(ROW, pa.int64())])
        table = pa.concat_tables(tables) if tables else (self.schema or empty).empty_table()
        self._parquet.write_table(table, file)
        return file.getvalue()

    def assembled(self, parts: Sequence[Part]) -> Iterator[bytes]:
        """See ``Writer``.  A part is in memory at a time."""
        import pyarrow as pa

        drain = _Drain()
        writer = None
        for part in parts:
            if not part.rows:
                continue
            table = self._parquet.read_table(io.BytesIO(b"".join(part.open())))
            if writer is None:
                self.schema = table.schema
                writer = self._parquet.ParquetWriter(drain, table.schema)
            writer.write_table(self._alike(table))
            yield drain.take()
        if writer is None:
            schema = self.schema or pa.schema([(ROW, pa.int64())])
            writer = self._parquet.ParquetWriter(drain, schema)
        writer.close()
        yield drain.take()


class _Drain(io.RawIOBase):
    """A file that gives away what was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self._data = bytearray()
        self._gone = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._data += data
        return len(data)

    def tell(self) -> int:
        return self._gone + len(self._data)

    def take(self) -> bytes:
        data = bytes(self._data)
        self._gone += len(data)
        self._data.clear()
        return data


class _Types:
    """The types of columns, by what the api says of its answers."""

    def __init__(self, hello: Hello) -> None:
        self._is_batched = hello.max_batch_size is not None
        self._is_file = hello.is_file
        self._schema: dict[str, Any] = {} if hello.is_stream else dict(hello.output_schema)

    def array(self, name: str, column: Any) -> Any:
        """Return a column as Arrow has it."""
        import pyarrow as pa

        if isinstance(column, np.ndarray) and column.dtype.kind in "biuf":
            return _of_array(column)
        values = column.tolist() if isinstance(column, np.ndarray) else list(column)
        if any(isinstance(one, bytes) for one in values):
            return pa.array(values, pa.binary())
        if (kind := _kind(self._of(name))) is not None:
            try:
                return pa.array([_listed(one) for one in values], kind)
            except (pa.ArrowException, TypeError, OverflowError):
                pass  # it is not what the schema says
        if all(one is None or isinstance(one, str) for one in values):
            return pa.array(values, pa.string())
        return pa.array([orjson.dumps(one, plain, _JSON).decode() for one in values], pa.string())

    def _of(self, name: str) -> dict[str, Any]:
        """Return the schema of one row of a column."""
        schema: Any = self._schema
        rows = schema.get("items", {}) if self._is_batched and "items" in schema else schema
        for one in (schema, rows):
            found = one.get("properties", {}).get(name)
            if found is not None:
                is_column = one is schema and self._is_batched
                return dict(found.get("items", {}) if is_column else found)
        return dict(rows)


_JSON = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def _of_array(column: Any) -> Any:
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(column).reshape(-1))
    for length in reversed(column.shape[1:]):
        flat = pa.FixedSizeListArray.from_arrays(flat, length)
    return flat


def _kind(schema: dict[str, Any]) -> Any:
    """Return the Arrow type of a JSON Schema; None: there is none."""
    import pyarrow as pa

    match schema.get("type"):
        case "integer":
            return pa.int64()
        case "number":
            return pa.float64()
        case "boolean":
            return pa.bool_()
        case "string":
            return pa.string()
        case "array" if isinstance(items := schema.get("items"), dict):
            inner = _kind(items)
            return None if inner is None else pa.list_(inner)
    return None


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
