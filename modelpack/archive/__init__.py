"""From a project to a bundle in the store, and from a lock to an environment.

denied, files                            which files get in
imports, project_locks, requirements     what a service asks for
local_wheels, platforms, indexes, torch  from where, and for which machines
dependencies, inputs, compiling, lock    the lock of it, made or used again
wheelhouse, fetching, proving            the packages themselves, and a proof
builder, sbom                            the bundle
runtime_wheel, environment               where it runs
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelpack.lazy import names_of

if TYPE_CHECKING:
    from modelpack.archive.builder import Built, build_bundle
    from modelpack.archive.dependencies import Locking
    from modelpack.archive.environment import ensure_environment
    from modelpack.archive.lockfile import LockedPackage, read_lock
    from modelpack.archive.runtime_wheel import write_runtime_wheel

__all__ = [
    "Built",
    "LockedPackage",
    "Locking",
    "build_bundle",
    "ensure_environment",
    "read_lock",
    "write_runtime_wheel",
]

_HOMES = {
    "Built": "modelpack.archive.builder",
    "LockedPackage": "modelpack.archive.lockfile",
    "Locking": "modelpack.archive.dependencies",
    "build_bundle": "modelpack.archive.builder",
    "ensure_environment": "modelpack.archive.environment",
    "read_lock": "modelpack.archive.lockfile",
    "write_runtime_wheel": "modelpack.archive.runtime_wheel",
}

if not TYPE_CHECKING:
    __getattr__ = names_of(__name__, _HOMES)
