"""Keeps the layers that were made, under what they were made of.

    facts (lock, platform, Python …) ──► KEY ──► layers/KEY.json ──► layers/blobs/HEX
                                                 digest, size, stat   the layer itself

    layers/scratch/   where layers are made ready: one folder for each living builder

What always holds:

* a layer is in its place whole or not at all: it is made apart and moved there, so that builders who
  work at the same time do no harm to each other;
* a layer is believed as long as size, time and inode of its file are those that were noted; else it
  is read and its digest decides.  Whoever hands it on checks the digest of what he reads, so a file
  that rots ends a build and never reaches an image;
* it grows to ``CAP_BYTES``: what was not used for longest goes first, and nothing that was used
  within the last hour.

Everything here can be made again and is safe to delete.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from modelpack import paths
from modelpack.errors import BuildError
from modelpack.image.direct.layer import LAYER_TYPE, LayerWriter
from modelpack.manifest import canonical_json
from modelpack.store.durable import DIGEST, held_by_nobody, locked

CAP_BYTES = 10 * 1000**3
"""Most bytes that the layers take, as far as those of the last hour allow."""

_FORM = 1
"""Counted up when the same facts give other bytes: no key of before fits any more."""
_IN_USE_S = 3600


@dataclass(frozen=True, slots=True)
class LayerFile:
    """A layer that was made here, as a file of the cache."""

    what: str
    """For people, such as ``Python packages (15)``."""
    created_by: str
    """For the image's history: one line that is the same wherever it is made."""
    media_type: str
    """``application/vnd.oci.image.layer.v1.tar``, or that with ``+gzip``."""
    digest: str
    """``sha256:HEX`` of the file."""
    diff_id: str
    """``sha256:HEX`` of the tar; that of the file where it is not compressed."""
    size: int
    """Bytes of the file."""
    path: Path
    """Read-only; who copies it checks the digest of what he reads."""


class _Made(NamedTuple):
    """What is known of a layer in the cache."""

    digest: str
    diff_id: str
    size: int
    path: Path


Fill = Callable[[LayerWriter], str | None]
"""Writes a layer and returns the digest of its tar, or None where that is the file's."""


class LayerCache:
    """The layers below ``$MODELPACK_CACHE/image``."""

    def __init__(self, home: Path | None = None, *, cap_bytes: int = CAP_BYTES) -> None:
        self.home = home or paths.cache_dir() / "image" / "layers"
        self._blobs = self.home / "blobs"
        self._cap_bytes = cap_bytes

    def ensure(
        self,
        facts: Mapping[str, Any],
        *,
        what: str,
        created_by: str,
        fill: Fill,
        media_type: str = LAYER_TYPE,
    ) -> LayerFile:
        """Return the layer that is made of ``facts``; it is made where it is not there.

        Raises what ``fill`` raises, and BuildError when the cache cannot be written.
        """
        key = hashlib.sha256(canonical_json({**facts, "form": _FORM})).hexdigest()[:32]
        noted = self._find(key)
        if noted is not None:
            # The words are those of today, so that an image is the same with a cache and without.
            return LayerFile(what, created_by, media_type, *noted)
        with self.scratch() as folder, LayerWriter(folder / "layer") as out:
            diff_id = fill(out)
            digest = out.digest()
            made = _Made(digest, diff_id or digest, out.size, self._blob(digest))
            out.path.replace(made.path)
            self._write_note(key, made)
        with suppress(OSError):
            self._trim()
        return LayerFile(what, created_by, media_type, *made)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a folder of one's own beside the layers; it is gone at the end.

        Those of builders who died are removed.  Raises BuildError when there is no room.
        """
        place = self.home / "scratch"
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._blobs.mkdir(mode=0o700, exist_ok=True)
            # Nobody may take a folder for a dead one's between its making and its lock.
            with locked(self.home / "lock"):
                for dead in held_by_nobody(place):
                    shutil.rmtree(dead, ignore_errors=True)
                folder = Path(tempfile.mkdtemp(dir=place))
                handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(handle)
        except OSError as cause:
            raise BuildError(
                f"cannot make a layer in '{self.home}': {cause.strerror or cause}",
                hint="make room, or set MODELPACK_CACHE to another folder",
            ) from cause

    def _find(self, key: str) -> _Made | None:
        """Return the layer of a key, if it is there and is what was noted."""
        note = self._note(key)
        try:
            noted = json.loads(note.read_bytes())
            path = self._blob(noted["digest"])
            made = _Made(noted["digest"], str(noted["diff_id"]), int(noted["size"]), path)
            status = path.stat()
            if status.st_size != made.size:
                return None
            if noted["stat"] == _stat(status):
                os.utime(note)
            elif _digest_of(path) == made.digest:
                self._write_note(key, made)
            else:
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return made

    def _write_note(self, key: str, made: _Made) -> None:
        note = {
            "digest": made.digest,
            "diff_id": made.diff_id,
            "size": made.size,
            "stat": _stat(made.path.stat()),
        }
        handle, fresh = tempfile.mkstemp(dir=self.home, prefix=".")
        with os.fdopen(handle, "wb") as out:
            out.write(canonical_json(note))
        Path(fresh).replace(self._note(key))

    def _trim(self) -> None:
        """Remove what was not used for longest until the rest is below the cap."""
        now = time.time()
        used: dict[str, float] = {}  # by name of the blob
        notes: dict[str, list[Path]] = {}
        for note in self.home.glob("*.json"):
            with suppress(OSError, ValueError, KeyError, TypeError):
                name = self._blob(json.loads(note.read_bytes())["digest"]).name
                notes.setdefault(name, []).append(note)
                used[name] = max(used.get(name, 0.0), note.stat().st_mtime)
        sizes: dict[str, int] = {}
        for blob in self._blobs.iterdir():
            with suppress(OSError):
                status = blob.stat()
                sizes[blob.name] = status.st_size
                used.setdefault(blob.name, status.st_mtime)
        total = sum(sizes.values())
        for name in sorted(sizes, key=lambda name: used[name]):
            if total <= self._cap_bytes or now - used[name] < _IN_USE_S:
                break
            for place in (*notes.pop(name, ()), self._blobs / name):
                place.unlink(missing_ok=True)
            total -= sizes[name]
        for name in notes.keys() - sizes.keys():
            for note in notes[name]:
                note.unlink(missing_ok=True)

    def _note(self, key: str) -> Path:
        return self.home / f"{key}.json"

    def _blob(self, digest: str) -> Path:
        if not DIGEST.fullmatch(digest):
            raise ValueError("not a digest")
        return self._blobs / digest.removeprefix("sha256:")


def _stat(status: os.stat_result) -> list[int]:
    return [status.st_mtime_ns, status.st_ino]


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
