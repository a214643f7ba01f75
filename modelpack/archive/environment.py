"""Clean Python environments made from locks, kept in the cache and shared by who needs the same.

    lock + X.Y + runtime wheel ──key──► envs/KEY/bin/python       ready: used at once, no network
    wheels of the bundle  ─────────────────┘                      where they lie before any index
                                             └ else: made under a lock, marked when it is whole

A folder without its mark was left by somebody who died, and is made again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from modelpack import paths
from modelpack.archive.lockfile import read_lock
from modelpack.archive.platforms import host_platform
from modelpack.archive.resolver import run_uv
from modelpack.archive.runtime_wheel import wheel_bytes, wheel_name
from modelpack.archive.torch import backend_of, torch_arguments
from modelpack.archive.wheelhouse import is_complete
from modelpack.errors import BuildError, ToolMissingError
from modelpack.manifest import canonical_json
from modelpack.progress import SILENT, Progress
from modelpack.store.durable import locked

_DONE = ".modelpack-complete"


def ensure_environment(
    lock: str, python: str, progress: Progress = SILENT, *, wheels: Path | None = None
) -> Path:
    """Return the Python of an environment that holds the lock and the runtime, and nothing else.

    ``python`` is ``X.Y``; ``wheels`` a folder with packages of the lock, the bundle's own.  It is
    made when it is not there, which needs the network unless all the packages lie in that folder.
    Raises BuildError when a package cannot be had, ToolMissingError without that Python.
    """
    read_lock(lock)
    wheel = wheel_bytes()
    folder = paths.cache_dir() / "envs" / _key(lock, python, wheel)
    program = folder / "bin" / "python"
    if _is_whole(folder):
        return program
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(folder.with_suffix(".lock")):
            if not _is_whole(folder):
                with progress.step("installing the dependencies into a clean environment"):
                    make_environment(folder, lock, python, wheels=wheels)
                    (folder / _DONE).touch(mode=0o600)
    except OSError as cause:
        raise BuildError(
            f"cannot make an environment in '{folder.parent}': {cause.strerror or cause}",
            hint="make room, or set MODELPACK_CACHE to another folder",
        ) from cause
    return program


def _is_whole(folder: Path) -> bool:
    # The interpreter is a link to the system's, which an upgrade may have taken away.
    return (folder / _DONE).exists() and (folder / "bin" / "python").exists()


def _key(lock: str, python: str, wheel: bytes) -> str:
    facts = {
        "lock": hashlib.sha256(lock.encode()).hexdigest(),
        "python": python,
        "interpreter": str(_own_python(python) or ""),
        "runtime": hashlib.sha256(wheel).hexdigest(),
    }
    return hashlib.sha256(canonical_json(facts)).hexdigest()[:32]


def make_environment(folder: Path, lock: str, python: str, *, wheels: Path | None = None) -> Path:
    """Make ``folder`` anew as an environment with the lock and the runtime; return its Python.

    Raises as ``ensure_environment`` does.
    """
    packages = read_lock(lock)
    there = sorted(file.name for file in wheels.glob("*.whl")) if wheels else []
    is_whole = bool(there) and is_complete(packages, there, host_platform(), python)
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="modelpack-env-") as scratch:
        locked_file = Path(scratch) / "requirements.lock"
        locked_file.write_text(lock, "utf-8")
        wheel_file = Path(scratch) / wheel_name()
        wheel_file.write_bytes(wheel_bytes())
        _make_venv(folder, python)
        program = folder / "bin" / "python"
        install = ["pip", "install", f"--python={program}", "--no-deps", "--only-binary=:all:"]
        run_uv(
            [
                *install,
                "--require-hashes",
                f"--requirements={locked_file}",
                *torch_arguments(None if is_whole else backend_of(packages)),
                *([f"--find-links={wheels}"] if there else []),
                *(["--no-index", "--offline"] if is_whole else []),
            ],
            goal="install the locked dependencies",
            uses_index=not is_whole,
        )
        run_uv([*install, "--offline", str(wheel_file)], goal="install the modelpack runtime")
    return program


def _make_venv(folder: Path, python: str) -> None:
    own = _own_python(python)
    try:
        run_uv(
            ["venv", f"--python={own or python}", "--no-project", str(folder)],
            goal=f"make an environment for Python {python}",
        )
    except BuildError as cause:
        if own is None:
            raise ToolMissingError(
                f"there is no Python {python} on this machine, for which the bundle was locked",
                hint=f"install Python {python}, or build the bundle again with the one that is here",
            ) from cause
        raise


def _own_python(python: str) -> str | None:
    """Return the interpreter that runs this, without its environment, if it is of that version."""
    if python != f"{sys.version_info.major}.{sys.version_info.minor}":
        return None
    base = str(getattr(sys, "_base_executable", sys.executable))
    return base if os.access(base, os.X_OK) else sys.executable
