"""Writes the layers that are made here: files and links below ``bundle/``, in one form.

    Part (bytes, file, piece of a file, link) … ──sorted, folders added──► tar ──► LayerWriter
                                                                           file + digest + size

The form is that of the bundle's own layers (``store.tar``): relative names below ``bundle/``, time 0,
nobody's name, modes 0755 and 0644.  A directory entry stands for every folder of ours and for none of
the base's: it would replace its mode, or a link that stands there.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from modelpack.errors import BuildError, RefusedError
from modelpack.store.base import TOP
from modelpack.store.hashing import StreamHash
from modelpack.store.names import path_fault, shown
from modelpack.store.tar import (
    BLOCK,
    CHUNK,
    FILE_MODE,
    FOLDER_MODE,
    RECORD,
    Sink,
    checksum,
    header,
    padding,
)

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
GZIP_LAYER_TYPE = f"{LAYER_TYPE}+gzip"

_LINK_MODE = 0o777
_LINK_NAME = slice(157, 257)


@dataclass(frozen=True, slots=True)
class Part:
    """A file or a link of a layer; folders are made of the paths."""

    path: str
    """As it stands in the image, without a slash in front: ``bundle/venv/…``."""
    size: int
    source: bytes | Path
    """Its bytes, or the file that holds them."""
    mode: int = FILE_MODE
    """0o644 or 0o755."""
    offset: int = 0
    """Where in the file its bytes begin."""
    sha256: str | None = None
    """Hex digest that the bytes must have; None: not checked."""
    link: str | None = None
    """Where a symbolic link points; None: a file."""

    @classmethod
    def of_bytes(cls, path: str, data: bytes, mode: int = FILE_MODE) -> Part:
        """Make a file of bytes in memory."""
        return cls(path, len(data), data, mode)

    @classmethod
    def of_link(cls, path: str, target: str) -> Part:
        """Make a symbolic link."""
        return cls(path, 0, b"", link=target)


class LayerWriter:
    """A new file that is hashed while it is written; small pieces are gathered into long ones."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.path = path
        self.size = 0
        self._handle = os.open(path, flags, 0o600)
        self._hash = StreamHash()
        self._gathered = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._hash.close()
        os.close(self._handle)

    def write(self, data: bytes) -> None:
        """Take all of ``data``."""
        self._gathered += data
        if len(self._gathered) >= CHUNK:
            self._flush()

    def digest(self) -> str:
        """Write what is left and return ``sha256:HEX`` of everything."""
        self._flush()
        os.fchmod(self._handle, 0o400)
        return f"sha256:{self._hash.hexdigest()}"

    def _flush(self) -> None:
        data = bytes(self._gathered)
        self._gathered.clear()
        self._hash.update(data)
        self.size += len(data)
        left = memoryview(data)
        while left:
            left = left[os.write(self._handle, left) :]


def write_parts(sink: Sink, parts: Iterable[Part]) -> None:
    """Write the parts and their folders, sorted by path, as one tar.

    Raises RefusedError for a path that may not stand in a layer, BuildError when a file is not what
    its part says.
    """
    files: dict[str, Part] = {}
    for part in parts:
        if fault := _fault(part.path) or ("is there twice" if part.path in files else None):
            raise RefusedError(f"a layer would hold '{shown(part.path)}', which {fault}")
        files[part.path] = part
    folders = {parent for path in files for parent in _parents(path)}
    if both := sorted(folders & files.keys()):
        raise RefusedError(
            f"a layer would hold '{shown(both[0])}', which is a file and a folder at once"
        )
    written = 0
    for path in sorted(files.keys() | folders):
        if path in folders:
            head = header(f"{path}/", FOLDER_MODE, 0, b"5")
            sink.write(head)
            written += len(head)
        else:
            written += _write_part(sink, files[path])
    end = 2 * BLOCK
    sink.write(bytes(end + -(written + end) % RECORD))


def _fault(path: str) -> str | None:
    if fault := path_fault(path):
        return fault
    return None if path.startswith(f"{TOP}/") else f"is not below '{TOP}'"


def _write_part(sink: Sink, part: Part) -> int:
    if part.link is not None:
        head = _link_header(part.path, part.link)
        sink.write(head)
        return len(head)
    head = header(part.path, part.mode, part.size, b"0")
    sink.write(head)
    if isinstance(part.source, bytes):
        sink.write(part.source)
    else:
        _copy(sink, part, part.source)
    fill = padding(part.size)
    sink.write(fill)
    return len(head) + part.size + len(fill)


def _copy(sink: Sink, part: Part, source: Path) -> None:
    """Write the bytes of a file as they are read, and see that they are the right ones."""
    is_short = part.size <= CHUNK
    digest = hashlib.sha256() if is_short else StreamHash()
    left = part.size
    try:
        # Not buffered: a layer has thousands of small files, each read in one call.
        with source.open("rb", buffering=0) as file:
            if part.offset:
                file.seek(part.offset)
            while left and (data := file.read(min(CHUNK, left))):
                sink.write(data)
                if part.sha256:
                    digest.update(data)
                left -= len(data)
        is_other = bool(part.sha256) and digest.hexdigest() != part.sha256
    except OSError as cause:
        raise BuildError(f"cannot read '{shown(str(source))}': {cause.strerror}") from cause
    finally:
        if isinstance(digest, StreamHash):
            digest.close()
    if left or is_other:
        raise BuildError(
            f"'{shown(part.path)}' is not what the record of its package says",
            hint="run 'uv cache clean' and try again; if it stays, the wheel itself is wrong",
        )


def _link_header(path: str, target: str) -> bytes:
    """Return the header of a symbolic link; raises RefusedError for a target that does not fit."""
    encoded = target.encode("ascii", "replace")
    if not target.isascii() or len(encoded) > 100:
        raise RefusedError(f"the link '{shown(path)}' would point to '{shown(target)}'")
    whole = header(path, _LINK_MODE, 0, b"2")
    block = bytearray(whole[-BLOCK:])
    block[_LINK_NAME] = encoded.ljust(100, b"\0")
    block[148:156] = b"%06o\0 " % checksum(bytes(block))
    return whole[:-BLOCK] + bytes(block)


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
