"""Finds out what a bundle has to be locked from, and says where it was found.

    requirements of models and of the server ─────────────────────────────────┐
    uv.lock, pylock.toml, hashed requirements.txt   versions and hashes        │
    requirements: in the project file               names; without a lock,     ├──► Inputs
        none of both: the imports of the service        versions too           │
    wheels/, paths among the requirements           packages of one's own ─────┘

A lock of the project's with ``requirements:`` beside it says which versions, and those lines say of
what; without them all that the lock names is needed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from modelpack.archive.imports import Code, Imports, Inferred, imports_of
from modelpack.archive.inputs import Inputs, LocalWheel, Pins
from modelpack.archive.local_wheels import local_wheels
from modelpack.archive.lock import ensure_lock
from modelpack.archive.lockfile import read_lock
from modelpack.archive.platforms import parse_platforms, target_of
from modelpack.archive.project_locks import HASHED, ProjectLock, read_project_lock
from modelpack.archive.proving import prove_lock
from modelpack.archive.requirements import checked_requirements, split_paths
from modelpack.archive.torch import check_backend_name, cuda_packages
from modelpack.archive.wheelhouse import fetch_wheels
from modelpack.config.settings import Project
from modelpack.config.units import format_size
from modelpack.errors import UsageError
from modelpack.manifest import RUNTIME_REQUIREMENTS, FileRecord
from modelpack.progress import SILENT, Progress

_TOOLCHAIN = "modelpack-cli"


@dataclass(frozen=True, slots=True, kw_only=True)
class Locking:
    """What a build is told about dependencies, beside what the project file says."""

    relock: bool = False
    """Resolve again though the inputs are unchanged."""
    python: str | None = None
    """``X.Y`` to lock for; None: what the project says, else the running one."""
    platforms: tuple[str, ...] = ()
    """Such as ``linux/amd64``; none: what the project says, else this machine's."""
    torch_backend: str | None = None
    """``cpu``, ``cu126`` or such, or ``auto``; None: what the project says."""
    with_wheels: bool = False
    """Put every package that the lock names into the bundle."""
    prove: bool = False
    """Install the lock and import the service before anything is stored."""


DEFAULT_LOCKING = Locking()


@dataclass(frozen=True, slots=True)
class Locked:
    """The lock of a bundle, and the packages that go into the bundle with it."""

    text: str
    is_reused: bool
    """True when the lock was there already and no network was needed."""
    wheels: tuple[LocalWheel, ...]

    @property
    def records(self) -> tuple[FileRecord, ...]:
        """What the bundle's record says of the wheels."""
        return tuple(
            FileRecord(path=one.file_name, mode=0o644, size=one.size, sha256=one.sha256)
            for one in sorted(self.wheels, key=lambda one: one.file_name)
        )

    @property
    def places(self) -> dict[str, Path]:
        """Where the wheels lie, by file name."""
        return {one.file_name: one.path for one in self.wheels}


def lock_dependencies(
    inputs: Inputs,
    file: Path,
    locking: Locking,
    *,
    code: Code | None = None,
    progress: Progress = SILENT,
) -> Locked:
    """Return the lock for ``inputs``, kept in ``file``, with the wheels that the bundle shall bring.

    Raises as ``ensure_lock``, ``fetch_wheels`` and, where a proof is asked for, ``prove_lock`` do.
    """
    text, is_reused = ensure_lock(inputs, file, relock=locking.relock, progress=progress)
    packages = read_lock(text)
    named = {digest for package in packages for digest in package.hashes}
    wheels = tuple(wheel for wheel in inputs.wheels if wheel.hash in named)
    if locking.with_wheels:
        wheels = fetch_wheels(
            text, inputs.python, inputs.platforms, known=wheels, progress=progress
        )
    if wheels:
        size = format_size(sum(wheel.size for wheel in wheels))
        progress.note(f"packages that go into the bundle: {len(wheels)}, {size}")
    if cuda := cuda_packages(packages):
        progress.note(f"the lock brings CUDA: {', '.join(cuda[:3])}; --torch-backend cpu leaves it")
    if locking.prove:
        prove_lock(
            text, inputs.python, inputs.platforms, code=code, wheels=wheels, progress=progress
        )
    return Locked(text, is_reused, wheels)


def gather_inputs(
    project: Project,
    code: Code | None,
    brought: Iterable[str],
    locking: Locking,
    progress: Progress = SILENT,
) -> Inputs:
    """Return what the lock of a bundle is made from.

    code     None for a model without code: nothing of its folder is read then
    brought  requirement lines of the models

    Raises ConfigError or UsageError for what cannot be, NotFoundError for a package that is not
    where it is said to be, BuildError and RefusedError for a lock or wheel that cannot be used.
    """
    python = _checked_python(locking.python) or project.python or _running()
    platforms = parse_platforms(locking.platforms or project.platforms)
    paths, lines = split_paths(project.requirements)
    own = checked_requirements(lines, project.source)
    others = checked_requirements([*brought, *RUNTIME_REQUIREMENTS], None)
    preferred: tuple[str, ...] = ()
    pins: Pins | None = None
    if code is not None:
        is_said = bool(project.requirements) or "requirements" in project.places
        lock = read_project_lock(code.root, python, platforms, are_requirements=not is_said)
        if lock is not None and _brings_toolchain(lock):
            lock = _only_versions(lock)
        if lock is not None:
            progress.note(f"versions from '{lock.pins.source}'")
            pins, paths = lock.pins, (*paths, *lock.local)
        if not is_said and (pins is None or not pins.are_requirements):
            inferred = _infer(code, others, has_lock=pins is not None, progress=progress)
            own = tuple(sorted({*own, *(one.name for one in inferred if one.folder is None)}))
            preferred = tuple(f"{one.name}=={one.version}" for one in inferred if not one.folder)
            paths = (*paths, *(str(one.folder) for one in inferred if one.folder is not None))
    return Inputs(
        tuple(sorted({*own, *others})),
        python,
        target_of(platforms),
        pins=pins,
        wheels=local_wheels(code.root, paths, progress) if code is not None else (),
        torch_backend=check_backend_name(locking.torch_backend or project.torch_backend),
        preferred=preferred,
    )


def _running() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _checked_python(python: str | None) -> str | None:
    if python is None:
        return None
    if not re.fullmatch(r"3\.\d{1,2}", python, re.ASCII) or int(python[2:]) < 11:
        raise UsageError(
            f"'{python[:40]}' is not a Python that a bundle can be locked for",
            hint="write it as 3.11, or a later one",
        )
    return python


def _brings_toolchain(lock: ProjectLock) -> bool:
    return any(
        one.name == _TOOLCHAIN for packages in lock.pins.packages.values() for one in packages
    )


def _only_versions(lock: ProjectLock) -> ProjectLock:
    """Return the lock without modelpack, as a list of versions.

    All that modelpack needs for building stands among the others, and none of it is to be served.
    """
    packages = {
        platform: tuple(one for one in packages if one.name != _TOOLCHAIN)
        for platform, packages in lock.pins.packages.items()
    }
    return ProjectLock(Pins(lock.pins.source, packages, are_requirements=False), lock.local)


def _infer(
    code: Code, others: Iterable[str], *, has_lock: bool, progress: Progress
) -> list[Inferred]:
    """Return what the imports of the service ask for, without what is required anyhow."""
    from packaging.requirements import Requirement

    names = {Requirement(line).name for line in others}
    imports = imports_of(code)
    inferred = [one for one in imports.found if one.name not in names]
    _say(imports, inferred, progress)
    plain = code.root / HASHED
    if not has_lock and plain.is_file():
        progress.note(f"'{HASHED}' is not read: it has no hashes")
    return inferred


def _say(imports: Imports, inferred: list[Inferred], progress: Progress) -> None:
    if inferred:
        told = [f"{', '.join(one.modules)} ({one.name} {one.version})" for one in inferred]
        progress.note(f"required, because the service imports it: {', '.join(told)}")
    if imports.unknown:
        progress.note(
            f"imported, and nothing installed here brings it: {', '.join(imports.unknown)}; "
            "list what does under 'requirements' if the service needs it"
        )
