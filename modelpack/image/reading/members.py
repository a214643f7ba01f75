"""The members of a tar that any tool may have written, without writing one of them anywhere.

    chunks or file ──Stream──► members ──► (Member, its bytes) …

Layers of images hold what bundles never do: links, devices, whiteouts, names of any length in three
ways.  All of it is read here and nothing of it followed; ``modelpack.store.untar`` is for layers of
our own and refuses it.  Memory is constant: headers are bounded, bytes that nobody asks for are
dropped.

Forms: POSIX.1-2001 (ustar, pax ``x`` and ``g``), GNU (``L``, ``K``, ``S``, numbers in base 256).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, Protocol

from modelpack.errors import DigestMismatchError, RefusedError
from modelpack.store.names import shown
from modelpack.store.tar import BLOCK, CHUNK, checksum
from modelpack.store.untar import damaged

MAX_HEADER_BYTES = 1024 * 1024
"""Longest extended header: names, and attributes that are skipped."""
MAX_HEADERS = 16
"""Most extended headers before one member."""
_ZEROS = bytes(BLOCK)
_RECORD = re.compile(rb"([1-9][0-9]{0,8}) ([^=]+)=")


class Kind(StrEnum):
    """What a member is."""

    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    DEVICE = "device"
    """A device or a pipe."""


_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"S": Kind.FILE,
    b"1": Kind.HARDLINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.DEVICE,
    b"4": Kind.DEVICE,
    b"5": Kind.FOLDER,
    b"6": Kind.DEVICE,
}


@dataclass(frozen=True, slots=True)
class Member:
    """A member as its headers have it; nothing of it is checked."""

    path: str
    """As written, such as ``./etc/passwd``; bytes that are not UTF-8 are spelled ``\\xNN``."""
    kind: Kind
    mode: int
    size: int
    """Bytes that follow; 0 for all but files."""
    link: str
    """Where a link leads; else empty."""
    user: int
    group: int
    offset: int
    """Where in the tar its bytes begin."""


class Stream(Protocol):
    """Bytes that are read forwards."""

    def take(self, most: int) -> bytes:
        """Return between one and ``most`` bytes, none at the end."""

    def skip(self, count: int) -> None:
        """Go over bytes; the end may be passed."""


class Pulled:
    """A stream of chunks as they come."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._data = b""
        self._at = 0

    def take(self, most: int) -> bytes:
        """Return between one and ``most`` bytes, none at the end."""
        if not self._fill():
            return b""
        data = self._data
        if self._at == 0 and len(data) <= most:
            self._data = b""
            return data
        piece = data[self._at : self._at + most]
        self._at += len(piece)
        return piece

    def skip(self, count: int) -> None:
        """Go over bytes."""
        while count and self._fill():
            step = min(count, len(self._data) - self._at)
            self._at += step
            count -= step

    def _fill(self) -> bool:
        while self._at >= len(self._data):
            self._at = 0
            data = next(self._chunks, None)
            if data is None:
                self._data = b""
                return False
            self._data = data
        return True


class Seeking:
    """A stream of a file, which goes over bytes without reading them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def take(self, most: int) -> bytes:
        """Return between one and ``most`` bytes, none at the end."""
        return self._file.read(min(most, CHUNK))

    def skip(self, count: int) -> None:
        """Go over bytes."""
        self._file.seek(count, os.SEEK_CUR)


def members(stream: Stream, what: str) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """Give each member with its bytes, which are to be read before the next member, or not at all.

    ``what`` names the tar in messages.  The stream is read to its end.  Raises DigestMismatchError
    for damage, RefusedError for headers that no tool writes.
    """
    reader = _Reader(stream, what)
    while (member := reader.next_member()) is not None:
        content = reader.content(member)
        yield member, content
        reader.finish(member)
    reader.drain()


class _Reader:
    def __init__(self, stream: Stream, what: str) -> None:
        self._stream = stream
        self._what = what
        self._at = 0
        self._left = 0
        self._padding = 0
        self._common: dict[str, bytes] = {}

    def next_member(self) -> Member | None:
        """Return the next member, or None at the end."""
        own: dict[str, bytes] = {}
        for _ in range(MAX_HEADERS):
            block = self._read(BLOCK)
            if not block or block == _ZEROS:
                return None
            if len(block) < BLOCK:
                raise damaged(self._what, "it is cut short")
            if _number(block[148:156]) != checksum(block):
                raise damaged(self._what, "the checksum of a header is wrong")
            flag = block[156:157]
            size = self._size(block[124:136])
            if flag == b"x":
                own |= self._pax(size)
            elif flag == b"g":
                self._common |= self._pax(size)
            elif flag in (b"L", b"K"):
                key = "path" if flag == b"L" else "linkpath"
                own[key] = self._extra(size).rstrip(b"\0")
            else:
                return self._member(block, flag, self._common | own)
        raise RefusedError(
            f"{self._what} holds one extended header after the other",
            hint="no tool writes that; get it again from who made it",
        )

    def content(self, member: Member) -> Iterator[bytes]:
        """Give the bytes of the member that was read last."""
        while self._left:
            data = self._stream.take(min(CHUNK, self._left))
            if not data:
                raise self._too_early(member)
            self._at += len(data)
            self._left -= len(data)
            yield data

    def finish(self, member: Member) -> None:
        """Go over what was not read of a member."""
        if self._left:
            # The last byte is read, so that a tar that ends too early is noticed.
            self._skip(self._left - 1)
            if not self._read(1):
                raise self._too_early(member)
            self._left = 0
        self._skip(self._padding)

    def drain(self) -> None:
        """Read what follows the end; it is nothing, or zeros that fill a block."""
        while self._stream.take(CHUNK):
            pass

    def _member(self, block: bytes, flag: bytes, extra: dict[str, bytes]) -> Member:
        kind = _KINDS.get(flag)
        if kind is None:
            raise damaged(self._what, "a header is of no kind that is known")
        size = self._size(block[124:136])
        if "size" in extra:
            if not re.fullmatch(rb"[0-9]{1,18}", extra["size"]):
                raise damaged(self._what, "a size in an extended header is wrong")
            size = int(extra["size"])
        if flag == b"S":
            self._skip_map(block)
        raw = extra.get("GNU.sparse.name") or extra.get("path") or _name(block)
        path = _text(raw)
        if flag in (b"0", b"\0") and path.endswith("/"):
            kind = Kind.FOLDER
        size = size if kind is Kind.FILE else 0
        self._left, self._padding = size, -size % BLOCK
        return Member(
            path=path,
            kind=kind,
            mode=max(_number(block[100:108]), 0) & 0o7777,
            size=size,
            link=_text(extra.get("linkpath") or block[157:257].split(b"\0", 1)[0]),
            user=_number(block[108:116]),
            group=_number(block[116:124]),
            offset=self._at,
        )

    def _pax(self, size: int) -> dict[str, bytes]:
        data = self._extra(size)
        found: dict[str, bytes] = {}
        while data:
            match = _RECORD.match(data)
            length = int(match[1]) if match else 0
            if match is None or not match.end() < length <= len(data) or data[length - 1] != 0x0A:
                raise damaged(self._what, "an extended header is wrong")
            found[match[2].decode(errors="replace")] = data[match.end() : length - 1]
            data = data[length:]
        return {key: found[key] for key in _USED & found.keys()}

    def _extra(self, size: int) -> bytes:
        if size > MAX_HEADER_BYTES:
            raise RefusedError(
                f"{self._what} holds a header of {size} bytes",
                hint="no tool writes that; get it again from who made it",
            )
        data = self._read(size)
        if len(data) < size:
            raise damaged(self._what, "an extended header is cut short")
        self._skip(-size % BLOCK)
        return data

    def _skip_map(self, block: bytes) -> None:
        """Go over the blocks that say where the holes of a GNU sparse file are."""
        goes_on = block[482] != 0
        for _ in range(MAX_HEADER_BYTES // BLOCK):
            if not goes_on:
                return
            block = self._read(BLOCK)
            if len(block) < BLOCK:
                raise damaged(self._what, "it is cut short")
            goes_on = block[504] != 0
        raise damaged(self._what, "a file has too many holes")

    def _read(self, count: int) -> bytes:
        parts = []
        while count and (data := self._stream.take(count)):
            parts.append(data)
            count -= len(data)
            self._at += len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _skip(self, count: int) -> None:
        self._stream.skip(count)
        self._at += count

    def _too_early(self, member: Member) -> DigestMismatchError:
        return damaged(self._what, f"'{shown(member.path)}' ends too early")

    def _size(self, field: bytes) -> int:
        size = _number(field)
        if size < 0:
            raise damaged(self._what, "a size is below zero")
        return size


_USED = {"path", "linkpath", "size", "GNU.sparse.name"}


def _name(block: bytes) -> bytes:
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] != b"ustar\0":  # GNU keeps times where POSIX has the prefix
        return name
    prefix = block[345:500].split(b"\0", 1)[0]
    return prefix + b"/" + name if prefix else name


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")


def _number(field: bytes) -> int:
    """Return a number in octal digits or, marked by its first bit, in base 256; -1 for neither."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=field[0] == 0xFF)
        return value if field[0] == 0xFF else value & ~(0x80 << 8 * (len(field) - 1))
    text = field.strip(b"\0 ")
    if not text:
        return 0
    return int(text, 8) if re.fullmatch(rb"[0-7]+", text) else -1
