"""The calls by which the store changes what is on the disk, and no others.

A store is given an ``Io``; tests give it one that kills the process at the n-th call, or in the
middle of a write, so that every moment at which a writer can die is tried.
"""

from __future__ import annotations

import os
from pathlib import Path

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Io:
    """The real calls; folders are open handles, names have no slash."""

    def make_folder(self, path: Path) -> None:
        """Make a private folder; raises FileExistsError."""
        os.mkdir(path, 0o700)  # noqa: PTH102 - one call of the system, as all here

    def create(self, name: str, folder: int) -> int:
        """Make a private file and return its handle; raises FileExistsError."""
        return os.open(name, _NEW_FILE, 0o600, dir_fd=folder)

    def write(self, handle: int, data: bytes | memoryview) -> int:
        """Write some of ``data`` and return how many bytes."""
        return os.write(handle, data)

    def seal(self, handle: int) -> None:
        """Make a file read-only for everybody."""
        os.fchmod(handle, 0o444)

    def sync(self, handle: int) -> None:
        """Bring a file or folder to the disk."""
        os.fsync(handle)

    def rename(self, name: str, folder: int, new_name: str, new_folder: int) -> None:
        """Move a file, over what is there."""
        os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=new_folder)

    def link(self, name: str, folder: int, new_folder: int) -> None:
        """Give a file the same name in another folder as well; raises OSError."""
        os.link(name, name, src_dir_fd=folder, dst_dir_fd=new_folder, follow_symlinks=False)

    def unlink(self, name: str, folder: int) -> None:
        """Remove a file; raises FileNotFoundError."""
        os.unlink(name, dir_fd=folder)

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder."""
        os.rmdir(path)  # noqa: PTH106


REAL = Io()
