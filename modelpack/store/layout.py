"""The OCI image layout on disk: its index, its blobs, and who may change them.

    store/
      oci-layout  index.json        which tags there are, oldest first
      blobs/sha256/HEX              written once, read-only
      .lock                         held while the index changes
      .staging/RANDOM/              what writers make ready (see ``durable``)

Reading takes no lock: the index changes by rename, and an opened blob stays readable to its end.
After a writer died in the middle, the next one removes what it left.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from modelpack.errors import DigestMismatchError, NotFoundError, StoreError
from modelpack.manifest import canonical_json
from modelpack.store import documents, trash
from modelpack.store.base import INDEX_TYPE, MANIFEST_TYPE, Descriptor
from modelpack.store.durable import (
    DIGEST,
    Blob,
    Staging,
    blob_name,
    held_by_nobody,
    locked,
    open_folder,
    open_staging,
    readable_errors,
)
from modelpack.store.hashing import StreamHash
from modelpack.store.system import REAL, Io
from modelpack.store.tar import CHUNK, Sink

_MAX_INDEX_BYTES = 256 * 1024 * 1024

STAGING = ".staging"
INCOMING = ".incoming"
"""Where ``receive`` keeps what comes from a registry until it is whole."""

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Change:
    """A change of the index under the lock; nothing happens when the block raises."""

    descriptors: list[Descriptor]
    """What the index lists; edit it in place."""
    unused: set[str]
    """Digests of blobs to remove if nothing refers to them afterwards."""
    freed_bytes: int = 0
    """Bytes of the blobs that were removed, once the block has ended."""


class Layout:
    """A folder in the form of the OCI image layout; made on the first write."""

    def __init__(self, root: Path, *, io: Io = REAL, now: Clock = utc_now) -> None:
        self.root = root
        self.now = now
        self._io = io
        self._blobs = root / "blobs" / "sha256"

    def descriptors(self) -> list[Descriptor]:
        """Return what the index lists, oldest first; raises StoreError."""
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(self.root / "index.json", flags), "rb") as file:
                data = file.read(_MAX_INDEX_BYTES + 1)
        except FileNotFoundError:
            return []
        except OSError as cause:
            raise StoreError(f"cannot read the store in '{self.root}': {cause.strerror}") from cause
        found = documents.read_json(data, f"the index of the store in '{self.root}'")
        entries = found.get("manifests")
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise StoreError(f"the index of the store in '{self.root}' lists no manifests")
        return entries

    def open_blob(self, digest: str) -> BinaryIO:
        """Open a blob; reading it to its end raises DigestMismatchError if it is not its digest's.

        Raises NotFoundError when it is not there.
        """
        return io.BufferedReader(_Verified(self._open(digest), digest), CHUNK)

    def blob_size(self, digest: str) -> int:
        """Return how many bytes a blob has; raises NotFoundError when it is not there."""
        handle = self._open(digest)
        try:
            return os.fstat(handle).st_size
        finally:
            os.close(handle)

    def read_document(self, digest: str) -> bytes:
        """Return a small blob, checked; raises NotFoundError, DigestMismatchError, StoreError."""
        with self.open_blob(digest) as blob:
            data = blob.read(documents.MAX_DOCUMENT_BYTES + 1)
        if len(data) > documents.MAX_DOCUMENT_BYTES:
            raise StoreError(f"'{digest}' is too long for a manifest")
        return data

    @contextmanager
    def stage(self) -> Iterator[Staging]:
        """Give a staging folder for a new entry, and clear up after dead writers."""
        with readable_errors(self.root, "write", other="set MODELPACK_HOME to another"):
            self._make()
            with open_staging(self.root / STAGING, self._io) as (staging, found_dead):
                if found_dead:
                    self._remove_orphans()
                yield staging

    @contextmanager
    def change(self, staging: Staging) -> Iterator[Change]:
        """Publish the staged blobs and change the index, all or nothing."""
        with locked(self.root / ".lock"), open_folder(self._blobs) as blobs:
            before = self.descriptors()
            change = Change(list(before), set())
            yield change
            for digest in trash.drop_expired(change.descriptors, self.now()):
                change.unused |= self.references(digest)
            if staging.blobs:
                staging.publish(blobs)
            if change.descriptors != before:
                self._write_index(staging, change.descriptors)
            if change.unused:
                change.freed_bytes = self._remove(blobs, change.unused, change.descriptors)

    def pin(self, staging: Staging, parts: Iterable[Blob]) -> None:
        """Keep blobs that are here for the entry in ``staging``; raises NotFoundError."""
        with open_folder(self._blobs) as blobs:
            for blob in parts:
                try:
                    staging.pin(blobs, blob)
                except FileNotFoundError as cause:
                    raise _missing(blob.digest) from cause

    def holds(self, digest: str, fill: Callable[[Sink], object]) -> bool:
        """Say whether a stored blob is whole and has, byte for byte, what ``fill`` writes."""
        try:
            with self.open_blob(digest) as blob:
                fill(_Comparing(blob))
                return not blob.read(1)
        except (_DifferentError, NotFoundError, DigestMismatchError):
            return False

    def references(self, digest: str) -> set[str]:
        """Return a manifest's digest and those below it, as far as it can be read."""
        descriptor = {"mediaType": MANIFEST_TYPE, "digest": digest}
        return self._references(descriptor) or {digest}

    def is_readable(self, descriptor: Descriptor) -> bool:
        """Say whether it is known which blobs a descriptor leads to."""
        return self._references(descriptor) is not None

    def blob_sizes(self) -> dict[str, int]:
        """Return every blob on the disk and its bytes."""
        sizes = {}
        with suppress(FileNotFoundError), os.scandir(self._blobs) as found:
            for one in found:
                digest = f"sha256:{one.name}"
                if DIGEST.fullmatch(digest):
                    with suppress(FileNotFoundError):
                        sizes[digest] = one.stat(follow_symlinks=False).st_size
        return sizes

    def litter(self, folder: str = STAGING) -> list[tuple[str, int]]:
        """Return the folders of dead writers there, and the bytes that only they hold."""
        with suppress(FileNotFoundError):
            return [(path.name, _own_bytes(path)) for path in held_by_nobody(self.root / folder)]
        return []

    def remove_incoming(self) -> None:
        """Remove what was broken off on its way in and nobody goes on with right now."""
        with suppress(FileNotFoundError):
            for path in held_by_nobody(self.root / INCOMING):
                shutil.rmtree(path, ignore_errors=True)

    def _open(self, digest: str) -> int:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open_folder(self._blobs) as blobs:
                return os.open(blob_name(digest), flags, dir_fd=blobs)
        except FileNotFoundError as cause:
            raise _missing(digest) from cause
        except OSError as cause:
            raise StoreError(f"cannot read the blob '{digest}': {cause.strerror}") from cause

    def _make(self) -> None:
        for folder in (self._blobs, self.root / STAGING):
            _make_private(folder, self._io)
        if (self.root / "oci-layout").exists() and (self.root / "index.json").exists():
            return
        with (
            open_staging(self.root / STAGING, self._io) as (staging, _),
            locked(self.root / ".lock"),
            open_folder(self.root) as root,
        ):
            if not (self.root / "index.json").exists():
                self._refuse_without_index()
                staging.replace_file(root, "index.json", index_bytes([]))
            if not (self.root / "oci-layout").exists():
                staging.replace_file(root, "oci-layout", documents.LAYOUT)

    def _refuse_without_index(self) -> None:
        """Raise StoreError when there are blobs: an empty index would make them all garbage."""
        if any(self._blobs.iterdir()):
            raise StoreError(
                f"the store in '{self.root}' has blobs but no 'index.json'",
                hint="bring that file back, or move the folder away to begin anew",
            )

    def _write_index(self, staging: Staging, entries: list[Descriptor]) -> None:
        with open_folder(self.root) as root:
            staging.replace_file(root, "index.json", index_bytes(entries))

    def _remove_orphans(self) -> None:
        """Remove the blobs that a writer published before it died without its index."""
        with locked(self.root / ".lock"), open_folder(self._blobs) as blobs:
            self._remove(blobs, set(self.blob_sizes()), self.descriptors())

    def _remove(self, blobs: int, unused: set[str], entries: list[Descriptor]) -> int:
        used: set[str] = set()
        for entry in entries:
            if (parts := self._references(entry)) is None:
                return 0  # what a damaged entry still needs is not known: keep everything
            used |= parts
        freed = 0
        for digest in unused - used:
            name = blob_name(digest)
            try:
                size = os.stat(name, dir_fd=blobs, follow_symlinks=False).st_size
                self._io.unlink(name, blobs)
            except FileNotFoundError:
                continue
            freed += size
        return freed

    def _references(self, entry: Descriptor) -> set[str] | None:
        """Return the digests below a descriptor, also those of other tools; None if unreadable."""
        digest = str(entry.get("digest"))
        found = {digest}
        if entry.get("mediaType") not in (MANIFEST_TYPE, INDEX_TYPE):
            return found
        try:
            value = documents.read_json(self.read_document(digest), "a manifest")
        except (DigestMismatchError, NotFoundError, StoreError):
            return None
        for part in (value.get("config"), *value.get("layers", ()), *value.get("manifests", ())):
            if isinstance(part, dict):
                below = self._references(part)
                if below is None:
                    return None
                found |= below
        return found


def index_bytes(entries: list[Descriptor]) -> bytes:
    """Return the index that lists the descriptors."""
    return canonical_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries})


class _Verified(io.RawIOBase):
    """Hashes what is read and refuses the end when the digest is another."""

    def __init__(self, handle: int, digest: str) -> None:
        self._file = io.FileIO(handle, "rb")
        self._digest = digest
        self._hash = StreamHash()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        count = self._file.readinto(buffer) or 0
        if count:
            self._hash.update(bytes(memoryview(buffer)[:count]))
        elif f"sha256:{self._hash.hexdigest()}" != self._digest:
            raise DigestMismatchError(
                f"digest mismatch: the stored blob '{self._digest}' has other bytes",
                hint="the store is damaged: delete what uses it and build or import it again",
            )
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
            self._hash.close()
        super().close()


class _DifferentError(Exception):
    """Other bytes were written than are there."""


class _Comparing:
    """Compares what it is given with what a blob has."""

    def __init__(self, blob: BinaryIO) -> None:
        self._blob = blob

    def write(self, data: bytes) -> None:
        if self._blob.read(len(data)) != data:
            raise _DifferentError


def _missing(digest: str) -> NotFoundError:
    return NotFoundError(
        f"the blob '{digest}' is not in the store",
        hint="it was deleted in the meantime, or the store is damaged: build or import it again",
    )


def _own_bytes(folder: Path) -> int:
    """Return the bytes of files that have no other name, as pinned blobs have."""
    with os.scandir(folder) as found:
        facts = [one.stat(follow_symlinks=False) for one in found]
    return sum(fact.st_size for fact in facts if fact.st_nlink == 1)


def _make_private(folder: Path, io: Io) -> None:
    """Make a folder and its parents with mode 0700, whatever the umask is."""
    if folder.is_dir():
        return
    if not folder.parent.is_dir():
        _make_private(folder.parent, io)
    with suppress(FileExistsError):
        io.make_folder(folder)
    folder.chmod(0o700)
