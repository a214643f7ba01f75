"""Fits a server to the container or machine that it runs in, where the user did not decide.

    limits of the control group ─► frameworks.machine ─► Room ──fitted──► settings
                                                                 workers 0    ► as many as fit
                                                                 queue, bodies► what memory allows

A queue of 256 MB is right for a machine and the end of a container with 256 MB.  What was set to
anything but the default stays as it is; settings only ever become smaller.  How many threads a model
gets is worked out where it is loaded, from the same limits.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelpack.config.settings import ServerSettings
from modelpack.frameworks.machine import memory_bytes, processors
from modelpack.frameworks.source import Source

_LEAST_BYTES = 1024 * 1024
_MOST_WORKERS = 256

_WORKER_BYTES = 100_000_000
"""What a process with the server needs before it has a model (measured: 80 MB with onnxruntime)."""
_LOADED = 2.0
"""Memory of a loaded model, in sizes of its files: weights, and what its runs need."""
_FOR_WORKERS = 0.75
"""Share of the memory that processes and models may take; the rest is for requests."""

# Share of the memory that each may take: several apis can have a queue, several bodies are read.
_SHARES = {"max_queue_bytes": 8, "max_inflated_bytes": 8, "max_body_bytes": 16}


@dataclass(frozen=True, slots=True)
class Room:
    """What a server may use, and what its service needs."""

    processors: int
    memory_bytes: int
    weights_bytes: int = 0
    """Size of the model files that each copy of the service loads."""

    @classmethod
    def here(cls, source: Source | None) -> Room:
        """Return what this container or machine gives the service."""
        return cls(processors(), memory_bytes(), weights_of(source))


def fitted(settings: ServerSettings, room: Room, *, is_alone: bool = False) -> ServerSettings:
    """Return the settings as they fit; ``is_alone``: there can be no other processes."""
    defaults = ServerSettings()
    workers = settings.workers or (1 if is_alone else _workers(settings, room))
    changes: dict[str, Any] = {"workers": workers} if workers != settings.workers else {}
    for name, share in _SHARES.items():
        value = getattr(settings, name)
        parts = share * (workers if name == "max_queue_bytes" else 1)
        most = max(_LEAST_BYTES, room.memory_bytes // parts)
        if value == getattr(defaults, name) and value > most:
            changes[name] = most
    return replace(settings, **changes)


def ensure_temporary_folder(memory: str = "/dev/shm") -> None:  # noqa: S108
    """Name a place for temporary files where there is none but memory: in a read-only container.

    Forms with large files, libraries and the service itself look for one; so do other processes of
    the server, by ``$TMPDIR``.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        if os.access(memory, os.W_OK):
            os.environ["TMPDIR"] = memory


def differences(before: ServerSettings, after: ServerSettings) -> dict[str, int]:
    """Return what ``fitted`` changed, by name."""
    names = ("workers", *_SHARES)
    return {
        name: getattr(after, name)
        for name in names
        if getattr(before, name) != getattr(after, name)
    }


def weights_of(source: Source | None) -> int:
    """Return the size of the model files that a service brings, as far as that can be seen."""
    if source is None or source.kind == "code":
        return 0
    if source.kind == "model":
        files = [Path(source.folder, source.target)]
    else:
        files = [*Path(source.folder, "models").rglob("*")]
    return sum(file.stat().st_size for file in files if file.is_file())


def _workers(settings: ServerSettings, room: Room) -> int:
    """Return how many workers the processors can keep busy and the memory can hold."""
    # With runner processes the models are loaded there, and the workers share them.
    copies = 0 if settings.runner == "process" else settings.replicas
    each = _WORKER_BYTES + copies * room.weights_bytes * _LOADED
    fit = int(room.memory_bytes * _FOR_WORKERS / each)
    return max(1, min(room.processors, fit, _MOST_WORKERS))
