"""What one replica of a service may use: a device, processor threads, models of its own.

    with placed(Placement(number=1, device="cuda:1", threads=2)):
        instance = spec.create()        ──► modelpack.Model loads there, modelpack.device() says so

Threads that a replica starts for its calls inherit the placement.  Outside of any there is the one of
the process, so that ``modelpack.device()`` has an answer in a notebook and in a test, too.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any

AUTO, CPU = "auto", "cpu"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placement:
    """Where a replica is."""

    number: int = 0
    """Which of the replicas of this process it is; the first has the models of the process."""
    device: str = AUTO
    """``cpu``, ``cuda:N``, or ``auto``: a GPU when there is one, the replicas taking turns."""
    threads: int = 0
    """Processor threads for its models; 0: as many as the process may use."""
    models: dict[Any, Any] = field(default_factory=dict)
    """What ``modelpack.Model`` loaded for it, when it is not the first."""

    @property
    def is_asked_for(self) -> bool:
        """True when the device was named: models must not take another."""
        return self.device != AUTO

    def resolve(self) -> str:
        """Return ``cpu`` or ``cuda:N``; ``auto`` is looked up now."""
        if self.device != AUTO:
            return self.device
        count = gpu_count()
        return f"cuda:{self.number % count}" if count else CPU


_PROCESS = Placement()
_here: ContextVar[Placement] = ContextVar("modelpack_placement", default=_PROCESS)


def placement() -> Placement:
    """Return the placement of the replica that this code runs for."""
    return _here.get()


@contextmanager
def placed(where: Placement) -> Iterator[None]:
    """Load and run in ``where`` inside the block."""
    token = _here.set(where)
    try:
        yield
    finally:
        _here.reset(token)


def device() -> str:
    """Return the device that this replica's models should use: ``cpu`` or ``cuda:0``, ``cuda:1`` ...

    Meant for the start of a service: ``self.net.to(modelpack.device())``.  With ``devices: auto`` it
    is a GPU when the machine has one, and torch, if it was imported, can use it.
    """
    where = placement()
    found = where.resolve()
    if found != CPU and not where.is_asked_for and not _torch_can():
        return CPU
    return found


def _torch_can() -> bool:
    """Say whether torch, if it is imported, is a build that can use a GPU."""
    torch = sys.modules.get("torch")
    return torch is None or bool(torch.cuda.is_available())


@cache
def gpu_count() -> int:
    """Return how many NVIDIA GPUs the driver gives to this process; 0 without a driver."""
    return count_gpus("libcuda.so.1")


def count_gpus(library: str) -> int:
    """As ``gpu_count``, asking that driver library."""
    try:
        driver = ctypes.CDLL(library)
        found = ctypes.c_int(0)
        # https://docs.nvidia.com/cuda/cuda-driver-api: 0 is success, 100 is "no device".
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(found)) != 0:
            return 0
    except (OSError, AttributeError):
        return 0
    return found.value
