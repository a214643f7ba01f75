"""Where a run writes: a folder, or a prefix of a bucket.  Small files, each there whole or not at all.

LocalPlace   NAME.tmp ──fsync──► rename ──fsync folder──► NAME
RemotePlace  one PutObject, which is whole or nothing by itself

finish(target, chunks)   a file of any length, whole or not at all
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from modelpack.errors import ConflictError, ModelpackError, NotFoundError
from modelpack.offline.objects import Objects, is_object

CHUNK = 1 << 20

_LOCK = "lock"
_OWNER = "owner"


class Place(Protocol):
    """Holds the parts and the records of one run."""

    name: str

    def names(self) -> list[str]:
        """Return what is there, in order; nothing when the place is not there."""

    def read(self, name: str) -> bytes:
        """Return a file; raises NotFoundError."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a file piece by piece; raises NotFoundError."""

    def write(self, name: str, data: bytes, *, is_new: bool = False) -> None:
        """Write a file so that it is there whole or not at all, whatever happens.

        ``is_new``: nobody else can have written it; raises ConflictError when somebody has.
        """

    def remove(self, names: list[str]) -> None:
        """Remove files; one that is not there is as good."""

    def clear(self) -> None:
        """Remove it with all that is in it."""

    def below(self, name: str) -> Place:
        """Return a place inside of this one."""

    def hold(self) -> Any:
        """Return a context in which no other run writes here, with ``check``; raises ConflictError."""


class LocalPlace:
    """A folder; it is made by the first file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = str(folder)

    def names(self) -> list[str]:
        """See ``Place``; files that were not finished are none."""
        if not self.folder.is_dir():
            return []
        return sorted(
            path.name
            for path in self.folder.iterdir()
            if path.is_file() and not path.name.endswith(".tmp") and path.name != _LOCK
        )

    def read(self, name: str) -> bytes:
        """See ``Place``."""
        return b"".join(self.chunks(name))

    def chunks(self, name: str) -> Iterator[bytes]:
        """See ``Place``."""
        try:
            with (self.folder / name).open("rb") as file:
                while data := file.read(CHUNK):
                    yield data
        except FileNotFoundError as cause:
            raise NotFoundError(f"there is no '{self.folder / name}'") from cause

    def write(self, name: str, data: bytes, *, is_new: bool = False) -> None:  # noqa: ARG002
        """See ``Place``; the lock keeps others away."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / name, iter([data]))

    def remove(self, names: list[str]) -> None:
        """See ``Place``."""
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def clear(self) -> None:
        """See ``Place``."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.is_file():
                    path.unlink(missing_ok=True)
            with suppress(OSError):
                self.folder.rmdir()

    def below(self, name: str) -> LocalPlace:
        """See ``Place``."""
        return LocalPlace(self.folder / name)

    @contextmanager
    def hold(self) -> Iterator[Callable[[], None]]:
        """See ``Place``: a lock that ends with the process, however that ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as cause:
                raise ConflictError(
                    f"another run writes to '{self.name}'", hint="wait for it, or stop it"
                ) from cause
            yield lambda: None
        finally:
            os.close(handle)


class RemotePlace:
    """A prefix of a bucket.

    Nobody can hold one, so the last run to begin owns it: the one before sees that, and stops.  Should
    both write before it does, parts and records are only made, never replaced: one of them fails.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects.at(objects.key.rstrip("/") + "/")
        self.name = self._objects.url

    def names(self) -> list[str]:
        """See ``Place``."""
        start = len(self._objects.key)
        found = (one.key[start:] for one in self._objects.listed())
        return sorted(name for name in found if name and "/" not in name and name != _OWNER)

    def read(self, name: str) -> bytes:
        """See ``Place``."""
        return self._at(name).read()

    def chunks(self, name: str) -> Iterator[bytes]:
        """See ``Place``."""
        with self._at(name).open() as file:
            while data := file.read(CHUNK):
                yield data

    def write(self, name: str, data: bytes, *, is_new: bool = False) -> None:
        """See ``Place``."""
        try:
            self._at(name).put(data, is_new=is_new)
        except ConflictError as cause:
            raise ConflictError(
                f"another run writes to '{self.name}'",
                hint="see that it has ended, and give the same command again",
            ) from cause

    def remove(self, names: list[str]) -> None:
        """See ``Place``."""
        for name in names:
            self._at(name).delete()

    def clear(self) -> None:
        """See ``Place``."""
        self.remove([*self.names(), _OWNER])

    def below(self, name: str) -> RemotePlace:
        """See ``Place``."""
        return RemotePlace(self._at(name))

    @contextmanager
    def hold(self) -> Iterator[Callable[[], None]]:
        """See ``Place``."""
        own = secrets.token_hex(16).encode()
        self._at(_OWNER).put(own)

        def check() -> None:
            try:
                owner = self._at(_OWNER).read()
            except NotFoundError:
                owner = b""
            if owner != own:
                raise ConflictError(f"another run has taken over '{self.name}'")

        yield check

    def _at(self, name: str) -> Objects:
        return self._objects.at(self._objects.key + name)


def place_at(text: str) -> Place:
    """Return the place at a path or a URL of a bucket."""
    return RemotePlace(Objects(text)) if is_object(text) else LocalPlace(Path(text))


def finish(target: str, chunks: Iterator[bytes]) -> None:
    """Write a file of any length at a path or a URL, whole or not at all."""
    if is_object(target):
        Objects(target).put_chunks(chunks)
        return
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, chunks)


def exists(target: str) -> bool:
    """Say whether there is a file, or an object."""
    if not is_object(target):
        return Path(target).exists()
    try:
        Objects(target).head()
    except NotFoundError:
        return False
    return True


def remove(target: str) -> None:
    """Remove a file, or an object."""
    if is_object(target):
        Objects(target).delete()
    else:
        Path(target).unlink(missing_ok=True)


def write_whole(path: Path, chunks: Iterator[bytes]) -> None:
    """Write a file next to where it belongs, and put it there when every byte is on the disk."""
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        with unfinished.open("wb") as file:
            for data in chunks:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (OSError, ModelpackError):
        unfinished.unlink(missing_ok=True)
        raise
