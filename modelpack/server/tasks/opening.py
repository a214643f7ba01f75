"""Finds the store that the settings name.

tasks_store  FILE                  SQLite, below no matter which folder
             redis://HOST:PORT/N   Redis (rediss:// over TLS), with the extra ``redis``
             none                  $MODELPACK_HOME/tasks/SERVICE-PORT.sqlite, or where nothing may
                                   be written there, a folder for temporary files
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from pathlib import Path

from modelpack import paths
from modelpack.config.serving import ServerSettings
from modelpack.errors import TaskStoreError
from modelpack.server.observe.logs import event
from modelpack.server.tasks.record import Limits
from modelpack.server.tasks.store import TaskStore


def open_store(settings: ServerSettings, service: str) -> TaskStore:
    """Open the store for the tasks of a service; raises TaskStoreError, and UsageError (an extra)."""
    limits = Limits(settings.tasks_max, settings.tasks_max_bytes, settings.tasks_retention_s)
    place = settings.tasks_store
    if place is not None and "://" in place:
        from modelpack.server.tasks.redis_store import open_redis

        return open_redis(place, service, limits)
    from modelpack.server.tasks.sqlite import SqliteStore

    file = default_file(service, settings.port) if place is None else Path(place).absolute()
    return SqliteStore(file, service, limits)


def default_file(service: str, port: int) -> Path:
    """Return the file of a server that was told none; its folder is there then.

    Raises TaskStoreError when the folder for temporary files is somebody else's.
    """
    name = re.sub(r"[^A-Za-z0-9._-]", "-", f"{service}-{port}.sqlite")
    folder = paths.home_dir() / "tasks"
    if _may_write(folder):
        return folder / name
    # A container with a read-only root: what is there lasts as long as the container.
    aside = Path(tempfile.gettempdir(), f"modelpack-tasks-{os.getuid()}")
    _check_private(aside)
    event("tasks-are-temporary", folder=str(aside), help="let tasks_store name a file on a volume")
    return aside / name


def _check_private(folder: Path) -> None:
    """Make a folder that is ours alone: where all may write, another user may have made it before."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise TaskStoreError(
            f"'{folder}' is not a folder of this user alone",
            hint="let tasks_store name a file on a disk of this machine that may be written",
        )


def _may_write(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
