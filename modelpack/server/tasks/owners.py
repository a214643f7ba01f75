"""Which processes that hold tasks are still there: each keeps a lock as long as it lives.

    open ──► FOLDER/NAME, locked ──┬── the process ends, however it does ──► the kernel lets go of it
                                   └── another one asks: can it be locked? ──► gone

Process ids would not do: containers that share a volume do not see each other's.  A lock is the
kernel's, so that a killed process is noticed at once.  (A child that the service forked by itself may
keep the lock of its parent: then the lease of the tasks decides, as for a process that hangs.)
"""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path


class Owners:
    """The processes that use one store."""

    def __init__(self, folder: Path) -> None:
        """Join them; raises OSError."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        self.name = secrets.token_hex(8)
        """What this process is called."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._lock = os.open(folder / self.name, flags, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def is_gone(self, name: str) -> bool:
        """Say whether a process has ended; one that closed its store has."""
        if name == self.name:
            return False
        try:
            lock = os.open(self._folder / name, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            return isinstance(error, FileNotFoundError)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(lock)
        return True

    def bury(self, name: str) -> None:
        """Forget a process that is gone, its tasks being somebody else's."""
        with suppress(OSError):
            (self._folder / name).unlink()

    def close(self) -> None:
        """Leave them."""
        self.bury(self.name)
        os.close(self._lock)
