"""Which device and how many threads each replica gets, as the settings say.

devices: cuda:0,cuda:1     replica 0 ─► cuda:0    1 ─► cuda:1    2 ─► cuda:0 …
threads: 0                 the processors of this container, shared out to all copies evenly
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from modelpack.config.settings import ServerSettings
from modelpack.errors import DeviceMissingError
from modelpack.frameworks.machine import limit_libraries, threads_for, visible_processors
from modelpack.sdk.placement import AUTO, CPU, Placement, gpu_count


def check_devices(settings: ServerSettings) -> None:
    """Raise DeviceMissingError when a GPU is asked for that the machine does not have.

    The driver is asked only then: it takes its time.
    """
    for device in settings.devices.split(","):
        if device not in (AUTO, CPU):
            _require(device)


def placement_for(settings: ServerSettings, number: int, copies: int) -> Placement:
    """Return where replica ``number`` is, one of ``copies`` on this machine."""
    devices = settings.devices.split(",")
    device = devices[number % len(devices)]
    return Placement(number=number, device=device, threads=threads_for(settings.threads, copies))


def thread_limiter(settings: ServerSettings, where: Placement) -> Callable[[], None] | None:
    """Return what each thread of a replica has to call first, or None when there is no limit.

    Libraries take every processor that they see.  That is right for one copy that may use them all.
    """
    if not settings.threads and where.threads >= visible_processors():
        return None
    return partial(limit_libraries, where.threads)


def _require(device: str) -> None:
    count = gpu_count()
    if int(device.partition(":")[2]) >= count:
        raise DeviceMissingError(
            f"'{device}' was asked for, and the NVIDIA driver (libcuda.so.1) shows "
            f"{count or 'no'} GPU{'' if count == 1 else 's'} to this process",
            hint="check nvidia-smi and CUDA_VISIBLE_DEVICES, or set devices to cpu or auto",
        )
