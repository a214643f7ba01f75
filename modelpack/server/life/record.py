"""The note that a running server leaves for ``modelpack servers``.

    $MODELPACK_HOME/run/PID.json   process, service, tag, addresses, admin socket; mode 0600
    $MODELPACK_HOME/run/PID.sock   the admin socket, unless it is somewhere else

A process id is given to another process later: together with the tick at which the process started
and the id of the boot it is a name, so a note that a killed server left is known to be stale.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Where the note lies, and the admin socket that it names."""

    file: Path
    socket: Path

    @classmethod
    def at(cls, file: Path) -> RunRecord:
        """Return the note in a file, whose admin socket lies beside it."""
        return cls(file, file.with_suffix(".sock"))

    def write(self, **facts: object) -> None:
        """Leave the note, whole; raises OSError."""
        value = {**_own_identity(), "socket": str(self.socket), **facts}
        staged = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(staged, flags, 0o600), "wb") as stream:
            stream.write(orjson.dumps(value))
        staged.replace(self.file)

    def remove(self) -> None:
        """Take the note away."""
        self.file.unlink(missing_ok=True)


def _own_identity() -> dict[str, Any]:
    """Return what names this process for sure."""
    try:
        # The second field is the program's name in brackets and may hold anything.
        stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return {"pid": os.getpid(), "started": 0, "boot": ""}
    return {"pid": os.getpid(), "started": int(stat[19]), "boot": boot}
