"""From a project to a bundle in the store, and from a lock to an environment.

denied, files     which files get in        requirements, indexes, resolver, lock   what to install
builder           the bundle                runtime_wheel, environment              where it runs
"""

from __future__ import annotations

from modelpack.archive.builder import Built, build_bundle
from modelpack.archive.environment import ensure_environment
from modelpack.archive.lock import LockedPackage, read_lock
from modelpack.archive.runtime_wheel import write_runtime_wheel

__all__ = [
    "Built",
    "LockedPackage",
    "build_bundle",
    "ensure_environment",
    "read_lock",
    "write_runtime_wheel",
]
