"""Unpacks archives of other systems into an empty folder, or refuses them as a whole.

    zip  (.mar, .bento)          ─┐
    tar, plain, gz, bz2 or xz    ─┴─ members ─► guarded paths ─► regular files, bounded

The rules are those of our own archives (threat model S3, S4): only regular files and folders, no
path that leaves the folder, none that two file systems would tell apart; and no more than
``MAX_BYTES`` in ``MAX_MEMBERS`` members, however small the archive is.
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from modelpack.errors import RefusedError
from modelpack.store.names import PathGuard

MAX_BYTES = 64 * 1024**3
"""Most bytes that an archive may hold, unpacked."""

MAX_MEMBERS = 100_000

_CHUNK = 1024 * 1024


def is_archive(path: Path) -> bool:
    """Say whether a file is a zip or a tar, by its content."""
    return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))


def unpack(path: Path, into: Path) -> None:
    """Unpack an archive into the empty folder ``into``; raises RefusedError and leaves litter there.

    The folder is the caller's to throw away.
    """
    guard = PathGuard(f"'{path.name}'")
    left = MAX_BYTES
    try:
        members = _zip(path) if zipfile.is_zipfile(path) else _tar(path)
        for count, (name, stream) in enumerate(members, 1):
            if count > MAX_MEMBERS:
                raise RefusedError(f"'{path.name}' has more than {MAX_MEMBERS} members")
            if name in ("", "."):
                continue
            guard.add(name, is_folder=stream is None)
            target = into / name
            if stream is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            left -= _copy(stream, target, left, path)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, ValueError) as cause:
        raise RefusedError(
            f"'{path.name}' cannot be unpacked: {cause}", hint="fetch it again, it may be damaged"
        ) from cause


def _zip(path: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with zipfile.ZipFile(path) as archive:
        for one in archive.infolist():
            kind = stat.S_IFMT(one.external_attr >> 16)
            if one.is_dir():
                yield one.filename.rstrip("/"), None
            elif kind in {0, stat.S_IFREG}:
                with archive.open(one) as stream:
                    yield one.filename, stream
            else:
                raise RefusedError(f"'{one.filename}' in '{path.name}' is not a regular file")


def _tar(path: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with tarfile.open(path) as archive:
        for one in archive:
            name = one.name.removeprefix("./")
            if one.isdir():
                yield name, None
            elif one.isreg() and (stream := archive.extractfile(one)) is not None:
                yield name, stream
            else:
                raise RefusedError(f"'{one.name}' in '{path.name}' is not a regular file")


def _copy(stream: IO[bytes], target: Path, most: int, path: Path) -> int:
    """Write a file that has at most that many bytes; returns how many it has."""
    size = 0
    with target.open("xb") as out:
        while data := stream.read(_CHUNK):
            size += len(data)
            if size > most:
                raise RefusedError(f"'{path.name}' holds more than {MAX_BYTES} bytes")
            out.write(data)
    return size
