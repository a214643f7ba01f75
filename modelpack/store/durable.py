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
import hashlib
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
from modelpack.store.tar import CHUNK, Sink

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
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


class _HashingSink:
    """Hashes and counts what it hands on."""

    def __init__(self, out: Sink) -> None:
        self._out = out
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._out.write(data)
        self._digest.update(data)
        self.size += len(data)

    @property
    def blob(self) -> Blob:
        return Blob(f"sha256:{self._digest.hexdigest()}", self.size)


class Staging:
    """A private folder in the store in which an entry is made ready."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.blobs: dict[str, Blob] = {}
        """What is ready to be published, by digest."""

    def write(self, fill: Callable[[Sink], object], *, expected: str | None = None) -> Blob:
        """Write one blob durably and return its digest and size.

        Raises DigestMismatchError when it is not the ``expected`` one.
        """
        name = f"new-{secrets.token_hex(8)}"
        with os.fdopen(os.open(name, _NEW_FILE_FLAGS, 0o600, dir_fd=self._handle), "wb") as out:
            sink = _HashingSink(out)
            fill(sink)
            out.flush()
            os.fchmod(out.fileno(), 0o444)
            os.fsync(out.fileno())
        blob = sink.blob
        if expected is not None and blob.digest != expected:
            raise DigestMismatchError(
                f"digest mismatch: '{expected}' has other bytes ('{blob.digest}')",
                hint="nothing of it was used; get it again from who made it",
            )
        os.rename(name, blob.hex, src_dir_fd=self._handle, dst_dir_fd=self._handle)
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
            os.link(
                blob.hex,
                blob.hex,
                src_dir_fd=blobs,
                dst_dir_fd=self._handle,
                follow_symlinks=False,
            )
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

    def publish(self, blobs: int) -> None:
        """Move every blob into the open folder ``blobs``; the caller holds the store's lock."""
        for blob in self.blobs.values():
            os.rename(blob.hex, blob.hex, src_dir_fd=self._handle, dst_dir_fd=blobs)
        os.fsync(blobs)

    def replace_file(self, folder: int, name: str, data: bytes) -> None:
        """Put a small file in place of the one in the open ``folder``; under the store's lock."""
        with os.fdopen(os.open(name, _NEW_FILE_FLAGS, 0o600, dir_fd=self._handle), "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.rename(name, name, src_dir_fd=self._handle, dst_dir_fd=folder)
        os.fsync(folder)


@contextmanager
def open_staging(parent: Path) -> Iterator[tuple[Staging, bool]]:
    """Make a staging folder below ``parent``; it is gone when the block ends, however it ends.

    Also removes those of dead writers, and says whether there were any.
    """
    found_dead = _remove_dead(parent)
    path, handle = _make_held_folder(parent)
    try:
        yield Staging(handle), found_dead
    finally:
        shutil.rmtree(path, ignore_errors=True)
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


def _make_held_folder(parent: Path) -> tuple[Path, int]:
    while True:
        path = parent / secrets.token_hex(8)
        path.mkdir(mode=0o700)
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


def _remove_dead(parent: Path) -> bool:
    found = False
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
            shutil.rmtree(path, ignore_errors=True)
            found = True
        finally:
            os.close(handle)
    return found
