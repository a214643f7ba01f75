"""What a target would send, as files that can be read, kept and compared.

    DeploymentSpec ──Target.render──► Rendered(files) ──write──► DIR/template.json …

Pure until it is written; the same spec gives the same bytes.  No file leaves the folder, and none
holds the value of a secret.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelpack.errors import DeployError

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """Files by their path below one folder; raises ValueError for a path that may leave it."""

    files: Mapping[str, bytes]

    def __post_init__(self) -> None:
        for path in self.files:
            if not all(_PART.fullmatch(part) for part in path.split("/")):
                raise ValueError(f"not a path below one folder: {path!r}")

    def write(self, folder: Path) -> list[Path]:
        """Write every file, each whole or not at all; return their paths, sorted.

        Files that are there already are replaced, others stay.  Raises DeployError.
        """
        written = []
        for path, data in sorted(self.files.items()):
            file = folder / path
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                _refuse_links(file.parent, folder)
                _replace(file, data)
            except OSError as cause:
                raise DeployError(
                    f"'{file}' cannot be written: {cause.strerror or cause}",
                    hint="give another folder with '--output'",
                ) from cause
            written.append(file)
        return written


def _refuse_links(inner: Path, folder: Path) -> None:
    """Raise OSError when the way below the folder goes through a link to somewhere else."""
    if not inner.resolve().is_relative_to(folder.resolve()):
        raise OSError("it is behind a link that leaves the folder")


def _replace(file: Path, data: bytes) -> None:
    staged = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(staged, flags, 0o644), "wb") as stream:
            stream.write(data)
        staged.replace(file)
    except BaseException:
        with suppress(FileNotFoundError):
            staged.unlink()
        raise
