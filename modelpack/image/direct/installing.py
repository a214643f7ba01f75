"""Installs the packages of a lock for a platform into a folder of its own, through uv.

    packages of the lock ─┐
    wheels of the bundle ─┴─uv pip install --prefix FOLDER──► lib/pythonX.Y/site-packages, share, …

Nothing of the packages is run: only wheels are taken, and uv unpacks them for whatever platform it is
told.  A whole prefix and not one flat folder, so that the files that a wheel has beside its modules
(``share``, ``etc``) lie where they lie in an environment.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelpack.archive.lockfile import LockedPackage, lock_text
from modelpack.archive.platforms import Platform
from modelpack.archive.resolver import run_uv
from modelpack.archive.torch import backend_of, torch_arguments
from modelpack.archive.wheelhouse import is_complete
from modelpack.image.plan import ImagePlan
from modelpack.store import Store
from modelpack.store.base import WHEELS_PATH
from modelpack.store.untar import read_tar


@dataclass(frozen=True, slots=True)
class Installer:
    """Installs packages of one lock for one platform, as often as it is asked to."""

    packages: tuple[LockedPackage, ...]
    """Those of the lock that are installed on the platform."""
    platform: Platform
    python: str
    """``X.Y`` of CPython."""

    def facts(self) -> dict[str, Any]:
        """Return what decides which bytes are installed."""
        packages = sorted([one.name, one.version, sorted(one.hashes)] for one in self.packages)
        return {"packages": packages, "platform": self.platform.triple, "python": self.python}

    def install(self, prefix: Path, *, wheels: Path | None = None, only: str | None = None) -> Path:
        """Install all packages, or ``only`` the one of that name, and return ``prefix``.

        It must not be there yet; ``wheels`` is a folder with packages that the bundle brings.  Raises BuildError when a package cannot be had.
        """
        from packaging.utils import canonicalize_name

        packages = [one for one in self.packages if only in (None, canonicalize_name(one.name))]
        there = sorted(file.name for file in wheels.glob("*.whl")) if wheels else []
        is_whole = bool(there) and is_complete(packages, there, self.platform, self.python)
        lock = prefix.with_suffix(".lock")
        cache = prefix.with_suffix(".cache")
        lock.write_text(lock_text("# what one platform needs", packages), "utf-8")
        run_uv(
            [
                "pip",
                "install",
                f"--prefix={prefix}",
                f"--python={sys.executable}",
                f"--python-version={self.python}",
                f"--python-platform={self.platform.triple}",
                "--no-deps",
                "--only-binary=:all:",
                "--link-mode=hardlink",
                "--require-hashes",
                f"--requirements={lock}",
                *torch_arguments(None if is_whole else backend_of(self.packages)),
                *([f"--find-links={wheels}", *_own_folders()] if there else []),
                # uv keeps wheels of a folder under its path, and this one is gone soon.
                *(["--no-index", "--offline", f"--cache-dir={cache}"] if is_whole else []),
            ],
            goal=f"install the locked dependencies for {self.platform.name}",
            uses_index=not is_whole,
            environ={"UV_COMPILE_BYTECODE": "0"},
        )
        return prefix


def _own_folders() -> list[str]:
    """Return the folders that uv's variable names, which an argument takes the place of."""
    named = os.environ.get("UV_FIND_LINKS", "").split(",")
    return [f"--find-links={one.strip()}" for one in named if one.strip()]


def unpack_wheels(plan: ImagePlan, store: Store, folder: Path) -> Path | None:
    """Write the wheels of a bundle into a new folder; None when it brings none.

    Raises DigestMismatchError when the bundle is damaged.
    """
    layers = [layer for layer in plan.entry.layers if layer.path == WHEELS_PATH]
    if not layers:
        return None
    folder.mkdir(mode=0o700)
    for layer in layers:
        with store.naming_damage(plan.entry), store.open_blob(layer.digest) as blob:
            for found, content in read_tar(blob, f"'{layer.path}' in '{plan.entry.tag}'"):
                name = found.path.rpartition("/")[2]
                if not found.is_folder and name.endswith(".whl"):
                    with (folder / name).open("xb") as out:
                        content.copy_to(out)
    return folder
