"""Finds an input and says what it is, before the service is there; then opens it for the service.

text ──find_input──► Input(format, identity) ──open_reader──► Reader
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from modelpack.errors import BatchError, NotFoundError, UsageError
from modelpack.offline.block import Position
from modelpack.offline.inputs.arrays import NpyReader
from modelpack.offline.inputs.base import Asked, Reader, Streams
from modelpack.offline.inputs.files import (
    FilesReader,
    Listing,
    folder_listing,
    prefix_listing,
)
from modelpack.offline.inputs.lines import JsonlReader
from modelpack.offline.inputs.records import CsvReader
from modelpack.offline.inputs.tables import ParquetReader, load_parquet
from modelpack.offline.objects import Objects, is_object

FORMATS = ("csv", "jsonl", "parquet", "npy", "files")
"""What can be read."""

_BY_SUFFIX = {
    ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".npy": "npy",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _LocalFile:
    name: str
    size_bytes: int

    def open(self) -> BinaryIO:
        return Path(self.name).open("rb")


@dataclass(frozen=True, slots=True)
class _RemoteFile:
    objects: Objects
    name: str
    size_bytes: int

    def open(self) -> BinaryIO:
        return self.objects.open()


@dataclass(frozen=True, slots=True)
class Input:
    """An input that is there."""

    format: str
    """One of ``FORMATS``."""
    identity: dict[str, Any]
    """What tells it from another one, or from itself after a change."""
    streams: _LocalFile | _RemoteFile | None = None
    listing: Listing | None = None


def find_input(text: str, form: str | None = None) -> Input:
    """Return what is at a path or a URL of a bucket; ``form`` None: as its name says.

    Raises NotFoundError, UsageError for a name that says nothing, ToolMissingError for a format
    whose library is missing.
    """
    found = _find_object(text, form) if is_object(text) else _find_file(text, form)
    if found.format == "parquet":
        load_parquet()
    return found


def _find_file(text: str, form: str | None) -> Input:
    path = Path(text)
    if path.is_dir():
        if form not in (None, "files"):
            raise UsageError(f"'{text}' is a folder, not {form}", hint="give one file")
        listing = folder_listing(path)
        return Input("files", {"files": listing.digest}, listing=listing)
    if not path.is_file():
        raise NotFoundError(f"no file '{text}'")
    form = form or _format_of(text)
    stat = path.stat()
    identity = {"path": str(path.absolute()), "size": stat.st_size, "changed": stat.st_mtime_ns}
    return Input(form, identity, _LocalFile(text, stat.st_size))


def _find_object(text: str, form: str | None) -> Input:
    objects = Objects(text)
    if text.endswith("/"):
        listing = prefix_listing(objects)
        return Input("files", {"files": listing.digest}, listing=listing)
    form = form or _format_of(text)
    head = objects.head()
    identity = {"path": text, "size": head.size, "etag": head.etag}
    return Input(form, identity, _RemoteFile(objects, text, head.size))


def _format_of(text: str) -> str:
    suffix = Path(text.removesuffix(".gz")).suffix.lower()
    form = _BY_SUFFIX.get(suffix)
    if form is None or (text.endswith(".gz") and form not in ("csv", "jsonl")):
        hint = "give --input-format csv, jsonl, parquet or npy"
        if suffix == ".json":
            hint = "write one row a line and name it .jsonl"
        raise UsageError(f"'{text}' does not say what it is", hint=hint)
    return form


def open_reader(given: Input, asked: Asked, position: Position | None = None) -> Reader:
    """Return the rows of an input, from the start or from the end of a block.

    Raises BatchError when they do not fit the api.
    """
    if given.listing is not None:
        return FilesReader(given.listing, asked, position)
    if given.streams is None:
        raise BatchError("there is nothing to read")
    streams = _Opened(given.streams)
    try:
        return _reader(given.format, streams, asked, position)
    except BaseException:
        streams.close()
        raise


def _reader(form: str, streams: Streams, asked: Asked, position: Position | None) -> Reader:
    match form:
        case "csv":
            return CsvReader(streams, asked, position)
        case "jsonl":
            return JsonlReader(streams, asked, position)
        case "npy":
            return NpyReader(streams, asked, position)
        case "parquet":
            return ParquetReader(streams, asked, position)
    raise UsageError(f"'{form}' is not read", hint=f"one of {', '.join(FORMATS)}")


class _Opened:
    """Streams that can be closed when nobody is there yet to do so."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._files: list[BinaryIO] = []
        self.name = streams.name
        self.size_bytes = streams.size_bytes

    def open(self) -> BinaryIO:
        file = self._streams.open()
        self._files.append(file)
        return file

    def close(self) -> None:
        for file in self._files:
            file.close()
