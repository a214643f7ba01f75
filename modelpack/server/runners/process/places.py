"""Where the sockets of runners are: in a folder of this user alone.

private_folder()    a new one, 0700; those of processes that are gone are removed
address_of(path)    what bind and connect take, however long the path is
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "modelpack-runners-"
_MOST_BYTES = 100  # of the 108 that the kernel has, and a name may be made longer


def private_folder() -> Path:
    """Make a folder for this process's runners; raises OSError when there is no place for one."""
    # A read-only container has no writable /tmp, but memory.
    candidates = (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/dev/shm")  # noqa: S108
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


@contextmanager
def address_of(path: Path) -> Iterator[str]:
    """Return the address of the socket at ``path``, for the length of the block."""
    if len(os.fsencode(path)) <= _MOST_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
