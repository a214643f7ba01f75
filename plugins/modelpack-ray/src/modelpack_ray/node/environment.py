"""The clean environment of a bundle on a node: made once, shared by all replicas that need it.

    requirements.lock + X.Y + runtime wheel ──key──► CACHE/ray-envs/KEY/bin/python
                                      └ not there: made under a lock, marked when it is whole

``uv`` makes it where there is one (Ray's images have it); else ``venv`` and ``pip`` of the Python that
Ray runs with, when the bundle was locked for that one.  Packages that lie in the bundle are taken from
there, others from the index that the node is set to.  Every package is checked against the lock's hash.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

_DONE = ".modelpack-complete"
_MOST_SAID = 600


def ensure_environment(home: Path) -> Path:
    """Return the Python of the environment; raises RuntimeError that says why there is none.

    ``home``  folder with ``bundle``, and ``ship.json``: ``python`` as X.Y, ``arguments`` for uv
    """
    ship = json.loads((home / "ship.json").read_bytes())
    lock = home / "bundle" / "requirements.lock"
    wheel = _runtime_wheel()
    facts = [lock.read_bytes(), wheel.read_bytes(), ship["python"].encode(), sys.platform.encode()]
    key = hashlib.sha256(b"".join(hashlib.sha256(one).digest() for one in facts)).hexdigest()[:32]
    envs = _cache() / "ray-envs"
    envs.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = envs / key
    with (envs / f"{key}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not (folder / _DONE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            wheels = home / "bundle" / "wheels"
            _make(folder, ship, lock, wheels if wheels.is_dir() else None, wheel)
            (folder / _DONE).touch()
    return folder / "bin" / "python"


def _make(
    folder: Path, ship: dict[str, list[str]], lock: Path, wheels: Path | None, wheel: Path
) -> None:
    """Make the environment in ``folder``."""
    wanted, program = str(ship["python"]), str(folder / "bin" / "python")
    uv = _uv()
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if uv is None and wanted != own:
        raise RuntimeError(
            f"modelpack: the bundle was locked for Python {wanted}, Ray runs with {own} and there "
            "is no 'uv' on this node; install it there, or build the bundle with that Python"
        )
    if uv is None:
        base = getattr(sys, "_base_executable", sys.executable)
        _run([base, "-m", "venv", str(folder)], "make an environment")
        pip = [program, "-m", "pip", "install", "--disable-pip-version-check"]
    else:
        python = getattr(sys, "_base_executable", sys.executable) if wanted == own else wanted
        _run([uv, "venv", "--no-project", f"--python={python}", str(folder)], "make an environment")
        pip = [uv, "pip", "install", f"--python={program}"]
    install = [*pip, "--no-deps", "--only-binary=:all:"]
    locked = [*install, "--require-hashes", f"--requirement={lock}"]
    if wheels is not None and _try([*locked, "--no-index", f"--find-links={wheels}"]) is None:
        pass  # all of it lay in the bundle
    else:
        more = [f"--find-links={wheels}"] if wheels is not None else []
        more += ship.get("arguments", []) if uv is not None else []
        _run([*locked, *more], "install the locked dependencies")
    _run([*install, "--no-index", str(wheel)], "install the modelpack runtime")


def _run(argv: list[str], goal: str) -> None:
    said = _try(argv)
    if said is not None:
        raise RuntimeError(f"modelpack: cannot {goal} on this node: {said}")


def _try(argv: list[str]) -> str | None:
    """Run a program; None when it did its work, else what it said last."""
    # What a worker's variables say of Python is meant for the worker.
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    env.pop("VIRTUAL_ENV", None)
    done = subprocess.run(
        argv, env=env, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return " ".join(lines)[-_MOST_SAID:] or f"exit status {done.returncode}"


def _uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("uv")


def _runtime_wheel() -> Path:
    """Return the wheel of the runtime, which lies beside this module."""
    return next((Path(__file__).parent / "runtime").glob("*.whl"))


def _cache() -> Path:
    """Return where environments are kept on this node."""
    if named := os.environ.get("MODELPACK_CACHE"):
        return Path(named)
    try:
        return Path.home() / ".cache" / "modelpack"
    except RuntimeError:  # no home
        return Path("/tmp") / f"modelpack-{os.getuid()}"  # noqa: S108  0700 below
