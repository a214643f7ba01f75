"""One fully hashed ``requirements.lock``, made once and used again without a network.

    requirements of the project + of its models + of the server
        └─ inputs digest ─► the same as in the lock's first line?  ─ yes ─► used as it is
                                                                   └ no ──► uv ──► written anew

The file holds names, versions and hashes in one fixed form, and nothing of where they came from.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelpack.archive.resolver import run_uv
from modelpack.errors import BuildError, ConflictError
from modelpack.manifest import canonical_json
from modelpack.progress import SILENT, Progress

_FORM = 1
_FIRST_LINE = re.compile(
    r"# modelpack lock (?P<form>\d+), python (?P<python>\d\.\d+), (?P<target>\S+), "
    r"inputs sha256:(?P<inputs>[0-9a-f]{64})"
)
_PACKAGE = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9.+!_-]+)"
    r"(?:\s*;\s*(?P<marker>[^\\]+?))?"
)
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """One package of a lock."""

    name: str
    version: str
    marker: str | None
    hashes: tuple[str, ...]
    """``sha256:HEX`` of every file that may be installed; at least one."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a lock is made from."""

    requirements: tuple[str, ...]
    """Checked lines, sorted."""
    python: str
    """``X.Y``."""
    target: str
    """Platform as uv names it, such as ``x86_64-unknown-linux-gnu``."""

    @property
    def digest(self) -> str:
        """Hex digest over all of it."""
        facts = {
            "form": _FORM,
            "requirements": list(self.requirements),
            "python": self.python,
            "target": self.target,
        }
        return hashlib.sha256(canonical_json(facts)).hexdigest()

    @property
    def first_line(self) -> str:
        """The comment that starts the lock."""
        return (
            f"# modelpack lock {_FORM}, python {self.python}, {self.target}, "
            f"inputs sha256:{self.digest}"
        )


def ensure_lock(
    inputs: Inputs, file: Path, *, relock: bool = False, progress: Progress = SILENT
) -> tuple[str, bool]:
    """Return the lock for ``inputs`` and whether ``file`` had it already.

    Without one, or with ``relock``, uv resolves it and ``file`` is written.  Raises BuildError when
    that fails, ConflictError when ``file`` was written by somebody else.
    """
    known = _read_known(file)
    if known is not None and not relock and known.splitlines()[0] == inputs.first_line:
        return known, True
    with progress.step("locking the dependencies"):
        text = resolve(inputs, file.parent)
    if text != known:
        _write(file, text)
    return text, False


def resolve(inputs: Inputs, folder: Path) -> str:
    """Return a new lock, made by uv in ``folder``; raises BuildError."""
    output = run_uv(
        [
            "pip",
            "compile",
            "-",
            "--generate-hashes",
            "--no-header",
            "--no-annotate",
            "--no-emit-index-url",
            "--no-emit-find-links",
            "--only-binary=:all:",
            f"--python-version={inputs.python}",
            f"--python-platform={inputs.target}",
        ],
        goal="lock the requirements",
        stdin="\n".join(inputs.requirements) + "\n",
        folder=folder if folder.is_dir() else None,
        uses_index=True,
    )
    return lock_text(inputs, read_lock(output))


def lock_text(inputs: Inputs, packages: Sequence[LockedPackage]) -> str:
    """Return the file for the packages, in the one form."""
    lines = [inputs.first_line]
    for package in sorted(packages, key=lambda package: (package.name, package.version)):
        marker = f" ; {package.marker}" if package.marker else ""
        hashes = [f"    --hash={one}" for one in sorted(package.hashes)]
        lines.append(" \\\n".join([f"{package.name}=={package.version}{marker}", *hashes]))
    return "\n".join(lines) + "\n"


def read_lock(text: str) -> tuple[LockedPackage, ...]:
    """Return the packages of a lock; raises BuildError for a line that is none.

    Every package must be pinned and hashed: an option, a URL or a bare name in a lock would bring
    something that nobody has seen.
    """
    packages = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words, *options = re.split(r"\s+(?=--)", line.strip())
        match = _PACKAGE.fullmatch(words)
        hashes = [_HASH.fullmatch(option) for option in options]
        if match is None or not hashes or not all(hashes):
            raise BuildError(
                f"the lock has a line that is no pinned and hashed package: '{line[:80].strip()}'",
                hint="build again with --relock",
            )
        found = tuple(one[1] for one in hashes if one)
        packages.append(LockedPackage(match["name"], match["version"], match["marker"], found))
    return tuple(packages)


def target_platform() -> str:
    """Return the platform that images run on here: Linux, with this machine's processor."""
    machine = platform.machine().lower()
    known = {"amd64": "x86_64", "arm64": "aarch64"}
    return f"{known.get(machine, machine)}-unknown-linux-gnu"


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
