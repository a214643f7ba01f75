"""Says which of the installed files get into a layer, and makes them the same on every machine.

    prefix that uv filled ──RECORD of each package──► Part … below bundle/venv/

What differs between machines, tools and users is left out or written anew, in the layer alone: the
files on the disk are often links into uv's cache.

* each file has the digest that its package's RECORD names, so that a cache that was changed is found;
* no ``__pycache__``, nothing of how it was installed (REQUESTED, direct_url.json, …), no headers;
* no scripts that uv wrote for entry points: they hold the path of this machine's Python.  Programs that
  a wheel brings stay, and those in Python start with the image's;
* INSTALLER is always the same; RECORD is sorted and says what is there;
* of two packages that bring one file with other content, the last by name has it.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PathDistribution
from pathlib import Path

from modelpack.errors import BuildError, RefusedError
from modelpack.image.direct.layer import Part
from modelpack.store.names import shown
from modelpack.store.tar import EXECUTABLE_MODE, FILE_MODE

VENV = "bundle/venv"

_HOW_INSTALLED = {
    "REQUESTED",
    "direct_url.json",
    "provenance_url.json",
    "uv_build.json",
    "uv_cache.json",
}
_INSTALLER = b"modelpack\n"
_OWN_PYTHON = b"#!/bundle/venv/bin/python\n"
# Where the path is long, uv writes a shell line that starts Python; see PEP 397 and distlib.
_PYTHON_LINE = re.compile(rb"#!(?:/[^\n]*/pythonw?[0-9.]*|/bin/sh\n'''exec' [^\n]*\n' ''')\n")
_SHA256 = re.compile(r"sha256=([A-Za-z0-9_-]{43})=?")

Again = Callable[[str], Path]
"""Installs the package of that name alone, and returns the prefix."""


@dataclass(frozen=True, slots=True)
class _Package:
    """An installed package."""

    name: str
    """Normalised."""
    folder: str
    """That of its metadata, below the prefix."""
    recorded: dict[str, str | None]
    """Hex digest of each file of its RECORD that may get into a layer, by path below the prefix."""


class _Prefix:
    """What uv has installed below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.site = site_packages(root).relative_to(root).as_posix()
        self.files = dict(_regular_files(root, ""))
        self.packages = sorted(self._packages(), key=lambda one: one.name)

    def part(self, path: str, recorded: str | None) -> Part:
        """Return a file as a part, its path still below the prefix."""
        status = self.files.get(path)
        if status is None:
            raise BuildError(
                f"'{shown(path)}' was not installed, though the record of its package names it",
                hint="run 'uv cache clean' and try again; if it stays, the wheel itself is wrong",
            )
        source = self.root / path
        is_program = status.st_mode & stat.S_IXUSR and ".dist-info/" not in path
        part = Part(
            path,
            status.st_size,
            source,
            EXECUTABLE_MODE if is_program else FILE_MODE,
            sha256=recorded or _digest_of(source),
        )
        return _with_own_python(part) if path.startswith("bin/") else part

    def unrecorded(self) -> Iterator[str]:
        """Give the files of wheels whose RECORD does not name them."""
        known = {path for package in self.packages for path in package.recorded}
        for path in self.files.keys() - known:
            name = path.rpartition("/")[2]
            is_module = path.startswith(f"{self.site}/") and ".dist-info/" not in path
            if is_module and "/__pycache__/" not in path and name != ".lock":
                yield path

    def _packages(self) -> Iterator[_Package]:
        from packaging.utils import canonicalize_name

        for path in self.files:
            folder, _, name = path.rpartition("/")
            if name == "RECORD" and re.fullmatch(
                rf"{re.escape(self.site)}/[^/]+\.dist-info", folder
            ):
                found = PathDistribution(self.root / folder)
                scripts = {
                    f"bin/{point.name}"
                    for point in found.entry_points
                    if point.group in ("console_scripts", "gui_scripts")
                }
                recorded = {
                    line: digest
                    for line, digest in self._lines(path)
                    if line not in scripts and not _is_left_out(line)
                }
                yield _Package(canonicalize_name(found.name), folder, recorded)

    def _lines(self, record: str) -> Iterator[tuple[str, str | None]]:
        """Give the files of a RECORD, as paths below the prefix, and their digests."""
        text = (self.root / record).read_text("utf-8")
        for row in csv.reader(text.splitlines()):
            if not row:
                continue
            path = posixpath.normpath(posixpath.join(str(self.root), self.site, row[0]))
            if not path.startswith(f"{self.root}/"):
                raise RefusedError(
                    f"'{shown(record)}' names '{shown(row[0])}', which lies outside the environment",
                    hint="do not use that package: no honest wheel does that",
                )
            match = _SHA256.fullmatch(row[1]) if len(row) > 1 else None
            digest = base64.urlsafe_b64decode(f"{match[1]}=").hex() if match else None
            yield path.removeprefix(f"{self.root}/"), digest


def installed_parts(root: Path, python: str, again: Again) -> list[Part]:
    """Return the parts of a layer that holds what uv has installed into the prefix ``root``.

    ``python`` is the ``X.Y`` of the image.  Raises BuildError when a file of a package is not there,
    RefusedError when a package names one that lies elsewhere.
    """
    prefix = _Prefix(root)
    owners = {path: package for package in prefix.packages for path in package.recorded}
    contested = _contested(prefix.packages, owners)
    parts = {path: prefix.part(path, None) for path in prefix.unrecorded()}
    for package in prefix.packages:
        other = _Prefix(again(package.name)) if contested.get(package.name) else prefix
        for path, digest in package.recorded.items():
            name = path.removeprefix(f"{package.folder}/")
            if name == "INSTALLER":
                parts[path] = Part.of_bytes(path, _INSTALLER)
            elif owners[path] is package and name != "RECORD":
                source = other if path in contested.get(package.name, ()) else prefix
                parts[path] = source.part(path, digest)
    for package in prefix.packages:
        record = f"{package.folder}/RECORD"
        lines = [parts[path] for path in package.recorded if path in parts]
        parts[record] = Part.of_bytes(record, _record(record, lines, prefix.site))
    return [
        replace(part, path=_in_image(path, prefix.site, python)) for path, part in parts.items()
    ]


def _contested(
    packages: Iterable[_Package], owners: dict[str, _Package]
) -> dict[str, frozenset[str]]:
    """Return the files that several packages bring with other content, by who gets to have them.

    uv installs packages side by side, so which of them is on the disk is chance.
    """
    found: dict[str, set[str]] = {}
    for package in packages:
        for path, digest in package.recorded.items():
            owner = owners[path]
            if owner is not package and (digest is None or owner.recorded[path] != digest):
                found.setdefault(owner.name, set()).add(path)
    return {name: frozenset(files) for name, files in found.items()}


def _is_left_out(path: str) -> bool:
    name = path.rpartition("/")[2]
    return (
        "/__pycache__/" in path
        or path.startswith("include/")
        or (".dist-info/" in path and name in _HOW_INSTALLED)
    )


def _with_own_python(part: Part) -> Part:
    """Return a program that starts with the image's Python, if it starts with this machine's."""
    if not isinstance(part.source, Path):
        return part
    with part.source.open("rb") as file:
        start = file.read(2)
        if start != b"#!":
            return part
        data = start + file.read()
    match = _PYTHON_LINE.match(data)
    if match is None:
        return part
    if hashlib.sha256(data).hexdigest() != part.sha256:
        raise BuildError(
            f"'{shown(part.path)}' is not what the record of its package says",
            hint="run 'uv cache clean' and try again; if it stays, the wheel itself is wrong",
        )
    return Part.of_bytes(part.path, _OWN_PYTHON + data[match.end() :], part.mode)


def _record(path: str, lines: Iterable[Part], site: str) -> bytes:
    """Return the RECORD at ``path`` for the files that are there."""
    rows = [(posixpath.relpath(path, site), "", "")]
    for part in lines:
        if isinstance(part.source, bytes):
            digest = hashlib.sha256(part.source).digest()
        else:
            digest = bytes.fromhex(part.sha256 or "")
        encoded = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        rows.append((posixpath.relpath(part.path, site), f"sha256={encoded}", str(part.size)))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(sorted(rows))
    return text.getvalue().encode()


def _in_image(path: str, site: str, python: str) -> str:
    if path.startswith(f"{site}/"):
        return f"{VENV}/lib/python{python}/site-packages{path.removeprefix(site)}"
    return f"{VENV}/{path}"


def site_packages(root: Path) -> Path:
    """Return the folder below a prefix that packages are installed into; raises BuildError."""
    found = sorted(root.glob("lib/python3*/site-packages"))
    if len(found) != 1:
        raise BuildError(
            "uv has installed the dependencies where nobody looks for them",
            hint="use the version of uv that modelpack was installed with",
        )
    return found[0]


def _regular_files(root: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Give the files below a folder; raises RefusedError for a link or anything else."""
    with os.scandir(root / prefix) as entries:
        for entry in entries:
            path = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _regular_files(root, f"{path}/")
            elif entry.is_file(follow_symlinks=False):
                yield path, entry.stat(follow_symlinks=False)
            elif path != "lib64":
                raise RefusedError(
                    f"a package has installed '{shown(path)}', which is no plain file",
                    hint="do not use that package: wheels have none",
                )


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
