"""Says at the start of an image for GPUs whether it got one, and what to do when not.

    $NVIDIA_VISIBLE_DEVICES      images for GPUs set it; the NVIDIA runtime reads it
    $CUDA_VERSION, wheels ─────► Built: the CUDA that the packages were built for
    libcuda.so.1, /dev/nvidia0 ► Driver: what the container was given
                                   └─► None, or Lack: why no GPU can be used, and what helps

Models that may run anywhere (``devices: auto``) run on the processor then, which is said as a warning:
without it the service would only be slow.  Where a GPU was named it is an error, before anything is
loaded.  The driver is not initialised here, which takes its time: its library only says its version.

Facts: NVIDIA Container Toolkit, "Environment variables" (``void`` and ``none`` mean no GPU); CUDA
Compatibility, "minor version compatibility" (a driver for CUDA X.0 runs all of X); CUDA driver
interface, ``cuDriverGetVersion`` (1000 x major + 10 x minor, before any initialisation).
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from modelpack.config.settings import ServerSettings
from modelpack.errors import DeviceMissingError
from modelpack.server.observe.logs import event

_RUNTIME_WHEELS = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime-cu11")
_NO_GPU = ("", "none", "void")
_LIBRARY = "libcuda.so.1"
_GIVE_ONE = (
    "docker run --gpus all; on Kubernetes a limit on nvidia.com/gpu, and the nvidia runtime class"
)

Cuda = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Driver:
    """The NVIDIA driver as this container sees it."""

    cuda: Cuda | None
    """Newest CUDA that it can run; None: its library is not here."""
    has_devices: bool
    """True when there is a GPU among the devices."""

    @classmethod
    def here(cls, devices: Path = Path("/dev")) -> Driver:
        """Return what is there; nothing is initialised."""
        # WSL has one device for all GPUs.
        found = any(devices.glob("nvidia[0-9]*")) or (devices / "dxg").exists()
        return cls(_library_version(), found)


@dataclass(frozen=True, slots=True)
class Lack:
    """Why no GPU can be used."""

    what: str
    hint: str


def check_driver(
    settings: ServerSettings,
    environ: Mapping[str, str] = os.environ,
    driver: Driver | None = None,
) -> Lack | None:
    """Warn when this is an image for GPUs and cannot use any; returns why not, if so.

    Raises DeviceMissingError where the settings name a GPU.
    """
    visible = environ.get("NVIDIA_VISIBLE_DEVICES")
    if visible is None or visible.lower() in _NO_GPU or settings.devices == "cpu":
        return None
    lack = lack_of(built_for(environ), driver or Driver.here())
    if lack is None:
        return None
    if "cuda" in settings.devices:
        raise DeviceMissingError(
            f"{lack.what}, and {settings.devices} was asked for", hint=lack.hint
        )
    event("no-gpu", level=logging.WARNING, reason=lack.what, help=lack.hint, runs_on="cpu")
    return lack


def lack_of(built: Cuda | None, driver: Driver) -> Lack | None:
    """Return why packages built for that CUDA cannot use a GPU; None: nothing is in the way."""
    image = f"the image is for GPUs (CUDA {_text(built)})" if built else "the image is for GPUs"
    if driver.cuda is None and driver.has_devices:
        return Lack(
            f"{image}, and the driver's library ({_LIBRARY}) is not in the container",
            "let NVIDIA_DRIVER_CAPABILITIES hold 'compute', as the image sets it",
        )
    if driver.cuda is None:
        return Lack(f"{image}, and no NVIDIA driver is in the container", _GIVE_ONE)
    if not driver.has_devices:
        return Lack(f"{image}, and the driver shows no GPU to the container", _GIVE_ONE)
    if built is not None and driver.cuda[0] < built[0]:
        return Lack(
            f"{image}, and the driver of this machine can run CUDA {_text(driver.cuda)} at most",
            f"update the driver, or build the image with packages for CUDA {driver.cuda[0]}",
        )
    return None


def built_for(environ: Mapping[str, str]) -> Cuda | None:
    """Return the CUDA that comes with the base or as wheels; None: neither says."""
    said = environ.get("CUDA_VERSION", "")
    for name in _RUNTIME_WHEELS if not said else ():
        try:
            said = version(name)
            break
        except PackageNotFoundError:
            continue
    numbers = said.split(".")
    if len(numbers) < 2 or not (numbers[0].isdigit() and numbers[1].isdigit()):
        return None
    return int(numbers[0]), int(numbers[1])


def _library_version() -> Cuda | None:
    try:
        library = ctypes.CDLL(_LIBRARY)
        number = ctypes.c_int(0)
        if library.cuDriverGetVersion(ctypes.byref(number)) != 0:
            return None
    except (OSError, AttributeError):
        return None
    return number.value // 1000, number.value % 1000 // 10


def _text(cuda: Cuda) -> str:
    return f"{cuda[0]}.{cuda[1]}"
