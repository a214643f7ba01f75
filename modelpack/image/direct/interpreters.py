"""Finds the CPython of this machine that makes the bytecode of an image.

    X.Y of the image, X.Y.Z of its base ──► the base's version, if it is here
                                        ──► that which modelpack runs with, if it is an X.Y
                                        ──► any X.Y that uv finds
                                        ──► None: an image without bytecode

All patches of an X.Y read the same bytecode, but a few of them write some of it in another way: which
version wrote it is part of what a layer is made of.  Asking uv takes up to half a second, so its answer
is noted in the cache, for as long as that program is unchanged, and for a day where there is none.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from modelpack import paths
from modelpack.archive.resolver import run_uv
from modelpack.errors import ModelpackError
from modelpack.manifest import canonical_json

_NONE_FOR_S = 86_400
_ASK_VERSION = "import sys; print(sys.implementation.name, sys.version.split()[0])"


@dataclass(frozen=True, slots=True)
class Compiler:
    """A CPython of this machine."""

    program: str
    version: str
    """``X.Y.Z``."""


def find_compiler(python: str, wanted: str | None) -> Compiler | None:
    """Return a CPython ``X.Y`` of this machine, of the version ``wanted`` where it is here.

    None when there is none; nothing is downloaded.
    """
    own = ".".join(str(part) for part in sys.version_info[:3])
    is_own = own.rpartition(".")[0] == python and sys.version_info.releaselevel == "final"
    if is_own and wanted in (own, None):
        return Compiler(sys.executable, own)
    if wanted is not None and wanted.startswith(f"{python}."):
        found = _find(wanted)
        if found is not None and found.version == wanted:
            return found
    return Compiler(sys.executable, own) if is_own else _find(python)


def _find(version: str) -> Compiler | None:
    """Return the CPython that uv finds for a version, as it was noted or as it is."""
    if not re.fullmatch(r"3\.\d+(\.\d+)?", version):
        return None
    note = paths.cache_dir() / "image" / "pythons" / f"{version}.json"
    try:
        noted = json.loads(note.read_bytes())
        if noted is None and time.time() - note.stat().st_mtime < _NONE_FOR_S:
            return None
        found = Compiler(str(noted["program"]), str(noted["version"]))
        if noted["stat"] == _stat(found.program):
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass
    asked = _ask(version)
    _keep(note, asked)
    return asked


def _ask(version: str) -> Compiler | None:
    try:
        program = run_uv(
            ["python", "find", "--no-project", f"cpython@{version}"], goal="find a Python"
        ).strip()
        said = subprocess.run(
            [program, "-I", "-S", "-c", _ASK_VERSION],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
    except (ModelpackError, OSError, subprocess.SubprocessError):
        return None
    match = re.fullmatch(r"cpython (3\.\d+\.\d+)", said.strip())
    return (
        Compiler(program, match[1]) if match and f"{match[1]}.".startswith(f"{version}.") else None
    )


def _keep(note: Path, found: Compiler | None) -> None:
    facts = None
    try:
        if found is not None:
            facts = {
                "program": found.program,
                "version": found.version,
                "stat": _stat(found.program),
            }
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, fresh = tempfile.mkstemp(dir=note.parent, prefix=".")
        with os.fdopen(handle, "wb") as out:
            out.write(canonical_json(facts))
        Path(fresh).replace(note)
    except OSError:
        pass  # then uv is asked again the next time


def _stat(program: str) -> list[int]:
    status = os.stat(program)  # noqa: PTH116 - through links, to the program itself
    return [status.st_mtime_ns, status.st_ino]
