"""The packages of a lock as files, so that an image is built and a service installed with no network.

    lock ──uv (pylock)──► where the files are ──► the best wheel for each platform
                                                       └─fetched, digest checked─► cache ──► LocalWheel

Which files belong to a lock is kept in the cache too: the same lock needs the network once.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from modelpack import paths
from modelpack.archive.inputs import LocalWheel
from modelpack.archive.local_wheels import wheel_of
from modelpack.archive.lockfile import LockedPackage, read_lock
from modelpack.archive.platforms import Platform
from modelpack.archive.resolver import run_uv
from modelpack.archive.torch import backend_of, torch_arguments
from modelpack.errors import BuildError, DigestMismatchError
from modelpack.manifest import canonical_json
from modelpack.progress import SILENT, Progress
from modelpack.store.names import shown

if TYPE_CHECKING:
    from packaging.tags import Tag

_CHUNK = 1 << 20
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class _File:
    """A wheel that is to be had somewhere."""

    url: str
    name: str
    sha256: str


def applying(
    packages: Iterable[LockedPackage], platform: Platform, python: str
) -> Iterator[LockedPackage]:
    """Give the packages of a lock that are installed on a platform."""
    from packaging.markers import Marker

    environment = platform.environment(python)
    for package in packages:
        if not package.marker or Marker(package.marker).evaluate(environment):
            yield package


def is_complete(
    packages: Iterable[LockedPackage], files: Iterable[str], platform: Platform, python: str
) -> bool:
    """Say whether wheels of these names are all that the lock needs on the platform."""
    from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

    tags = frozenset(platform.tags(python))
    there: set[tuple[str, str]] = set()
    for file in files:
        try:
            name, version, _, fits = parse_wheel_filename(file)
        except InvalidWheelFilename:
            continue
        if not tags.isdisjoint(fits):
            there.add((name, str(version)))
    needed = {
        (canonicalize_name(one.name), one.version) for one in applying(packages, platform, python)
    }
    return needed <= there


def fetch_wheels(
    lock: str,
    python: str,
    platforms: Sequence[Platform],
    *,
    known: Iterable[LocalWheel] = (),
    progress: Progress = SILENT,
) -> tuple[LocalWheel, ...]:
    """Return a wheel for each package of the lock on each platform, sorted.

    ``known`` are those that lie on this machine already.  Raises BuildError when one cannot be had,
    DigestMismatchError when its bytes are not those that the lock names.
    """
    there = {wheel.sha256: wheel for wheel in known}
    home = paths.cache_dir() / "wheels"
    chosen = _chosen(lock, python, platforms, frozenset(there), home)
    missing = [file for file in chosen if not (home / file.sha256 / file.name).is_file()]
    if missing:
        with progress.step(f"fetching {len(missing)} wheels"):
            _fetch_all(missing, home)
    fetched = [wheel_of(home / file.sha256 / file.name) for file in chosen]
    return tuple(sorted({*fetched, *there.values()}))


def _chosen(
    lock: str,
    python: str,
    platforms: Sequence[Platform],
    known: frozenset[str],
    home: Path,
) -> list[_File]:
    """Return the files of a lock, as the cache has noted them or as uv finds them."""
    facts = [lock, python, [platform.name for platform in platforms], sorted(known)]
    note = home / f"{hashlib.sha256(canonical_json(facts)).hexdigest()[:32]}.json"
    noted = _noted(note)
    if noted is not None and all((home / one.sha256 / one.name).is_file() for one in noted):
        return noted
    packages = read_lock(lock)
    found: set[_File] = set()
    for platform in platforms:
        needed = [
            package
            for package in applying(packages, platform, python)
            if known.isdisjoint(one.removeprefix("sha256:") for one in package.hashes)
        ]
        if needed:
            found.update(_located(needed, packages, platform, python))
    chosen = sorted(found, key=lambda one: one.name)
    # The addresses stay out of the note: they may hold a login.
    _keep(note, json.dumps([[one.name, one.sha256] for one in chosen]).encode())
    return chosen


def _noted(note: Path) -> list[_File] | None:
    try:
        return [_File("", name, digest) for name, digest in json.loads(note.read_bytes())]
    except (OSError, ValueError, TypeError):
        return None


def _located(
    needed: Sequence[LockedPackage],
    packages: Sequence[LockedPackage],
    platform: Platform,
    python: str,
) -> Iterator[_File]:
    """Give the best wheel of each package whose digest the lock names."""
    from packaging.pylock import Pylock

    output = run_uv(
        [
            "pip",
            "compile",
            "-",
            "--no-deps",
            "--format=pylock.toml",
            "--no-header",
            "--only-binary=:all:",
            f"--python-version={python}",
            f"--python-platform={platform.triple}",
            *torch_arguments(backend_of(packages)),
        ],
        goal="find the files of the locked dependencies",
        stdin="".join(f"{one.name}=={one.version}\n" for one in needed),
        uses_index=True,
    )
    listed = {str(one.name): one for one in Pylock.from_dict(tomllib.loads(output)).packages}
    tags = platform.tags(python)
    for package in needed:
        entry = listed.get(_normal(package.name))
        files = [
            _File(wheel.url or Path(wheel.path or "").absolute().as_uri(), wheel.filename, digest)
            for wheel in (entry.wheels if entry else None) or ()
            if (digest := wheel.hashes.get("sha256", "")) and f"sha256:{digest}" in package.hashes
        ]
        best = _best(files, tags)
        if best is None:
            raise BuildError(
                f"the index has no wheel of '{package.name}' {package.version} for "
                f"{platform.name} that the lock names",
                hint="build again with --relock",
            )
        yield best


def _normal(name: str) -> str:
    from packaging.utils import canonicalize_name

    return canonicalize_name(name)


def _best(files: Iterable[_File], tags: Sequence[Tag]) -> _File | None:
    from packaging.utils import parse_wheel_filename

    order = {tag: place for place, tag in enumerate(tags)}
    ranked = [
        (min(places), file.name, file)
        for file in files
        if (places := [order[one] for one in parse_wheel_filename(file.name)[3] if one in order])
    ]
    return min(ranked, key=lambda one: one[:2])[2] if ranked else None


def _fetch_all(files: Sequence[_File], home: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done in [pool.submit(_fetch, file, home) for file in files]:
            done.result()


def _fetch(file: _File, home: Path) -> None:
    """Put a wheel into the cache, whole and checked, or not at all."""
    folder = home / file.sha256
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, fresh = tempfile.mkstemp(dir=folder, prefix=".")
    digest = hashlib.sha256()
    try:
        with os.fdopen(handle, "wb") as out:
            for chunk in _read(file):
                digest.update(chunk)
                out.write(chunk)
        if digest.hexdigest() != file.sha256:
            raise DigestMismatchError(
                f"'{shown(file.name)}' is not what the lock names: other bytes came",
                hint="do not use that index until somebody knows why",
            )
        Path(fresh).replace(folder / file.name)
    except OSError as cause:
        raise BuildError(
            f"cannot fetch '{shown(file.name)}': {getattr(cause, 'reason', None) or cause}",
            hint="this step needs the network; what was fetched before is kept",
        ) from cause
    finally:
        Path(fresh).unlink(missing_ok=True)


def _read(file: _File) -> Iterator[bytes]:
    url = urlsplit(file.url)
    if url.scheme == "file":
        with Path(unquote(url.path)).open("rb") as source:
            while chunk := source.read(_CHUNK):
                yield chunk
        return
    from modelpack.archive.fetching import open_url

    with open_url(file.url) as answer:
        while chunk := answer.read(_CHUNK):
            yield chunk


def _keep(place: Path, data: bytes) -> None:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, fresh = tempfile.mkstemp(dir=place.parent, prefix=".")
    with os.fdopen(handle, "wb") as out:
        out.write(data)
    Path(fresh).replace(place)
