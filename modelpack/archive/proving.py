"""Proves a lock before a bundle is stored: installs it, and imports the service in there.

    lock + wheels ──► a throw-away environment ─┐
    packed files  ──► a copy of the code ───────┴─► import of every module that the service reaches

What the building environment has, and the lock has not, is found here and not in production.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from modelpack import paths
from modelpack.archive.environment import make_environment
from modelpack.archive.imports import Code, service_modules
from modelpack.archive.inputs import LocalWheel
from modelpack.archive.platforms import Platform, host_platform
from modelpack.errors import BuildError, UsageError, UserCodeError
from modelpack.progress import SILENT, Progress
from modelpack.store.names import shown

_TIMEOUT_S = 600.0
_RUNTIME = ("modelpack.frameworks.bundled", "modelpack.server.life.lifecycle")
_IMPORTS = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    print(name, flush=True)
    importlib.import_module(name)
"""
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")


def prove_lock(
    lock: str,
    python: str,
    platforms: Sequence[Platform],
    *,
    code: Code | None,
    wheels: Sequence[LocalWheel] = (),
    progress: Progress = SILENT,
) -> tuple[str, ...]:
    """Install the lock into an environment that is thrown away, and import the service there.

    Returns the modules that were imported: those of the server and those of ``code`` that its own
    module reaches.  Raises UserCodeError when one of them fails, BuildError when the lock cannot be
    installed, UsageError when it is not for this machine.
    """
    if host_platform() not in platforms:
        raise UsageError(
            f"the lock is for {', '.join(one.name for one in platforms)}, and this machine is "
            f"{host_platform().name}: nothing can be proved here",
            hint=f"leave out --prove, or lock for {host_platform().name} too",
        )
    home = paths.cache_dir() / "proofs"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Beside uv's cache most often, so that packages are linked and not copied.
    with tempfile.TemporaryDirectory(prefix="proof-", dir=home) as scratch:
        packages = Path(scratch, "wheels")
        packages.mkdir()
        for wheel in wheels:
            (packages / wheel.file_name).symlink_to(wheel.path)
        with progress.step("installing the lock to prove it"):
            program = make_environment(Path(scratch, "env"), lock, python, wheels=packages)
        modules = list(_RUNTIME)
        copy = Path(scratch, "code")
        copy.mkdir()
        if code is not None:
            _copy(code, copy)
            modules += service_modules(replace(code, root=copy))
        with progress.step(f"importing {len(modules)} modules of the service"):
            _import(program, copy, modules)
    return tuple(modules)


def _copy(code: Code, into: Path) -> None:
    for path in code.paths:
        (into / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(code.root / path, into / path)


def _import(program: Path, code: Path, modules: Sequence[str]) -> None:
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    try:
        done = subprocess.run(
            [program, "-I", "-B", "-c", _IMPORTS, code, *modules],
            cwd=code,
            env={**env, "ORT_DISABLE_TELEMETRY": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as cause:
        raise BuildError(
            f"the imports of the service did not end within {_TIMEOUT_S / 60:.0f} minutes",
            hint="a module that serves or trains as it is imported cannot be proved",
        ) from cause
    if done.returncode:
        raise _failure(done.stdout, done.stderr)


def _failure(stdout: str, stderr: str) -> UserCodeError:
    module = (stdout.split() or ["the service"])[-1]
    said = shown((stderr.strip().splitlines() or ["it ended at once"])[-1].strip())[:300]
    missing = re.search(r"No module named '([\w.]+)'", said)
    return UserCodeError(
        f"'{module}' cannot be imported with what the lock installs: {said}",
        hint=f"list what brings '{missing[1]}' under 'requirements'"
        if missing
        else "what the module needs must be among the requirements and the packed files",
    )
