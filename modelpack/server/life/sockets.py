"""A Unix socket that only its owner may open.

    private_socket(path) ──► listening, mode 0600, in a folder that nobody else can write to
                         ──► removed at the end, if it still is the same one

A path may be longer than the 107 bytes that the kernel takes for one: it is reached through a handle
of its folder.  A socket that a dead server left is replaced; one that answers is somebody's.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelpack.errors import ConflictError, RefusedError, UsageError

BACKLOG = 16
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@contextmanager
def private_socket(path: Path) -> Iterator[socket.socket]:
    """Listen on a new Unix socket at the path.

    Raises UsageError (no such folder, or no place for a socket), RefusedError (others could replace
    the socket) and ConflictError (a server listens there).
    """
    check_folder(path.parent)
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            with short_path(path) as short:
                listener.bind(short)
        except OSError as cause:
            raise UsageError(
                f"cannot listen on '{path}': {(cause.strerror or 'failed').lower()}",
                hint="choose another path for the admin socket",
            ) from cause
        finally:
            os.umask(before)
        made = path.lstat()
        listener.listen(BACKLOG)
        listener.setblocking(False)
        yield listener
        with suppress(OSError):
            if os.path.samestat(made, path.lstat()):
                path.unlink()
    finally:
        listener.close()


def check_folder(folder: Path) -> None:
    """Raise when somebody else than this user and root could put another file in its place."""
    try:
        facts = folder.stat()
    except OSError as cause:
        raise UsageError(f"no folder '{folder}' for the socket", hint="make it first") from cause
    is_shared = facts.st_mode & _OTHERS_WRITE and not facts.st_mode & stat.S_ISVTX
    if facts.st_uid not in (0, os.geteuid()) or is_shared:
        raise RefusedError(
            f"others may write to '{folder}', where the socket would be",
            hint="choose a folder of your own, such as $XDG_RUNTIME_DIR",
        )


def connect(path: Path, timeout_s: float | None = None) -> socket.socket:
    """Return a connection to the socket at the path; raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        with short_path(path) as short:
            connection.connect(short)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Yield a name for the path that is short enough for a socket's address."""
    if not sys.platform.startswith("linux") or len(os.fsencode(path)) < 100:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _clear(path: Path) -> None:
    """Remove a socket that nobody listens on any more."""
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(facts.st_mode):
        raise UsageError(f"'{path}' is there and is no socket", hint="choose another path")
    try:
        connect(path, timeout_s=1.0).close()
    except OSError:
        path.unlink(missing_ok=True)
    else:
        raise ConflictError(f"a server listens on '{path}'", hint="choose another path")
