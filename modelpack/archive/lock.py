"""One fully hashed ``requirements.lock``, made once and used again without a network.

    Inputs ─► digest ─► the same as in the lock's first line?  ─ yes ─► used as it is
                                                               └ no ──► compile_lock ──► written anew

It is replaced whole or not at all, and never in the place of a file that is not ours.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from modelpack.archive.compiling import compile_lock
from modelpack.archive.inputs import Inputs
from modelpack.archive.lockfile import LockedPackage, read_lock
from modelpack.archive.platforms import Platform, host_platform, of_target
from modelpack.errors import BuildError, ConflictError
from modelpack.progress import SILENT, Progress

__all__ = [
    "Inputs",
    "LockedPackage",
    "ensure_lock",
    "locked_platforms",
    "read_lock",
    "target_platform",
]

_FIRST_LINE = re.compile(
    r"# modelpack lock (?P<form>\d+), python (?P<python>\d\.\d+), (?P<target>\S+), "
    r"inputs sha256:(?P<inputs>[0-9a-f]{64})"
)


def ensure_lock(
    inputs: Inputs, file: Path, *, relock: bool = False, progress: Progress = SILENT
) -> tuple[str, bool]:
    """Return the lock for ``inputs`` and whether ``file`` had it already.

    Without one, or with ``relock``, uv resolves it and ``file`` is written.  Raises BuildError when
    that fails, RefusedError when packages are not those that a lock of the project names,
    ConflictError when ``file`` was written by somebody else.
    """
    known = _read_known(file)
    if known is not None and not relock and known.splitlines()[0] == inputs.first_line:
        return known, True
    with progress.step("locking the dependencies"):
        text = compile_lock(inputs, file.parent)
    if text != known:
        _write(file, text)
    return text, False


def locked_platforms(text: str) -> tuple[Platform, ...]:
    """Return the platforms that a lock was made for; none when its first line does not say."""
    match = _FIRST_LINE.match(text)
    return of_target(match["target"]) if match else ()


def target_platform() -> str:
    """Return the platform that images run on here, as uv names it."""
    return host_platform().triple


def _read_known(file: Path) -> str | None:
    """Return the lock in ``file`` if it is one that can be used; None when there is none."""
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as cause:
        raise BuildError(f"cannot read the lock '{file}': {cause}") from cause
    if not _FIRST_LINE.fullmatch(text.partition("\n")[0]):
        raise ConflictError(
            f"'{file.name}' is there already and is not a lock of modelpack",
            hint="rename it: modelpack writes its own lock under that name",
        )
    try:
        read_lock(text)
    except BuildError:
        return None
    return text


def _write(file: Path, text: str) -> None:
    """Replace the lock, whole or not at all."""
    fresh = file.parent / f".{file.name}-{secrets.token_hex(8)}"
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as out:
            out.write(text)
            out.flush()
            os.fsync(handle)
        fresh.replace(file)
    except OSError as cause:
        raise BuildError(f"cannot write the lock '{file}': {cause.strerror}") from cause
    finally:
        fresh.unlink(missing_ok=True)
