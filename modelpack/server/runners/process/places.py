"""Where the sockets of runners are: in a folder of this user alone.

private_folder()    a new one, 0700; those of processes that are gone are removed
address_of(path)    what bind and connect take, however long the path is
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

from modelpack.server.life.sockets import short_path

BACKLOG = 128
_PREFIX = "modelpack-runners-"


def private_folder() -> Path:
    """Make a folder for this process's runners; raises OSError when there is no place for one."""
    # A read-only container has no writable /tmp, but memory.
    candidates = (os.environ.get("XDG_RUNTIME_DIR"), _temporary(), "/dev/shm")  # noqa: S108
    trouble: OSError | None = None
    for base in candidates:
        if not base or not Path(base).is_dir():
            continue
        _sweep(Path(base))
        try:
            return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base))
        except OSError as error:
            trouble = error
    raise trouble or FileNotFoundError("no folder for temporary files")


def _temporary() -> str | None:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:  # every place that it knows is read-only
        return None


def _sweep(base: Path) -> None:
    """Remove what processes left that were killed."""
    for folder in base.glob(f"{_PREFIX}*"):
        found = re.fullmatch(rf"{_PREFIX}(\d+)-\w+", folder.name)
        with suppress(OSError):
            if found and folder.stat().st_uid == os.getuid() and not _lives(int(found[1])):
                shutil.rmtree(folder)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def listen_at(path: Path) -> socket.socket:
    """Return a socket that listens at ``path``, for this user alone; raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(path) as address:
            listener.bind(address)
        path.chmod(0o600)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
