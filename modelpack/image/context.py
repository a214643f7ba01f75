"""What a builder is given: the Dockerfile and the files that it copies.

    plan ──► Dockerfile
    store ─► requirements.lock, bundle.json, models/…, code/…, doc/…   ──► a folder, or a tar stream
    runtime wheel

Files come straight out of the store's blobs, whose digests are checked while they are read: a
damaged bundle ends the build.  Memory is constant, nothing is unpacked twice, and the same plan
gives the same bytes.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelpack.archive.runtime_wheel import wheel_bytes
from modelpack.errors import BuildError, ConflictError, RefusedError
from modelpack.image.dockerfile import NO_MOUNTS, Mounts, render_dockerfile
from modelpack.image.plan import ImagePlan
from modelpack.manifest import BUNDLE_FILE, LOCK_FILE
from modelpack.store import Store
from modelpack.store.base import TOP
from modelpack.store.names import PathGuard, shown
from modelpack.store.tar import BLOCK, FILE_MODE, FOLDER_MODE, header, padding
from modelpack.store.untar import read_tar

DOCKERFILE = "Dockerfile"
# Anything else of a bundle could take the place of a file of ours, such as the Dockerfile.
_BUNDLE_PARTS = ("models", "code", "doc", "wheels", BUNDLE_FILE, LOCK_FILE)


@dataclass(frozen=True, slots=True)
class ContextFile:
    """A file or folder of a context; its ``chunks`` are read once, before the next file."""

    path: str
    mode: int
    size: int
    chunks: Iterator[bytes]
    is_folder: bool = False


def write_context(plan: ImagePlan, store: Store, folder: Path, mounts: Mounts = NO_MOUNTS) -> Path:
    """Write the context as a new folder, which appears whole or not at all; return its path.

    ``docker build FOLDER`` makes the image, with whatever builder unless there are ``mounts``.  Raises ConflictError when something stands there,
    DigestMismatchError when the bundle is damaged.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConflictError(
            f"'{folder}' is not an empty folder", hint="name a new folder, or remove that one"
        )
    fresh = folder.parent / f".{folder.name}-{secrets.token_hex(8)}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh.mkdir(mode=0o700)
        for file in context_files(plan, store, mounts):
            _write(file, fresh)
        fresh.chmod(FOLDER_MODE)
        fresh.rename(folder)
    except OSError as cause:
        raise BuildError(
            f"cannot write the context '{folder}': {cause.strerror}",
            hint="check the space and the rights of that place",
        ) from cause
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def stream_context(plan: ImagePlan, store: Store, mounts: Mounts = NO_MOUNTS) -> Iterator[bytes]:
    """Give the context as the bytes of a tar, for an engine."""
    for file in context_files(plan, store, mounts):
        name = f"{file.path}/" if file.is_folder else file.path
        yield header(name, file.mode, file.size, b"5" if file.is_folder else b"0")
        yield from file.chunks
        yield padding(file.size)
    yield bytes(2 * BLOCK)


def context_files(
    plan: ImagePlan, store: Store, mounts: Mounts = NO_MOUNTS
) -> Iterator[ContextFile]:
    """Give the files of a context, folders before what is in them, each folder once."""
    yield _of_bytes(DOCKERFILE, render_dockerfile(plan, mounts).encode())
    if plan.program is None:
        yield _of_bytes(plan.runtime_wheel, wheel_bytes())
    yield from _bundle_files(plan, store)


def _bundle_files(plan: ImagePlan, store: Store) -> Iterator[ContextFile]:
    what = f"'{plan.entry.tag}'"
    guard = PathGuard(what, top=TOP)
    folders: set[str] = set()
    for layer in plan.entry.layers:
        with store.naming_damage(plan.entry), store.open_blob(layer.digest) as blob:
            for found, content in read_tar(blob, f"'{layer.path}' in {what}"):
                guard.add(found.path, is_folder=found.is_folder)
                parts = found.path.split("/")[1:]
                if parts and parts[0] not in _BUNDLE_PARTS:
                    raise RefusedError(
                        f"{what} holds '{shown(found.path)}', which no bundle has",
                        hint="build it again, or get it again from who made it",
                    )
                for folder in _prefixes(parts if found.is_folder else parts[:-1]):
                    if folder not in folders:
                        folders.add(folder)
                        yield ContextFile(folder, FOLDER_MODE, 0, iter(()), is_folder=True)
                if not found.is_folder:
                    path = "/".join(parts)
                    yield ContextFile(path, found.mode, found.size, content.chunks())


def _prefixes(parts: list[str]) -> list[str]:
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _write(file: ContextFile, top: Path) -> None:
    target = top / file.path
    if file.is_folder:
        target.mkdir()
        target.chmod(file.mode)
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(target, flags, 0o600), "wb") as out:
        for chunk in file.chunks:
            out.write(chunk)
        os.fchmod(out.fileno(), file.mode)


def _of_bytes(path: str, data: bytes) -> ContextFile:
    return ContextFile(path, FILE_MODE, len(data), iter((data,)))
