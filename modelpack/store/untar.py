"""Reads tars that nobody has checked, and writes their files only where they belong.

    stream ──read_tar──► (Found, Content) … ──extract──► files below one folder

Nothing is left to a library's filter: only regular files and folders exist here, and links,
devices, absolute or climbing paths, doubled or colliding names, odd modes and damaged headers
refuse the archive as a whole.  Files are made by handle from the top folder down, never through
a link and never over something that is there.  Memory is constant.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from modelpack.errors import DigestMismatchError, RefusedError
from modelpack.store.names import shown
from modelpack.store.tar import (
    BLOCK,
    CHUNK,
    EXECUTABLE_MODE,
    FILE_MODE,
    FOLDER_MODE,
    Sink,
    checksum,
)

MAX_PAX_BYTES = 64 * 1024
_ZEROS = bytes(BLOCK)
_IGNORED_PAX = {"mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "comment"}
_HINT = "nothing of it was used; get it again from who made it"


@dataclass(frozen=True, slots=True)
class Found:
    """A member as its header has it."""

    path: str
    """Without a slash at its end."""
    is_folder: bool
    mode: int
    """0o755 or 0o644, whatever else the header said."""
    size: int


class Content:
    """The bytes of one member, and no more."""

    def __init__(self, stream: BinaryIO, found: Found, what: str) -> None:
        self._stream = stream
        self._what = what
        self._path = found.path
        self._left = found.size

    def chunks(self) -> Iterator[bytes]:
        """Give the bytes that were not read yet; raises DigestMismatchError when they end early."""
        while self._left:
            data = self._stream.read(min(CHUNK, self._left))
            if not data:
                raise damaged(self._what, f"'{shown(self._path)}' ends too early")
            self._left -= len(data)
            yield data

    def skip(self) -> None:
        """Go to the end of the bytes."""
        if self._stream.seekable():
            self._stream.seek(self._left, os.SEEK_CUR)
            self._left = 0
        for _ in self.chunks():
            pass

    def copy_to(self, sink: Sink) -> None:
        """Write the rest into ``sink``."""
        for data in self.chunks():
            sink.write(data)

    def read_all(self, limit: int) -> bytes:
        """Return a small member; raises RefusedError when it is longer than ``limit`` bytes."""
        if self._left > limit:
            raise RefusedError(
                f"'{shown(self._path)}' of {self._what} has {self._left} bytes, allowed are {limit}",
                hint=_HINT,
            )
        return b"".join(self.chunks())


def read_tar(stream: BinaryIO, what: str) -> Iterator[tuple[Found, Content]]:
    """Give the members in their order and read the stream to its end.

    ``what`` names the tar in messages.  Raises DigestMismatchError for damage and RefusedError
    for what no bundle may hold.
    """
    while True:
        block = _block(stream, what)
        if block == _ZEROS:
            break
        found = _read_member(stream, block, what)
        content = Content(stream, found, what)
        yield found, content
        content.skip()
        if stream.read(-found.size % BLOCK).strip(b"\0"):
            raise damaged(what, f"there are stray bytes after '{shown(found.path)}'")
    if _block(stream, what) != _ZEROS:
        raise damaged(what, "it has no proper end")
    while data := stream.read(CHUNK):
        if data.strip(b"\0"):
            raise damaged(what, "there are bytes after its end")


def extract(found: Found, content: Content, top: int) -> None:
    """Write one member below the open folder ``top``; the caller has guarded its path."""
    *parents, name = found.path.split("/")
    if found.is_folder:
        parents.append(name)
    with _open_folder(top, parents) as folder:
        if found.is_folder:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb", buffering=0) as out:
            for data in content.chunks():
                view = memoryview(data)
                while view:
                    view = view[out.write(view) :]
            os.fchmod(out.fileno(), found.mode)


def damaged(what: str, how: str) -> DigestMismatchError:
    """Return the error for bytes that cannot be those that were written."""
    return DigestMismatchError(f"digest mismatch in {what}: {how}", hint=_HINT)


@contextmanager
def _open_folder(top: int, parts: list[str]) -> Iterator[int]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.dup(top)
    try:
        for part in parts:
            try:
                os.mkdir(part, 0o700, dir_fd=handle)
                is_new = True
            except FileExistsError:
                is_new = False
            below = os.open(part, flags, dir_fd=handle)
            os.close(handle)
            handle = below
            if is_new:
                os.fchmod(handle, FOLDER_MODE)
        yield handle
    finally:
        os.close(handle)


def _block(stream: BinaryIO, what: str) -> bytes:
    block = stream.read(BLOCK)
    if len(block) != BLOCK:
        raise damaged(what, "it is cut short")
    return block


def _read_member(stream: BinaryIO, block: bytes, what: str) -> Found:
    pax: dict[str, str] = {}
    kind = _checked_kind(block, what)
    if kind == b"x":
        pax = _read_pax(stream, _size(block, what), what)
        block = _block(stream, what)
        kind = _checked_kind(block, what)
    name = pax.get("path", _name(block, what))
    if kind not in (b"0", b"\0", b"5"):
        raise RefusedError(
            f"{what} holds '{shown(name)}', which is neither a file nor a folder", hint=_HINT
        )
    mode = _octal(block[100:108], what)
    if mode & 0o7000:
        raise RefusedError(f"{what} holds '{shown(name)}' with the mode {mode:04o}", hint=_HINT)
    size = int(pax["size"]) if "size" in pax else _size(block, what)
    is_folder = kind == b"5"
    if is_folder and size:
        raise damaged(what, f"the folder '{shown(name)}' has a size")
    if is_folder:
        return Found(name.removesuffix("/"), True, FOLDER_MODE, 0)
    return Found(name, False, EXECUTABLE_MODE if mode & 0o100 else FILE_MODE, size)


def _checked_kind(block: bytes, what: str) -> bytes:
    if block[148:156] != b"%06o\0 " % checksum(block):
        raise damaged(what, "the checksum of a header is wrong")
    return block[156:157]


def _name(block: bytes, what: str) -> str:
    raw = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0] if block[257:263] == b"ustar\0" else b""
    try:
        return (prefix + b"/" + raw if prefix else raw).decode()
    except UnicodeDecodeError:
        raise RefusedError(f"{what} holds a name that is not UTF-8", hint=_HINT) from None


def _size(block: bytes, what: str) -> int:
    return _octal(block[124:136], what)


def _octal(field: bytes, what: str) -> int:
    text = field.rstrip(b"\0 ")
    if not re.fullmatch(rb"[0-7]+", text):
        raise damaged(what, "a number in a header is wrong")
    return int(text, 8)


def _read_pax(stream: BinaryIO, size: int, what: str) -> dict[str, str]:
    """Return ``path`` and ``size`` of a PAX header; keys with another meaning are refused."""
    if size > MAX_PAX_BYTES:
        raise RefusedError(f"{what} holds a header of {size} bytes", hint=_HINT)
    data = stream.read(size + -size % BLOCK)
    if len(data) < size or data[size:].strip(b"\0"):
        raise damaged(what, "an extended header is cut short")
    data = data[:size]
    records: dict[str, str] = {}
    while data:
        match = re.match(rb"([1-9][0-9]{0,5}) ([^=]+)=", data)
        length = int(match[1]) if match else 0
        if match is None or not match.end() < length <= len(data) or data[length - 1] != 0x0A:
            raise damaged(what, "an extended header is wrong")
        try:
            key, value = match[2].decode(), data[match.end() : length - 1].decode()
        except UnicodeDecodeError:
            raise RefusedError(f"{what} holds a name that is not UTF-8", hint=_HINT) from None
        records[key] = value
        data = data[length:]
    _check_pax(records, what)
    return records


def _check_pax(records: dict[str, str], what: str) -> None:
    for key in records:
        if key not in ("path", "size") and key not in _IGNORED_PAX:
            raise RefusedError(f"{what} holds the extended header '{shown(key)}'", hint=_HINT)
    if not re.fullmatch(r"[0-9]{1,18}", records.get("size", "0")):
        raise damaged(what, "a size in an extended header is wrong")
