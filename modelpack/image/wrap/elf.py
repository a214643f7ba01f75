"""What an executable says of itself, read without running it.

bytes of an ELF file ──read_elf──► processor, loader, shared libraries, newest glibc symbol

Facts: System V ABI, "Object Files" and "Program Loading and Dynamic Linking"; symbol versions as in
the Linux Standard Base, "Symbol Versioning" (elf.h has the same names).  Only 64-bit little-endian
files are read, since images are for such processors alone.  Sizes and offsets come from the file, so
each is checked against its end before it is used.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelpack.errors import UsageError

MAGIC = b"\x7fELF"
PLATFORMS = {62: "linux/amd64", 183: "linux/arm64"}
"""By e_machine: EM_X86_64, EM_AARCH64."""

_SYSTEMS = (0, 3)  # ELFOSABI_NONE, ELFOSABI_LINUX
_PROGRAMS = (2, 3)  # ET_EXEC; ET_DYN, as every position-independent program is
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB = 1, 5
_DT_VERNEED, _DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_MOST = 4096  # entries of a table: far more than a program has
_LONGEST_NAME = 4096
_GLIBC = re.compile(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Elf:
    """What a compiled program needs."""

    platform: str
    """Such as ``linux/amd64``."""
    loader: str | None
    """Path of the dynamic loader; None: it is linked statically."""
    libraries: tuple[str, ...]
    """Shared libraries that must be there, such as ``libc.so.6``."""
    glibc: tuple[int, int] | None
    """Oldest glibc that it starts with; None: it needs none."""


def read_elf(file: Path) -> Elf:
    """Return what the program says; raises UsageError when it cannot run on Linux in an image."""
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as data:
            return _Reader(data).read()
    except (struct.error, IndexError, ValueError) as cause:
        raise UsageError(
            f"'{file}' is a damaged program: it ends before what it speaks of",
            hint="copy or compile it again",
        ) from cause
    except _UnfitError as unfit:
        raise UsageError(
            f"'{file}' does not run on Linux in an image: {unfit}",
            hint="compile it for linux/amd64 or linux/arm64",
        ) from None


class _UnfitError(Exception):
    """Why a program is none that an image could run."""


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._segments: list[tuple[int, ...]] = []

    def read(self) -> Elf:
        ident, kind, machine, _, _, table, _, _, _, size, count, *_ = self._unpack(_HEADER, 0)
        if ident[4] != 2 or ident[5] != 1:
            raise _UnfitError("it is not a 64-bit little-endian program")
        if ident[7] not in _SYSTEMS or kind not in _PROGRAMS:
            raise _UnfitError("it is not a Linux program")
        if machine not in PLATFORMS:
            raise _UnfitError("it was compiled for another processor")
        self._segments = [
            self._unpack(_SEGMENT, table + number * size) for number in range(min(count, _MOST))
        ]
        loaders = [self._text(one[2]) for one in self._of(_PT_INTERP)]
        entries = list(self._dynamic())
        tables = dict(entries)
        names = tables.get(_DT_STRTAB, 0)
        needed = (value for tag, value in entries if tag == _DT_NEEDED)
        return Elf(
            platform=PLATFORMS[machine],
            loader=loaders[0] if loaders else None,
            libraries=tuple(self._text(self._place(names + one)) for one in needed),
            glibc=self._glibc(names, tables.get(_DT_VERNEED), tables.get(_DT_VERNEEDNUM, 0)),
        )

    def _dynamic(self) -> Iterator[tuple[int, int]]:
        for segment in self._of(_PT_DYNAMIC):
            for number in range(min(segment[5] // 16, _MOST)):
                tag, value = struct.unpack_from("<qQ", self._data, segment[2] + number * 16)
                if tag == 0:
                    return
                yield tag, value

    def _glibc(self, names: int, needs: int | None, count: int) -> tuple[int, int] | None:
        """Return the newest ``GLIBC_X.Y`` of the versions that it asks for."""
        found: list[tuple[int, int]] = []
        at = self._place(needs) if needs is not None else 0
        for _ in range(min(count, _MOST) if needs is not None else 0):
            _, entries, _, first, step = struct.unpack_from("<HHIII", self._data, at)
            entry = at + first
            for _ in range(min(entries, _MOST)):
                _, _, _, name, further = struct.unpack_from("<IHHII", self._data, entry)
                if match := _GLIBC.fullmatch(self._text(self._place(names + name))):
                    found.append((int(match[1]), int(match[2])))
                entry += further
            at += step
        return max(found, default=None)

    def _of(self, kind: int) -> list[tuple[int, ...]]:
        return [segment for segment in self._segments if segment[0] == kind]

    def _place(self, address: int) -> int:
        """Return where in the file an address of the running program lies."""
        for _, _, offset, start, _, size, *_ in self._of(_PT_LOAD):
            if start <= address < start + size:
                return int(offset + address - start)
        raise ValueError("an address outside the file")

    def _text(self, at: int) -> str:
        end = self._data.find(b"\0", at, at + _LONGEST_NAME)
        if end < 0 or not 0 <= at < len(self._data):
            raise ValueError("a name without an end")
        return self._data[at:end].decode("utf-8", "replace")

    def _unpack(self, form: struct.Struct, at: int) -> tuple[Any, ...]:
        return form.unpack_from(self._data, at)
