"""Which of onnxruntime's execution providers a model is run by.

    placement + what this onnxruntime offers + GPUs ──choose──► providers for the session
    session ──missing──► None, or why the GPU is not used after all

A device that was named is used or it is an error that says what was looked for.  With ``auto`` a
build for GPUs on a machine without one runs on the processor, and says so once.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from modelpack.errors import DeviceMissingError
from modelpack.sdk.placement import CPU, Placement

CUDA_PROVIDER, CPU_PROVIDER = "CUDAExecutionProvider", "CPUExecutionProvider"

Provider = str | tuple[str, dict[str, Any]]


def choose(where: Placement, offered: Sequence[str], gpus: int) -> list[Provider]:
    """Return the providers for a session, in order of preference; raises DeviceMissingError.

    ``offered`` is what this onnxruntime was built with, ``gpus`` how many the driver shows.
    """
    if where.device == CPU:
        return [CPU_PROVIDER]
    if CUDA_PROVIDER not in offered:
        if not where.is_asked_for:
            return [CPU_PROVIDER]
        raise DeviceMissingError(
            f"'{where.device}' was asked for, and this onnxruntime cannot use CUDA: "
            f"it has {', '.join(offered)}",
            hint="install 'onnxruntime-gpu[cuda,cudnn]' in place of 'onnxruntime', or serve on cpu",
        )
    number = int(where.device.partition(":")[2]) if where.is_asked_for else None
    if number is None and gpus == 0:
        warn_once("onnxruntime is a build for GPUs, and there is none: models run on the cpu")
        return [CPU_PROVIDER]
    if number is None:
        number = where.number % gpus
    elif number >= gpus:
        raise DeviceMissingError(
            f"'{where.device}' was asked for, and the NVIDIA driver shows {gpus or 'no'} "
            f"GPU{'' if gpus == 1 else 's'} to this process",
            hint="check nvidia-smi and CUDA_VISIBLE_DEVICES, or serve on cpu",
        )
    return [(CUDA_PROVIDER, {"device_id": number}), CPU_PROVIDER]


def check(where: Placement, providers: Sequence[Provider], active: Sequence[str]) -> None:
    """Compare a session's ``active`` providers with those it was made with.

    onnxruntime leaves CUDA out when a library of it does not load.  Raises DeviceMissingError when
    the device was asked for.
    """
    if providers == [CPU_PROVIDER] or CUDA_PROVIDER in active:
        return
    said = why_not_loaded()
    if where.is_asked_for:
        raise DeviceMissingError(
            f"'{where.device}' was asked for, and CUDA does not load: {said}",
            hint="install 'onnxruntime-gpu[cuda,cudnn]', or serve on cpu",
        )
    warn_once(f"CUDA does not load, models run on the cpu: {said}")


def why_not_loaded() -> str:
    """Return what the dynamic linker says about onnxruntime's CUDA library."""
    import onnxruntime

    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        for name in ("shared", "cuda"):
            ctypes.CDLL(str(folder / f"libonnxruntime_providers_{name}.so"))
    except OSError as error:
        return str(error).removeprefix(f"{folder}/")[:200]
    return "onnxruntime does not say why"


@cache
def warn_once(text: str) -> None:
    """Log a warning, once a process."""
    logging.getLogger("modelpack.frameworks").warning(text)
