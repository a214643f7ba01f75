"""Torch for processors or for a CUDA version: asked of uv, and checked in what it resolved.

    --torch-backend cpu ──► torch_arguments ──► uv     the builds of that index
                        └─► check_backend ◄─── lock    stops before gigabytes of CUDA are fetched

Which build a lock has is seen by the version itself (``2.9.0+cpu``), so a lock needs no note of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from modelpack.archive.lockfile import LockedPackage
from modelpack.errors import BuildError, UsageError

_BACKEND = re.compile(r"auto|cpu|cu\d{2,3}|rocm\d+\.\d+(?:\.\d+)?|xpu")
_BUILD = re.compile(r"\+(cpu|cu\d{2,3}|rocm[0-9.]+|xpu)")
_TORCH = ("torch", "torchvision", "torchaudio")
_CUDA = re.compile(r"nvidia-.+|triton|pytorch-triton.*|cuda-toolkit|cuda-bindings|cupy-cuda.*")


def check_backend_name(name: str | None) -> str | None:
    """Return the name of a build as it is; raises UsageError when there is no such build."""
    if name is not None and not _BACKEND.fullmatch(name):
        raise UsageError(
            f"'{name[:40]}' is not a build of Torch", hint="write cpu, auto, or such as cu126"
        )
    return name


def torch_arguments(backend: str | None) -> list[str]:
    """Return what uv is told so that Torch comes in that build."""
    return [] if backend is None else [f"--torch-backend={backend}"]


def backend_of(packages: Iterable[LockedPackage]) -> str | None:
    """Return the build of Torch that a lock has; None when it is the usual one or there is none."""
    for package in packages:
        if package.name in _TORCH and (match := _BUILD.search(package.version)):
            return match[1]
    return None


def cuda_packages(packages: Iterable[LockedPackage]) -> list[str]:
    """Return ``NAME VERSION`` of what of a lock is CUDA or needs it."""
    return sorted(
        f"{one.name} {one.version}"
        for one in packages
        if _CUDA.fullmatch(one.name) or (one.name in _TORCH and "+cu" in one.version)
    )


def check_backend(packages: Iterable[LockedPackage], backend: str | None) -> None:
    """Raise BuildError when CUDA is in a lock for which processors were asked for.

    Nothing was fetched yet: these wheels are gigabytes.
    """
    if backend == "cpu" and (found := cuda_packages(packages)):
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise BuildError(
            "the requirements bring CUDA although the build of Torch for processors was asked for: "
            f"{', '.join(found[:3])}{more}",
            hint="require what has no CUDA, such as 'xgboost-cpu' for 'xgboost', or leave out "
            "--torch-backend cpu; nothing was downloaded",
        )
