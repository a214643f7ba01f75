"""What a machine without modelpack needs to serve a bundle: its files, its lock, the runtime.

    DeploymentSpec ──find_bundle──► Shipment(folder: the unpacked bundle, python, wheel, …)

For targets that run the bundle itself on machines of others.  Whoever gets it makes an environment of
``requirements.lock`` in the folder, adds the wheel, and runs ``python -m modelpack.server`` in it.
Nothing of the bundle is executed here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelpack.deploy.bundles import find_bundle
from modelpack.deploy.spec import DeploymentSpec

__all__ = ["Shipment", "grace_of", "runtime_wheel", "shipment"]


@dataclass(frozen=True, slots=True)
class Shipment:
    """A bundle, unpacked while the ``with`` lasts."""

    folder: Path
    """Where its files are; ``requirements.lock`` is one of them."""
    python: str
    """The Python that it was locked for, ``X.Y``."""
    arguments: tuple[str, ...]
    """What uv is told when it installs the lock, such as which build of Torch."""


@contextmanager
def shipment(spec: DeploymentSpec) -> Iterator[Shipment]:
    """Give the files of the spec's bundle.

    Raises BundleNotFoundError, ConflictError when the tag stands for another bundle by now, and what
    the policy and the store raise.
    """
    from modelpack.archive.lockfile import read_lock
    from modelpack.archive.torch import backend_of, torch_arguments
    from modelpack.store import Store

    store = Store()
    entry = find_bundle(store, spec)
    arguments = torch_arguments(backend_of(read_lock(store.lock_text(entry))))
    with tempfile.TemporaryDirectory(prefix="modelpack-ship-") as scratch:
        folder = store.unpack(entry, Path(scratch))
        yield Shipment(folder, store.bundle_manifest(entry).python, tuple(arguments))


def runtime_wheel() -> tuple[str, bytes]:
    """Return name and bytes of the wheel of this modelpack's runtime; the same each time."""
    from modelpack.archive.runtime_wheel import wheel_bytes, wheel_name

    return wheel_name(), wheel_bytes()


def grace_of(spec: DeploymentSpec) -> float:
    """Return how long the service may take to end, by its variables, in seconds."""
    from modelpack.config.settings import ServerSettings, settings_from_env

    return settings_from_env(ServerSettings(), spec.settings.env).grace_s
