"""Decides which files of a project get into a bundle, and records what they are.

    project root ──walk──► ignored? denied? a link out? ──► FileRecord(path, mode, size, sha256)
                                  └──► skipped, each with its reason

Later rules win: the default ignores, then ``.modelpackignore``, then ``exclude``, all in the
syntax of gitignore.  Secrets are kept apart from that: no pattern lets one in, only its very path
under ``allow_secrets``.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelpack.archive.denied import MAX_SCANNED_BYTES, denied_by, find_secret
from modelpack.config.settings import Project
from modelpack.errors import BuildError, RefusedError, SecretFoundError
from modelpack.manifest import LOCK_FILE, README_FILE, FileRecord
from modelpack.store.names import PathGuard, shown

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE = ".modelpackignore"
DEFAULT_IGNORES = (
    # version control, editors, systems
    ".git/", ".hg/", ".svn/", ".bzr/", ".idea/", ".vscode/", ".DS_Store", "Thumbs.db", "*.swp", "*~",
    # what Python and its tools make again
    "__pycache__/", "*.py[cod]", "*.egg-info/", ".eggs/", ".tox/", ".nox/", ".mypy_cache/",
    ".ruff_cache/", ".pytest_cache/", ".hypothesis/", ".ipynb_checkpoints/", ".coverage", ".coverage.*",
    "htmlcov/", "/build/", "/dist/", "node_modules/", ".cache/",
    # what modelpack writes or reads itself
    "*.modelpack", "*.oci/", f"/{LOCK_FILE}", f"/{IGNORE_FILE}", "/wheels/*.whl",
    # locks of others are read, and name the hosts of indexes
    "/uv.lock", "/pylock.toml",
)  # fmt: skip
_MAX_LINK_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Collected:
    """The files of a project, and what was left out."""

    files: tuple[FileRecord, ...]
    readme: bytes | None
    """``README.md`` of the root; it is not among ``files``."""
    skipped: tuple[str, ...]
    """``PATH (reason)``, folders as a whole."""


def collect_files(project: Project) -> Collected:
    """Return what of ``project.root`` gets into a bundle, sorted by path.

    Raises SecretFoundError for a file with a key in it, RefusedError for a link that leaves the
    project and for names that cannot stand in a bundle, BuildError for a file that is not readable.
    """
    walk = _Walk(project)
    guard = PathGuard("the project", hint="rename it, or list it under 'exclude'")
    records: list[FileRecord] = []
    readme = None
    for path, place in sorted(walk.files(project.root, "", 0)):
        guard.add(path, is_folder=False)
        if path == README_FILE:
            readme = _read_checked(place, path, walk.allowed)
            continue
        records.append(_record(place, path, walk.allowed))
    return Collected(tuple(records), readme, tuple(sorted(walk.skipped)))


class _Walk:
    """Goes through the folders, and keeps what it leaves out."""

    def __init__(self, project: Project) -> None:
        self.allowed = frozenset(project.allow_secrets)
        self.skipped: list[str] = []
        self._root = project.root.resolve()
        self._included = _patterns(project.include)
        self._asked = frozenset(project.include)
        config = project.source
        own = [f"/{config.name}"] if config is not None and config.parent == project.root else []
        ignored = [*DEFAULT_IGNORES, *own, *_ignore_file(project.root), *project.exclude]
        self._ignored = _patterns(ignored)

    def files(self, folder: Path, prefix: str, links: int) -> Iterator[tuple[str, Path]]:
        """Give every file below ``folder`` that gets in, by its path in the bundle."""
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as cause:
            raise BuildError(f"cannot read '{shown(prefix)}': {cause.strerror}") from cause
        for entry in entries:
            path = prefix + entry.name
            place = folder / entry.name
            if self._is_left_out(entry, path):
                continue
            if entry.is_symlink() and (_is_folder(entry) or self._included.match_file(path)):
                self._check_link(place, path, links)
            if _is_folder(entry):
                if (place / "pyvenv.cfg").exists():
                    self._skip(f"{path}/", "a virtual environment")
                else:
                    yield from self.files(place, f"{path}/", links + entry.is_symlink())
            elif not entry.is_file():
                self._skip(path, "neither a file nor a folder")
            elif self._included.match_file(path):
                yield path, place

    def _is_left_out(self, entry: os.DirEntry[str], path: str) -> bool:
        is_folder = _is_folder(entry)
        rule = denied_by(path)
        if rule is not None and not self._leads_to_allowed(path, is_folder):
            if path in self._asked:
                raise SecretFoundError(
                    f"'{shown(path)}' has the name of a secret, '{rule}', and 'include' names it",
                    hint="take it out, or list its path under 'allow_secrets'",
                )
            self._skip(path + "/" * is_folder, f"named like a secret, '{rule}'")
            return True
        if self._ignored.match_file(path + "/" * is_folder):
            self._skip(path + "/" * is_folder, "ignored")
            return True
        return False

    def _leads_to_allowed(self, path: str, is_folder: bool) -> bool:
        if is_folder:
            return any(allowed.startswith(f"{path}/") for allowed in self.allowed)
        return path in self.allowed

    def _check_link(self, place: Path, path: str, links: int) -> None:
        try:
            target = place.resolve(strict=True)
        except (OSError, RuntimeError) as cause:
            raise BuildError(
                f"the link '{shown(path)}' leads nowhere", hint="remove it, or list it in 'exclude'"
            ) from cause
        if not target.is_relative_to(self._root):
            raise RefusedError(
                f"the link '{shown(path)}' leaves the project: it leads to '{shown(str(target))}'",
                hint="copy what it leads to, or list it under 'exclude'",
            )
        inside = target.relative_to(self._root).as_posix()
        rule = denied_by(inside)
        if rule is not None and path not in self.allowed and inside not in self.allowed:
            raise SecretFoundError(
                f"the link '{shown(path)}' leads to '{shown(inside)}', named like a secret, "
                f"'{rule}'",
                hint="remove it, or list its path under 'allow_secrets'",
            )
        if links >= _MAX_LINK_DEPTH or place.parent.resolve().is_relative_to(target):
            raise RefusedError(
                f"the link '{shown(path)}' leads back to where it came from",
                hint="remove it, or list it under 'exclude'",
            )

    def _skip(self, path: str, why: str) -> None:
        self.skipped.append(f"{shown(path)} ({why})")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _patterns(lines: Sequence[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines)


def _ignore_file(root: Path) -> list[str]:
    try:
        return (root / IGNORE_FILE).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as cause:
        raise BuildError(f"cannot read '{IGNORE_FILE}': {cause}") from cause


def _record(place: Path, path: str, allowed: frozenset[str]) -> FileRecord:
    try:
        with place.open("rb") as file:
            facts = os.fstat(file.fileno())
            if facts.st_size <= MAX_SCANNED_BYTES:
                data = file.read()
                _check_content(data, path, allowed)
                size, digest = len(data), hashlib.sha256(data).hexdigest()
            else:
                size, digest = facts.st_size, hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as cause:
        raise BuildError(f"cannot read '{shown(path)}': {cause.strerror}") from cause
    is_program = bool(facts.st_mode & stat.S_IXUSR)
    return FileRecord(path=path, mode=0o755 if is_program else 0o644, size=size, sha256=digest)


def _read_checked(place: Path, path: str, allowed: frozenset[str]) -> bytes:
    try:
        data = place.read_bytes()
    except OSError as cause:
        raise BuildError(f"cannot read '{shown(path)}': {cause.strerror}") from cause
    _check_content(data, path, allowed)
    return data


def _check_content(data: bytes, path: str, allowed: frozenset[str]) -> None:
    if path in allowed:
        return
    if found := find_secret(data):
        kind, line = found
        raise SecretFoundError(
            f"'{shown(path)}' holds what looks like {kind}, in line {line}",
            hint=f"take it out, or list '{shown(path)}' under 'allow_secrets'",
        )
