"""Packages that no index has: wheels in the project's folder, and packages that lie beside it.

    wheels/*.whl              ──► taken if something needs that name    ─┐
    ./libs/x-1.0-…-any.whl    ──► required                               ├──► LocalWheel ──► bundle/wheels
    ./libs/y, -e ./libs/y     ──► built by its own backend, packed anew ─┘

What is built is kept in the cache, under the digest of its sources, and written in one form (order,
time, modes), so that the same sources give the same wheel.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from modelpack import paths
from modelpack.archive.inputs import LocalWheel
from modelpack.archive.resolver import run_uv
from modelpack.errors import BuildError, NotFoundError
from modelpack.manifest import canonical_json
from modelpack.progress import SILENT, Progress
from modelpack.store.names import shown

WHEELS_FOLDER = "wheels"
_IGNORED = {
    ".git", ".hg", ".svn", "__pycache__", ".tox", ".nox", ".mypy_cache", ".ruff_cache",
    ".pytest_cache", "build", "dist", "node_modules",
}  # fmt: skip
_EPOCH = "315532800"  # 1980, the first time that a zip file can hold


def local_wheels(
    root: Path, required: Iterable[str], progress: Progress = SILENT
) -> tuple[LocalWheel, ...]:
    """Return the wheels of ``root/wheels`` and those of the paths that are required, sorted.

    ``required`` are paths of wheels and of packages, relative to ``root`` or whole.  Raises
    NotFoundError for one that is not there, BuildError when it cannot be built or when there are two
    versions of one name.
    """
    found: dict[str, LocalWheel] = {}
    folder = root / WHEELS_FOLDER
    if folder.is_dir():
        for file in sorted(folder.glob("*.whl")):
            _add(found, wheel_of(file))
    for text in sorted(set(required)):
        place = root / text
        if place.suffix == ".whl" and place.is_file():
            wheel = wheel_of(place, is_required=True)
        elif place.is_dir():
            wheel = wheel_of(_built(place, text, progress), is_required=True)
        else:
            raise NotFoundError(
                f"the requirement '{shown(text)}' is not there",
                hint="a path in 'requirements' is that of a wheel or of a package's folder",
            )
        _add(found, wheel)
    return tuple(sorted(found.values()))


def wheel_of(file: Path, *, is_required: bool = False) -> LocalWheel:
    """Return what a wheel is; raises BuildError when it is none."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        name, version, _, _ = parse_wheel_filename(file.name)
        with file.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise BuildError(f"'{shown(file.name)}' is not a wheel: it is no zip file")
            stream.seek(0)
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = file.stat().st_size
    except InvalidWheelFilename as cause:
        raise BuildError(
            f"'{shown(file.name)}' does not have the name of a wheel",
            hint="it is NAME-VERSION-PYTHON-ABI-PLATFORM.whl: keep the name that it was built with",
        ) from cause
    except OSError as cause:
        raise BuildError(f"cannot read '{shown(file.name)}': {cause.strerror}") from cause
    return LocalWheel(
        name, str(version), file.name, digest, size, file.absolute(), is_required=is_required
    )


def _add(found: dict[str, LocalWheel], wheel: LocalWheel) -> None:
    for known in found.values():
        if known.name == wheel.name and known.version != wheel.version:
            raise BuildError(
                f"'{known.file_name}' and '{wheel.file_name}' are two versions of one package",
                hint="keep the one that is to be installed",
            )
    known_file = found.get(wheel.file_name)
    if known_file is not None and known_file.sha256 != wheel.sha256:
        raise BuildError(
            f"there are two files '{wheel.file_name}' with other content",
            hint="keep the one that is to be installed",
        )
    if known_file is None or wheel.is_required:
        found[wheel.file_name] = wheel


def _built(folder: Path, text: str, progress: Progress) -> Path:
    """Return the wheel of a package's folder, from the cache where its sources are unchanged."""
    if not any((folder / name).is_file() for name in ("pyproject.toml", "setup.py")):
        raise BuildError(
            f"'{shown(text)}' is not a package: it has no pyproject.toml",
            hint="code that is not a package is packed with the project by itself",
        )
    sources = sorted(_sources(folder, ""))
    home = paths.cache_dir() / "built" / _digest(folder, sources)
    if known := sorted(home.glob("*.whl")):
        return known[0]
    with (
        progress.step(f"building a wheel of '{shown(text)}'"),
        tempfile.TemporaryDirectory(prefix="modelpack-wheel-") as scratch,
    ):
        copy = Path(scratch, "sources")
        for path in sources:  # backends leave litter where they build
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / path, copy / path)
        out = Path(scratch, "out")
        run_uv(
            ["build", "--wheel", "--no-create-gitignore", f"--out-dir={out}", str(copy)],
            goal=f"build a wheel of '{shown(text)}'",
            folder=copy,
            uses_index=True,
            environ={"SOURCE_DATE_EPOCH": _EPOCH, "PYTHONHASHSEED": "0"},
        )
        made = next(out.glob("*.whl"))
        return _keep(home / made.name, normal_wheel(made.read_bytes()))


def _sources(folder: Path, prefix: str) -> Iterator[str]:
    for entry in os.scandir(folder / prefix):
        path = prefix + entry.name
        if entry.name in _IGNORED or entry.name.endswith((".egg-info", ".pyc")):
            continue
        if entry.is_dir(follow_symlinks=False):
            if not Path(entry.path, "pyvenv.cfg").exists():
                yield from _sources(folder, f"{path}/")
        elif entry.is_file():
            yield path


def _digest(folder: Path, sources: Iterable[str]) -> str:
    facts = [
        [
            path,
            bool((folder / path).stat().st_mode & stat.S_IXUSR),
            hashlib.sha256((folder / path).read_bytes()).hexdigest(),
        ]
        for path in sources
    ]
    return hashlib.sha256(canonical_json(facts)).hexdigest()[:32]


def _keep(place: Path, data: bytes) -> Path:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, fresh = tempfile.mkstemp(dir=place.parent, prefix=".")
    with os.fdopen(handle, "wb") as out:
        out.write(data)
    return Path(fresh).replace(place)


def normal_wheel(data: bytes) -> bytes:
    """Return a wheel with the same files, in one order, at one time, stored, with plain modes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        members = [one for one in old.infolist() if not one.is_dir()]
        # The metadata goes last, as the wheel specification recommends.
        members.sort(key=lambda one: (".dist-info/" in one.filename, one.filename))
        for member in members:
            entry = zipfile.ZipInfo(member.filename, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            is_program = member.external_attr >> 16 & stat.S_IXUSR
            entry.external_attr = (0o100755 if is_program else 0o100644) << 16
            new.writestr(entry, old.read(member))
    return buffer.getvalue()
