"""The one way in which bytes get into the store.

    bytes ──► .staging/RANDOM/HEX ──fsync──► (lock) ──rename──► blobs/sha256/HEX ──fsync folder
                                                  └──rename──► index.json        ──fsync folder

What always holds:

* a blob or an index is visible whole or not at all, also after ``kill -9`` or a power cut;
* a staging folder is held by a lock of its living owner; the next writer removes the folders that
  nobody holds, whatever machine, container or process id they came from;
* blobs that are in the store already are linked into the staging folder, so that nobody who
  deletes can take them away before the new entry is there.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from modelpack.errors import DigestMismatchError, ModelpackError, StoreError
from modelpack.store.hashing import StreamHash
from modelpack.store.system import REAL, Io
from modelpack.store.tar import CHUNK, Sink

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Blob:
    """A digest and how many bytes it stands for."""

    digest: str
    size: int

    @property
    def hex(self) -> str:
        """The digest without its algorithm: the file's name."""
        return blob_name(self.digest)


def blob_name(digest: str) -> str:
    """Return the file name of a digest; raises StoreError for what is none (threat model S5)."""
    if not DIGEST.fullmatch(digest):
        raise StoreError(f"'{digest[:80]}' is not a digest")
    return digest.removeprefix("sha256:")


class _File:
    """A new file that hashes and counts what it is given; small pieces are written together."""

    def __init__(self, io: Io, handle: int) -> None:
        self._io = io
        self._handle = handle
        self._digest = StreamHash()
        self._gathered = bytearray()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._digest.update(data)
        self.size += len(data)
        if len(self._gathered) + len(data) < CHUNK:
            self._gathered += data
            return
        self.flush()
        self._write_all(data)

    def flush(self) -> None:
        gathered, self._gathered = self._gathered, bytearray()
        self._write_all(gathered)

    def close(self) -> None:
        """End what hashes, also when not everything was written."""
        self._digest.close()

    def _write_all(self, data: bytes | bytearray) -> None:
        left = memoryview(data)
        while left:
            left = left[self._io.write(self._handle, left) :]

    @property
    def blob(self) -> Blob:
        return Blob(f"sha256:{self._digest.hexdigest()}", self.size)


class Staging:
    """A private folder in the store in which an entry is made ready."""

    def __init__(self, handle: int, io: Io = REAL) -> None:
        self._handle = handle
        self._io = io
        self.blobs: dict[str, Blob] = {}
        """What is ready to be published, by digest."""

    def write(self, fill: Callable[[Sink], object], *, expected: str | None = None) -> Blob:
        """Write one blob durably and return its digest and size.

        Raises DigestMismatchError when it is not the ``expected`` one.
        """
        name = f"new-{secrets.token_hex(8)}"
        blob = self._write_file(name, fill, is_sealed=True)
        if expected is not None and blob.digest != expected:
            raise DigestMismatchError(
                f"digest mismatch: '{expected}' has other bytes ('{blob.digest}')",
                hint="nothing of it was used; get it again from who made it",
            )
        self._io.rename(name, self._handle, blob.hex, self._handle)
        self.blobs[blob.digest] = blob
        return blob

    def write_bytes(self, data: bytes) -> Blob:
        """Write a small blob durably."""
        return self.write(lambda sink: sink.write(data))

    def open_blob(self, digest: str) -> BinaryIO:
        """Open a blob that was written here."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        name = self.blobs[digest].hex
        return os.fdopen(os.open(name, flags, dir_fd=self._handle), "rb")

    def pin(self, blobs: int, blob: Blob) -> None:
        """Keep a blob of the open folder ``blobs`` for the new entry; raises FileNotFoundError."""
        if blob.digest in self.blobs:
            return
        try:
            self._link(blobs, blob.hex)
        except FileNotFoundError:
            raise
        except OSError:  # a file system without links
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(blob.hex, flags, dir_fd=blobs), "rb") as source:

                def copy(sink: Sink) -> None:
                    while data := source.read(CHUNK):
                        sink.write(data)

                self.write(copy, expected=blob.digest)
        self.blobs[blob.digest] = blob

    def _link(self, blobs: int, name: str) -> None:
        """Link a file of ``blobs`` here; raises FileNotFoundError only when it is not there.

        A file that another writer puts in place of an equal one at that moment is reported as
        missing too (link(2): its old inode has no name any more), so it is looked for again.
        """
        while True:
            try:
                return self._io.link(name, blobs, self._handle)
            except FileNotFoundError:
                os.stat(name, dir_fd=blobs, follow_symlinks=False)

    def drop(self, blob: Blob) -> None:
        """Forget a blob that was pinned."""
        if self.blobs.pop(blob.digest, None) is not None:
            self._io.unlink(blob.hex, self._handle)

    def publish(self, blobs: int) -> None:
        """Move every blob into the open folder ``blobs``; the caller holds the store's lock."""
        for blob in self.blobs.values():
            self._io.rename(blob.hex, self._handle, blob.hex, blobs)
        self._io.sync(blobs)

    def replace_file(self, folder: int, name: str, data: bytes) -> None:
        """Put a small file in place of the one in the open ``folder``; under the store's lock."""
        self._write_file(name, lambda sink: sink.write(data), is_sealed=False)
        self._io.rename(name, self._handle, name, folder)
        self._io.sync(folder)

    def _write_file(self, name: str, fill: Callable[[Sink], object], *, is_sealed: bool) -> Blob:
        handle = self._io.create(name, self._handle)
        file = _File(self._io, handle)
        try:
            fill(file)
            file.flush()
            if is_sealed:
                self._io.seal(handle)
            self._io.sync(handle)
            return file.blob
        finally:
            file.close()
            os.close(handle)


@contextmanager
def open_staging(parent: Path, io: Io = REAL) -> Iterator[tuple[Staging, bool]]:
    """Make a staging folder below ``parent``; it is gone when the block ends, however it ends.

    Also removes those of dead writers, and says whether there were any.
    """
    path, handle = _make_held_folder(parent, io)
    try:
        # Not before there is one of our own: should we die as well, it tells the next writer to
        # look for blobs that nothing refers to.
        found_dead = _remove_dead(parent, io)
        yield Staging(handle, io), found_dead
    finally:
        _remove_tree(path, io)
        os.close(handle)


@contextmanager
def open_folder(path: Path) -> Iterator[int]:
    """Open a folder, which must not be a link."""
    handle = os.open(path, _FOLDER_FLAGS)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the exclusive lock of ``file``; waits for it."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def readable_errors(
    place: Path, what: str, *, other: str = "choose another folder"
) -> Iterator[None]:
    """Turn what the system refuses into a StoreError that names the place.

    ``other`` says what to do when it cannot be had there.
    """
    try:
        yield
    except ModelpackError:
        raise
    except OSError as cause:
        if cause.errno in _NO_SPACE:
            raise StoreError(
                f"no space left in '{place}' to {what}",
                hint=f"nothing was written; make room, or {other}",
            ) from cause
        subject = f" '{cause.filename}'" if cause.filename else ""
        raise StoreError(
            f"cannot {what} in '{place}': {cause.strerror or cause}{subject}",
            hint=f"see whether the folder is there and can be written, or {other}",
        ) from cause


def _make_held_folder(parent: Path, io: Io) -> tuple[Path, int]:
    while True:
        path = parent / secrets.token_hex(8)
        io.make_folder(path)
        # Until it is locked another writer may take it for a dead one's and remove it.
        with suppress(FileNotFoundError):
            handle = os.open(path, _FOLDER_FLAGS)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                if os.path.samestat(path.stat(), os.fstat(handle)):
                    return path, handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)


def held_by_nobody(parent: Path) -> Iterator[Path]:
    """Give the staging folders of dead writers, each while this process holds its lock."""
    for path in parent.iterdir():
        try:
            handle = os.open(path, _FOLDER_FLAGS)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            yield path
        finally:
            os.close(handle)


def _remove_dead(parent: Path, io: Io) -> bool:
    found = False
    for path in held_by_nobody(parent):
        _remove_tree(path, io)
        found = True
    return found


def _remove_tree(path: Path, io: Io) -> None:
    """Remove a staging folder as far as it can be; what is left, the next writer tries again."""
    try:
        with open_folder(path) as folder:
            for name in os.listdir(folder):  # noqa: PTH208 - by handle, never through a link
                io.unlink(name, folder)
        io.remove_folder(path)
    except OSError:
        shutil.rmtree(path, ignore_errors=True)
