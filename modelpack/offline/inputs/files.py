"""A folder, or what lies below a prefix of a bucket: each file is a row, for an api that takes files.

    names, sorted ──► the bytes of each ──► {image: bytes} ──► Block, with a column ``file``

A place is the number of a file in the list.  The list is made once; its digest tells whether a run
that goes on finds the same files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from modelpack.errors import BatchError, ModelpackError
from modelpack.offline.block import BadRow, Block, Position
from modelpack.offline.inputs.base import Asked
from modelpack.offline.objects import Objects

COLUMN = "file"
_READERS = 8

_IMAGES = frozenset(
    {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
)


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of an input."""

    name: str
    entries: tuple[tuple[str, int, str], ...]
    """Name, size in bytes and what tells two versions of it apart."""
    read: Callable[[str], bytes]

    @property
    def digest(self) -> str:
        """What tells this list from another."""
        digest = hashlib.sha256()
        for entry in self.entries:
            digest.update(repr(entry).encode())
        return digest.hexdigest()


def folder_listing(folder: Path) -> Listing:
    """Return the files below a folder, by name; hidden ones are left out."""

    def entries() -> Iterator[tuple[str, int, str]]:
        for path in folder.rglob("*"):
            name = path.relative_to(folder)
            if path.is_file() and not any(part.startswith(".") for part in name.parts):
                stat = path.stat()
                yield name.as_posix(), stat.st_size, str(stat.st_mtime_ns)

    return Listing(str(folder), tuple(sorted(entries())), lambda name: (folder / name).read_bytes())


def prefix_listing(objects: Objects) -> Listing:
    """Return the objects below a prefix that ends with a slash."""
    start = len(objects.key)
    entries = tuple(
        (one.key[start:], one.size, one.etag)
        for one in objects.listed()
        if not one.key.endswith("/")
    )
    return Listing(objects.url, entries, lambda name: objects.at(objects.key + name).read())


class FilesReader:
    """One row a file."""

    def __init__(self, listing: Listing, asked: Asked, position: Position | None) -> None:
        """Begin at the first file, or at the end of a block; raises BatchError."""
        self._param = asked.hello.only(asked.constants, "files")
        if not self._param.is_file:
            raise BatchError(
                f"'{asked.hello.api}' takes no files: '{self._param.name}' is something else",
                hint="give a table, .jsonl or .npy, or an api with an image or bytes",
            )
        if asked.keep:
            raise BatchError("files have no columns to keep", hint="leave --keep away")
        self._listing = listing
        self._entries = [one for one in listing.entries if self._is_wanted(one[0])]
        if not self._entries:
            raise BatchError(f"there is no file in '{listing.name}' that '{asked.hello.api}' takes")
        self.total_rows: int | None = len(self._entries)
        self._at: int = position or 0
        # Objects of a bucket take a while each, and nothing of a processor.
        self._readers = ThreadPoolExecutor(_READERS, "modelpack-read")

    def _is_wanted(self, name: str) -> bool:
        is_image = self._param.schema.get("contentMediaType", "").startswith("image/")
        return not is_image or Path(name).suffix.lower() in _IMAGES

    def take(self, rows: int, most_bytes: int) -> Block | None:
        """See ``Reader``."""
        if self._at >= len(self._entries):
            return None
        names = self._next_names(rows, most_bytes)
        block = Block(self._at, len(names), self._at + len(names), kept={COLUMN: []})
        bodies: list[dict[str, object]] = []
        for name, found in zip(names, self._readers.map(self._read, names), strict=True):
            if isinstance(found, bytes):
                bodies.append({self._param.name: found})
                block.numbers.append(self._at)
                block.kept[COLUMN].append(name)
            else:
                block.bad.append(BadRow(self._at, "bad-file", found, {COLUMN: name}))
            self._at += 1
        block.rows = bodies
        return block

    def _next_names(self, rows: int, most_bytes: int) -> list[str]:
        names: list[str] = []
        size = 0
        for name, size_bytes, _ in self._entries[self._at : self._at + rows]:
            names.append(name)
            size += size_bytes
            if size >= most_bytes:
                break
        return names

    def _read(self, name: str) -> bytes | str:
        """Return a file, or why it cannot be read."""
        try:
            return self._listing.read(name)
        except (OSError, ModelpackError) as error:
            return str(error)

    def share(self, position: Position) -> float:
        """See ``Reader``."""
        return float(position) / len(self._entries)

    def close(self) -> None:
        """See ``Reader``."""
        self._readers.shutdown(cancel_futures=True)
