"""Finds the writer of a format, before a row has been answered."""

from __future__ import annotations

from pathlib import Path

from modelpack.errors import BatchError, UsageError
from modelpack.offline.hello import Hello
from modelpack.offline.outputs.base import Layout, Writer
from modelpack.offline.outputs.npy import NpyWriter
from modelpack.offline.outputs.tables import ParquetWriter
from modelpack.offline.outputs.text import CsvWriter, JsonlWriter

FORMATS = ("csv", "jsonl", "parquet", "npy")
"""What can be written."""

_BY_SUFFIX = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
              ".pq": "parquet", ".npy": "npy"}  # fmt: skip


def suffix_of(form: str) -> str:
    """Return the suffix of a part."""
    return f".{form}"


def format_of(text: str) -> str:
    """Return the format that the name of an output says; raises UsageError."""
    form = _BY_SUFFIX.get(Path(text).suffix.lower())
    if form is None:
        raise UsageError(
            f"'{text}' does not say in which form to write",
            hint="name it .csv, .jsonl, .parquet or .npy, or a folder with a slash at its end",
        )
    return form


def writer_for(form: str, hello: Hello, kept: tuple[str, ...], layout: Layout | None) -> Writer:
    """Return the writer of a format; raises BatchError for answers that it cannot hold."""
    match form:
        case "csv":
            return CsvWriter(layout)
        case "jsonl":
            return JsonlWriter()
        case "parquet":
            return ParquetWriter(hello)
    if not hello.is_one_array:
        raise BatchError(
            f"'{hello.api}' answers with more than one array, or something else, .npy holds one",
            hint="write .parquet or .jsonl",
        )
    return NpyWriter(kept)
