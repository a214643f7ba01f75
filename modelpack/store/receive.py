"""Takes in what comes from outside, byte by byte, and shows it whole or not at all.

    chunks ──fetch──► .incoming/HEX/NAME.part ──digest──► .incoming/HEX/NAME
    manifest, referrers ──put──┘                                 │ all of them linked into a
                                                                 ▼ store of their own
                    index.json ◄──publish── staging ◄── verified, checked ── view

What always holds:

* nothing of it can be seen before every byte was read and fits: blobs, documents, the files in
  the layers and what the records say of them;
* blobs that the store has already are not fetched again, after they were read and found whole;
* what a broken connection or a killed process leaves is gone on with by the next attempt, for a
  week; what was refused is removed at once;
* two processes that take in the same thing wait for each other.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from modelpack.errors import (
    ConflictError,
    DigestMismatchError,
    ModelpackError,
    NotFoundError,
    RefusedError,
)
from modelpack.store import documents, entries, index
from modelpack.store.base import Entry
from modelpack.store.documents import Manifest
from modelpack.store.durable import Blob, Staging, blob_name, readable_errors
from modelpack.store.entries import Added
from modelpack.store.layout import Layout
from modelpack.store.referrers import Referrer, read_referrer
from modelpack.store.store import Store
from modelpack.store.tar import CHUNK
from modelpack.tag import Tag

FOLDER = ".incoming"
KEPT_S = 7 * 24 * 3600
"""How long the start of something that was broken off is kept."""

_HINT = "nothing was stored; get it again from who made it"
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

Check = Callable[[Store, Entry], None]
"""Looks at an entry that nobody else sees yet, in a store of its own; raises to refuse it."""


@dataclass(slots=True)
class Receiving:
    """One entry on its way in; ``fetch`` and ``has`` may be called from several threads."""

    store: Store
    what: str
    """For messages: where it comes from."""
    _folder: int
    _path: Path
    _had: set[str] = field(default_factory=set)
    """Blobs of the store that were read and are whole."""
    _here: dict[str, Blob] = field(default_factory=dict)

    def has(self, blob: Blob) -> bool:
        """Say whether the blob need not be fetched: here from before, or in the store, and whole."""
        if blob.digest in self._here:
            return True
        stored = self.store.root / "blobs" / "sha256" / blob.hex
        if _is_whole(stored, None, blob):
            self._had.add(blob.digest)
        elif not _is_whole(Path(blob.hex), self._folder, blob):
            return False
        self._here[blob.digest] = blob
        return True

    def put(self, data: bytes) -> Blob:
        """Keep a document; returns its digest and size."""
        blob = Blob(f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))
        self.fetch(blob, lambda offset: iter([data[offset:]]))
        return blob

    def fetch(self, blob: Blob, chunks: Callable[[int], Iterator[bytes]]) -> int:
        """Bring a blob here and return from which byte on it was asked for.

        ``chunks(offset)`` gives its bytes from there.  Raises DigestMismatchError when they are not
        those of the digest; what they began with is not used again.
        """
        with readable_errors(self._path, "write", other="set MODELPACK_HOME to another"):
            start = self._append(blob, chunks)
            if start is None:  # what was left of an earlier attempt did not fit
                start = self._append(blob, chunks)
        if start is None:
            raise DigestMismatchError(
                f"digest mismatch: {self.what} gave other bytes for '{blob.digest}'", hint=_HINT
            )
        self._here[blob.digest] = blob
        return start

    def accept(
        self, top: Blob, check: Check | None = None, referrers: Sequence[Blob] = ()
    ) -> Added:
        """Verify what is here and put it into the store, visible in one step.

        ``top`` and ``referrers`` are manifests that were ``put``.  Raises RefusedError or
        DigestMismatchError for what does not fit, ConflictError when its version has other content
        in the store, and whatever ``check`` raises.
        """
        manifest, tag = self.read_entry(top)
        statements = [self._read_referrer(blob, top) for blob in referrers]
        blobs = [top, *manifest.blobs, *(part for one in statements for part in one.blobs)]

        def publish(layout: Layout) -> Added:
            with layout.stage() as staging:
                self._pin(staging, blobs)
                now = index.timestamp(None)
                kind = manifest.kind
                return entries.publish(
                    layout,
                    staging,
                    kind,
                    tag,
                    top,
                    created=now,
                    referrers=statements,
                    renew=False,
                )

        view = Store(self._path / "view")
        shutil.rmtree(view.root, ignore_errors=True)
        try:
            seen = publish(Layout(view.root)).entry
            try:
                view.verify(seen)
            except ModelpackError as cause:
                raise _refused(cause, f"{self.what} cannot be taken in") from cause
            if check is not None:
                check(view, seen)
        finally:
            shutil.rmtree(view.root, ignore_errors=True)
        return publish(Layout(self.store.root))

    def read_entry(self, top: Blob) -> tuple[Manifest, Tag]:
        """Return what a manifest and its config say, as far as they are here.

        Raises RefusedError when it is not the manifest of a model or bundle.
        """
        try:
            manifest = documents.read_manifest(self._document(top), self.what)
            config = self._document(manifest.config)
            tag, digests = documents.read_config(config, f"the config of {self.what}")
        except ModelpackError as cause:
            raise _refused(cause, cause.message) from cause
        if digests != [layer.digest for layer in manifest.layers]:
            raise RefusedError(
                f"the config and the manifest of {self.what} name different layers", hint=_HINT
            )
        return manifest, tag

    def known(self, manifest: Manifest, tag: Tag, top: Blob) -> bool:
        """Say whether the store has this very entry; raises ConflictError when it has another."""
        listed = index.by_ref(Layout(self.store.root).descriptors(), manifest.kind, tag)
        if listed is None:
            return False
        if index.is_alias(listed):
            raise entries.conflict(tag, "it is an extra tag of another one")
        if listed.get("digest") != top.digest:
            raise ConflictError(
                f"'{tag}' already exists with other content",
                hint=f"'{self.what.strip(chr(39))}' is another build of that version; "
                "delete the one here first",
            )
        return True

    def _pin(self, staging: Staging, blobs: Sequence[Blob]) -> None:
        stored = self.store.root / "blobs" / "sha256"
        kept = os.open(stored, _FOLDER_FLAGS)
        try:
            for blob in dict.fromkeys(blobs):
                if self._here.get(blob.digest) != blob:
                    raise RefusedError(
                        f"the blob '{blob.digest}' of {self.what} is missing, or has another size",
                        hint=_HINT,
                    )
                try:
                    staging.pin(kept if blob.digest in self._had else self._folder, blob)
                except FileNotFoundError as cause:
                    raise NotFoundError(
                        f"the blob '{blob.digest}' was deleted in the meantime", hint="run it again"
                    ) from cause
        finally:
            os.close(kept)

    def _read_referrer(self, blob: Blob, top: Blob) -> Referrer:
        try:
            found = read_referrer(self._document(blob), f"a statement about {self.what}")
        except ModelpackError as cause:
            raise _refused(cause, cause.message) from cause
        if found.subject != top:
            raise RefusedError(f"'{blob.digest}' is not about {self.what}", hint=_HINT)
        return found

    def _document(self, blob: Blob) -> bytes:
        if blob.size > documents.MAX_DOCUMENT_BYTES:
            raise RefusedError(f"'{blob.digest}' is too long for a manifest", hint=_HINT)
        if blob.digest in self._had:
            return Layout(self.store.root).read_document(blob.digest)
        with os.fdopen(os.open(blob.hex, _READ, dir_fd=self._folder), "rb") as file:
            return file.read()

    def _append(self, blob: Blob, chunks: Callable[[int], Iterator[bytes]]) -> int | None:
        """Go on with the part that is there; None when that part does not fit what comes."""
        part = f"{blob.hex}.part"
        handle = os.open(part, _WRITE, 0o600, dir_fd=self._folder)
        with os.fdopen(handle, "r+b", buffering=0) as file:
            digest = hashlib.sha256()
            start = at = 0
            while at <= blob.size and (data := file.read(CHUNK)):
                digest.update(data)
                at = start = at + len(data)
            if start > blob.size:
                os.unlink(part, dir_fd=self._folder)
                return None
            for data in chunks(start) if start < blob.size else ():
                at += len(data)
                if at > blob.size:
                    break
                digest.update(data)
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
            if at == blob.size and f"sha256:{digest.hexdigest()}" == blob.digest:
                os.fchmod(handle, 0o444)
                os.fsync(handle)
                os.rename(part, blob.hex, src_dir_fd=self._folder, dst_dir_fd=self._folder)
                return start
        os.unlink(part, dir_fd=self._folder)
        if start:
            return None
        raise DigestMismatchError(
            f"digest mismatch: {self.what} gave other bytes for '{blob.digest}'", hint=_HINT
        )


@contextmanager
def receive(store: Store, top: Blob, what: str) -> Iterator[Receiving]:
    """Take in the entry with the manifest ``top``; goes on where an earlier attempt ended.

    What is here stays for another attempt when the connection breaks or the process is stopped; it
    is removed when the entry is in, and when it was refused.
    """
    with Layout(store.root).stage():
        pass  # makes the store and clears up after dead writers
    parent = store.root / FOLDER
    with readable_errors(parent, "write", other="set MODELPACK_HOME to another"):
        parent.mkdir(mode=0o700, exist_ok=True)
        _remove_old(parent)
        path = parent / blob_name(top.digest)
        folder = _hold(path)
    is_over = True
    try:
        yield Receiving(store, what, folder, path)
    except (RefusedError, ConflictError):
        raise
    except BaseException:
        is_over = False
        raise
    finally:
        if is_over:
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):
                parent.rmdir()
        os.close(folder)


def _hold(path: Path) -> int:
    """Make the folder if need be and lock it; waits for another process that has it."""
    while True:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            handle = os.open(path, _FOLDER_FLAGS)
            fcntl.flock(handle, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(handle)):
                    return handle
            os.close(handle)


def _remove_old(parent: Path) -> None:
    for path in parent.iterdir():
        with suppress(OSError):
            if time.time() - path.stat().st_mtime < KEPT_S:
                continue
            handle = os.open(path, _FOLDER_FLAGS)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(handle)


def _is_whole(path: Path, folder: int | None, blob: Blob) -> bool:
    try:
        handle = os.open(path, _READ, dir_fd=folder)
    except OSError:
        return False
    with os.fdopen(handle, "rb", buffering=0) as file:
        if os.fstat(handle).st_size != blob.size:
            return False
        digest = hashlib.sha256()
        while data := file.read(CHUNK):
            digest.update(data)
    return f"sha256:{digest.hexdigest()}" == blob.digest


def _refused(cause: ModelpackError, message: str) -> RefusedError:
    kind = type(cause) if isinstance(cause, RefusedError) else RefusedError
    if message != cause.message:
        message = f"{message}: {cause.message}"
    return kind(message, hint=_HINT)
