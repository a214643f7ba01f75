"""Chooses the base image from what the lock says about GPUs.

    locked packages ─┐
    --base, --cuda  ─┴─► choose_base ──► Base (image, why, where Python comes from) + warnings

    no GPU package                    python:3.X-slim
    GPU package, CUDA as wheels       python:3.X-slim       CUDA is carried once, by the wheels
    GPU package, no CUDA wheels       nvidia/cuda runtime   of the version the package was built for
    CUDA asked for                    nvidia/cuda runtime   of that version
    base asked for                    that one              it must have the lock's Python

The facts (which package needs which CUDA, which images there are) are data with their sources:
``templates/image/bases.toml``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from modelpack import paths
from modelpack.archive.platforms import Platform, host_platform
from modelpack.errors import UsageError
from modelpack.image.instructions import check_text
from modelpack.image.reference import check_reference

_PLACES = ("oci", "oci-archive", "docker-archive", "engine", "registry")
_CUDA_PACKAGE = re.compile(r"nvidia-.+|cuda-(?:toolkit|bindings|pathfinder)|triton")


class PythonFrom(StrEnum):
    """Where the image gets CPython from."""

    BASE = "base"
    """The base has it."""
    PACKAGES = "packages"
    """The base's distribution has that version: installed from its packages."""
    COPY = "copy"
    """Copied from the official Python image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base image and why it was taken."""

    image: str
    reason: str
    """One sentence part, lower case, for people."""
    python_from: PythonFrom = PythonFrom.BASE
    python_image: str | None = None
    """Image that CPython is copied from (``PythonFrom.COPY``)."""
    system_packages: tuple[str, ...] = ()
    """Debian packages that CPython needs."""
    has_gpu: bool = False
    """True when a package of the lock uses a GPU, or CUDA was asked for."""
    size_bytes: int | None = None
    """On-disk size; None when it is not known."""

    @property
    def name(self) -> str | None:
        """Name under which others know it; None for one that lies in a file or folder."""
        if not self.is_place:
            return self.image
        kind, _, rest = self.image.partition(":")
        return rest if kind in ("engine", "registry") else None

    @property
    def is_place(self) -> bool:
        """True when ``image`` says where it is, such as ``oci:DIR``; engines take only names."""
        return is_place(self.image)


@dataclass(frozen=True, slots=True)
class Need:
    """A GPU package of the lock and the CUDA that it was built for."""

    name: str
    version: str
    cuda_major: int
    needs_cudnn: bool
    as_wheels: str | None
    """Requirement that brings CUDA along; None when there is none."""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def choose_base(
    packages: Mapping[str, str],
    python: str,
    *,
    base: str | None = None,
    cuda: str | None = None,
    platform: Platform | None = None,
) -> tuple[Base, tuple[str, ...]]:
    """Return the base for a lock and what the user should be warned of.

    ``packages`` maps normalised names to versions; ``python`` is ``X.Y``; ``platform`` is that of
    this machine by default.  Raises UsageError when both ``base`` and ``cuda`` are asked for, or no
    base is known that fits.
    """
    platform = platform or host_platform()
    if base is not None and cuda is not None:
        raise UsageError(
            f"the base '{base}' and CUDA {cuda} are both asked for",
            hint="give one of them: a base of your own brings its CUDA along",
        )
    needs = _needs(packages)
    carried = carried_cuda(packages)
    warnings = list(_mismatches(needs, packages, carried))
    if base is not None:
        _check_base(base)
        chosen = Base(
            image=base,
            reason="this base was asked for",
            has_gpu=bool(needs or carried or is_cuda_base(base)),
        )
        if carried and is_cuda_base(base):
            warnings.append(cuda_twice(carried))
    elif cuda is not None:
        chosen = _cuda_base(cuda, python, reason=f"CUDA {cuda} was asked for")
        if carried:
            warnings.append(cuda_twice(carried))
        warnings.extend(_wrong_major(needs, int(cuda.split(".")[0]), f"CUDA {cuda} was asked for"))
    elif needs and not carried:
        chosen = _base_for(needs, python)
    else:
        chosen = _slim(
            python, _slim_reason(needs, packages, carried), platform, has_gpu=bool(carried)
        )
    return chosen, tuple(warnings)


def is_place(base: str) -> bool:
    """Return whether a base is named by where it is, such as ``oci:DIR``, as no engine knows it."""
    kind, colon, rest = base.partition(":")
    return bool(colon and rest) and kind in _PLACES


def is_cuda_base(base: str) -> bool:
    """Return whether a base is one of NVIDIA's, from whichever registry."""
    name = base.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}".endswith("nvidia/cuda")


def is_cuda_package(name: str) -> bool:
    """Return whether a package, by its normalised name, is a part of CUDA."""
    return bool(_CUDA_PACKAGE.fullmatch(name))


def _check_base(base: str) -> None:
    if is_place(base):
        check_text(base, "the base")
        kind, _, base = base.partition(":")
        if kind not in ("engine", "registry"):
            return
    check_reference(base)


def _slim(python: str, reason: str, platform: Platform, *, has_gpu: bool) -> Base:
    facts = _facts()["python"]
    return Base(
        image=facts["image"].format(python=python),
        reason=reason,
        has_gpu=has_gpu,
        size_bytes=facts["size_bytes"].get(platform.name),
    )


def _slim_reason(needs: list[Need], packages: Mapping[str, str], carried: str | None) -> str:
    if carried is None:
        return "no package of the lock needs a GPU"
    names = [need.name for need in needs] + [n for n in ("torch", "tensorflow") if n in packages]
    who = f"{names[0]} {packages[names[0]]}" if names else "the lock"
    return f"{who} brings CUDA {carried} as wheels, so CUDA is carried once"


def _base_for(needs: list[Need], python: str) -> Base:
    major = needs[0].cuda_major
    if others := [need for need in needs if need.cuda_major != major]:
        raise UsageError(
            f"{needs[0]} needs CUDA {major}, but {others[0]} needs CUDA {others[0].cuda_major}",
            hint="lock versions that were built for the same CUDA",
        )
    minor = _facts()["cuda"]["preferred"].get(str(major))
    if minor is None:
        raise UsageError(
            f"{needs[0]} was built for CUDA {major}, for which no base is known",
            hint="lock a newer version of it, or name a base of your own with --base",
        )
    reason = f"{needs[0]} needs CUDA {major} and the lock brings none"
    return _cuda_base(minor, python, reason=reason)


def _cuda_base(cuda: str, python: str, *, reason: str) -> Base:
    facts = _facts()["cuda"]
    if not re.fullmatch(r"\d{1,2}\.\d{1,2}(\.\d{1,2})?", cuda):
        shown = "".join(c if c.isprintable() else "?" for c in cuda)[:40]
        raise UsageError(
            f"'{shown}' is no version of CUDA", hint=f"known are {', '.join(facts['patch'])}"
        )
    if _numbers(cuda) < _numbers(facts["oldest"]):
        raise UsageError(
            f"no base with CUDA {cuda} has a Python for the lock",
            hint=f"CUDA {facts['oldest']} runs on the same drivers as every 12.x; or name a base "
            "of your own with --base",
        )
    version = cuda if cuda.count(".") == 2 else facts["patch"].get(cuda)
    if version is None:
        raise UsageError(
            f"no image with CUDA {cuda} is known",
            hint=f"known are {', '.join(facts['patch'])}; or give all three numbers, "
            f"such as {cuda}.0",
        )
    has_own = python == facts["own_python"]
    packages = facts["own_python_packages" if has_own else "copied_python_packages"]
    return Base(
        image=facts["image"].format(version=version),
        reason=reason,
        python_from=PythonFrom.PACKAGES if has_own else PythonFrom.COPY,
        python_image=None if has_own else facts["copied_python_image"].format(python=python),
        system_packages=tuple(packages),
        has_gpu=True,
    )


def _needs(packages: Mapping[str, str]) -> list[Need]:
    from packaging.version import Version

    needs = []
    for rule in _facts()["gpu"]:
        version = packages.get(rule["name"])
        if version is None:
            continue
        major = next(
            cuda for start, cuda in rule["cuda_from"] if Version(version) >= Version(start)
        )
        needs.append(
            Need(
                rule["name"],
                version,
                major,
                rule.get("needs_cudnn", False),
                rule.get("as_wheels"),
            )
        )
    return needs


def carried_cuda(packages: Mapping[str, str]) -> str | None:
    """Return ``X.Y`` of the CUDA runtime that the lock brings as wheels."""
    for name in _facts()["wheels"]["runtime"]:
        if name in packages:
            return ".".join(packages[name].split(".")[:2])
    return None


def _mismatches(
    needs: list[Need], packages: Mapping[str, str], carried: str | None
) -> Iterable[str]:
    if carried is None:
        return
    yield from _wrong_major(needs, int(carried.split(".")[0]), f"the lock brings CUDA {carried}")
    has_cudnn = any(name in packages for name in _facts()["wheels"]["cudnn"])
    for need in needs:
        if need.needs_cudnn and not has_cudnn:
            yield (
                f"{need} needs cuDNN too and the lock brings none: "
                f"require '{need.as_wheels}' instead"
            )


def _wrong_major(needs: list[Need], major: int, what: str) -> Iterable[str]:
    for need in needs:
        if need.cuda_major != major:
            yield f"{what}, but {need} was built for CUDA {need.cuda_major}: it may not find a GPU"


def cuda_twice(carried: str, version: str | None = None) -> str:
    """Return the warning for a base with CUDA (``version``, if known) beside that of the wheels."""
    is_number = version is not None and re.fullmatch(r"[0-9.]{1,20}", version)
    has = f"CUDA {version}" if is_number else "one"
    return (
        f"CUDA is carried twice: the base has {has} and the lock brings CUDA {carried} as wheels; "
        "leave the base to modelpack, or lock packages without the wheels"
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))[:2]


@cache
def _facts() -> dict[str, Any]:
    file = paths.templates_dir() / "image" / "bases.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))
