"""Images in one tar: what ``docker save`` writes, and an OCI layout packed into a file.

    file ──TarFiles──► paths with their places in the file ─┬─ manifest.json ──► DockerArchive
                                                            └─ index.json ─────► LayoutSource

The tar is gone over once, header by header; bytes are read where they stand, by several threads at
once if need be.  Links within the tar are followed, as older engines write a layer that is there
twice.  Nothing is unpacked.

``manifest.json``: a list of {Config, RepoTags, Layers}, paths in the tar (Docker image specification
v1.2).  Newer engines put an OCI layout beside it, whose manifest is taken where it fits.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelpack.errors import ModelpackError, NotFoundError, RefusedError, RegistryError
from modelpack.image.reading.image import CONFIG_TYPE, GZIP_LAYER_TYPE, LAYER_TYPE
from modelpack.image.reading.members import Kind, Seeking, members
from modelpack.manifest import canonical_json, sha256_digest
from modelpack.registry.base import Document, Place, blobs_of, checked_document, read_descriptor
from modelpack.registry.layouts import read_index, read_small
from modelpack.store.base import MANIFEST_TYPE
from modelpack.store.documents import MAX_DOCUMENT_BYTES
from modelpack.store.durable import Blob
from modelpack.store.names import shown
from modelpack.store.tar import CHUNK

MAX_FILES = 100_000
MANIFEST_FILE = "manifest.json"
_MAX_LINKS = 8
_HINT = "nothing of it was used; get it again from who made it"


class TarFiles:
    """The files of a tar by path; ``close`` it in the end."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise RefusedError(
                f"'{path}' is not a file, and an archive is read in no order",
                hint="save the image into a file first",
            )
        try:
            self._file = path.open("rb")
        except OSError as cause:
            why = (cause.strerror or "it cannot be opened").lower()
            raise RegistryError(f"cannot read '{path}': {why}") from cause
        try:
            self._refuse_packed()
            self._places = self._read_places()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def chunks(self, path: str, offset: int) -> Iterator[bytes]:
        """Give the bytes of a file from ``offset`` on; raises NotFoundError."""
        start, size = self._place(path)
        at = offset
        while at < size:
            data = os.pread(self._file.fileno(), min(CHUNK, size - at), start + at)
            if not data:
                return
            at += len(data)
            yield data

    def size(self, path: str) -> int:
        """Return how many bytes a file has; raises NotFoundError."""
        return self._place(path)[1]

    def _refuse_packed(self) -> None:
        magic = self._file.read(4)
        self._file.seek(0)
        for known, program in ((b"\x1f\x8b", "gunzip"), (b"\x28\xb5\x2f\xfd", "unzstd")):
            if magic.startswith(known):
                raise RefusedError(
                    f"'{self.name}' is compressed", hint=f"unpack it with '{program}' first"
                )

    def _read_places(self) -> dict[str, tuple[int, int] | str]:
        """Return offset and size of each file, and where each link leads."""
        places: dict[str, tuple[int, int] | str] = {}
        for member, _ in members(Seeking(self._file), f"'{self.name}'"):
            path = posixpath.normpath(member.path)
            if member.kind is Kind.FILE:
                places[path] = (member.offset, member.size)
            elif member.kind is Kind.SYMLINK:
                places[path] = posixpath.normpath(f"{posixpath.dirname(path)}/{member.link}")
            elif member.kind is Kind.HARDLINK:
                places[path] = posixpath.normpath(member.link)
            if len(places) > MAX_FILES:
                raise RefusedError(f"'{self.name}' holds more than {MAX_FILES} files", hint=_HINT)
        return places

    def _place(self, path: str) -> tuple[int, int]:
        found: tuple[int, int] | str | None = posixpath.normpath(path)
        for _ in range(_MAX_LINKS):
            found = self._places.get(found.lstrip("/")) if isinstance(found, str) else found
            if isinstance(found, tuple):
                return found
        raise NotFoundError(f"no file '{shown(path)}' in '{self.name}'")


class DockerArchive:
    """One image of a docker archive, as a source."""

    place: Place | None = None

    def __init__(self, files: TarFiles, name: str | None) -> None:
        self.name = f"docker-archive:{files.name}"
        self._files = files
        entry = _chosen(_entries(files), name, self.name)
        config = read_small(files, entry["Config"], MAX_DOCUMENT_BYTES)
        config_blob = Blob(sha256_digest(config), len(config))
        stored = [_stored(files, path) for path in entry["Layers"]]
        diff_ids = diff_ids_of(config, self.name)
        if len(diff_ids) != len(stored):
            raise RefusedError(f"'{self.name}' does not have one layer a 'diff_id'", hint=_HINT)
        layers = [
            (blob or Blob(diff_id, files.size(path)), kind)
            for path, diff_id, (blob, kind) in zip(entry["Layers"], diff_ids, stored, strict=True)
        ]
        self._paths = {config_blob.digest: entry["Config"]}
        for path, (blob, _) in zip(entry["Layers"], layers, strict=True):
            self._paths.setdefault(blob.digest, path)
        self._top = self._manifest_beside(config_blob) or manifest_of(config_blob, layers)

    def top(self) -> Document:
        """Return the manifest of the image."""
        return self._top

    def document(self, blob: Blob) -> Document:
        """Raise NotFoundError: there are no others."""
        raise NotFoundError(f"no manifest '{blob.digest}' in '{self.name}'")

    def chunks(self, blob: Blob, offset: int) -> Iterator[bytes]:
        """Give the bytes of a blob from ``offset`` on."""
        path = self._paths.get(blob.digest)
        if path is None:
            raise NotFoundError(f"no blob '{blob.digest}' in '{self.name}'")
        return self._files.chunks(path, offset)

    def referrers(self, subject: Blob) -> Sequence[Blob]:
        """Return nothing: such an archive says nothing about its images."""
        del subject
        return ()

    def _manifest_beside(self, config: Blob) -> Document | None:
        """Return the manifest of a layout in the same tar that has this config and these layers."""
        with suppress(ModelpackError):
            for one in read_index(self._files, self.name):
                blob = read_descriptor(one, Document(b"{}", ""))
                if one.get("mediaType") != MANIFEST_TYPE:
                    continue
                data = read_small(self._files, f"blobs/sha256/{blob.hex}", MAX_DOCUMENT_BYTES)
                document = checked_document(data, MANIFEST_TYPE, blob, self.name)
                parts = blobs_of(document)
                if parts[0] == config and all(part.digest in self._paths for part in parts):
                    return document
        return None


def manifest_of(config: Blob, layers: Sequence[tuple[Blob, str]]) -> Document:
    """Return the manifest of an image that came without one; ``layers`` with their media types."""
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": config.digest, "size": config.size},
        "layers": [
            {"mediaType": kind, "digest": blob.digest, "size": blob.size} for blob, kind in layers
        ],
    }
    return Document(canonical_json(value), MANIFEST_TYPE)


def read_entries(data: bytes, what: str) -> list[dict[str, Any]]:
    """Return what a ``manifest.json`` lists; raises RefusedError."""
    try:
        listed = json.loads(data)
        entries = [
            {
                "Config": str(one["Config"]),
                "RepoTags": [str(tag) for tag in one.get("RepoTags") or ()],
                "Layers": [str(path) for path in one["Layers"]],
            }
            for one in listed
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise RefusedError(
            f"'{MANIFEST_FILE}' of '{what}' is not of its form", hint=_HINT
        ) from cause
    return entries


def diff_ids_of(config: bytes, what: str) -> list[str]:
    """Return the digests of the tars that a config lists; raises RefusedError."""
    try:
        return [str(one) for one in json.loads(config)["rootfs"]["diff_ids"]]
    except (ValueError, KeyError, TypeError, RecursionError) as cause:
        raise RefusedError(f"the config of '{what}' lists no 'diff_ids'", hint=_HINT) from cause


def _entries(files: TarFiles) -> list[dict[str, Any]]:
    try:
        data = read_small(files, MANIFEST_FILE, MAX_DOCUMENT_BYTES)
    except NotFoundError as cause:
        raise RefusedError(
            f"'{files.name}' is no docker archive: it has no '{MANIFEST_FILE}'",
            hint=f"an OCI layout in a tar is named 'oci-archive:{files.name}'",
        ) from cause
    return read_entries(data, files.name)


def _chosen(entries: Sequence[Mapping[str, Any]], name: str | None, what: str) -> Mapping[str, Any]:
    if name is None and len(entries) == 1:
        return entries[0]
    wanted = {_short(str(name)), _short(f"{name}:latest")}
    for entry in entries:
        if name is not None and wanted & {_short(tag) for tag in entry["RepoTags"]}:
            return entry
    known = [tag for entry in entries for tag in entry["RepoTags"]]
    said = ", ".join(f"'{shown(tag)}'" for tag in known[:5]) or "none"
    if name is None:
        message = f"'{what}' holds {len(entries) or 'no'} images{': say which' * bool(entries)}"
    else:
        message = f"'{what}' has no '{shown(name)}'"
    raise NotFoundError(message, hint=f"write '{what}:NAME'; its names are {said}")


def _short(name: str) -> str:
    """Return a name without the registry that Docker takes it to be in; some tools write it out."""
    return name.removeprefix("docker.io/").removeprefix("library/")


def _stored(files: TarFiles, path: str) -> tuple[Blob | None, str]:
    """Return blob and media type of a layer; None for a plain tar, whose digest is its diff_id."""
    head = next(files.chunks(path, 0), b"")
    if not head.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        return None, LAYER_TYPE
    digest = hashlib.sha256()
    for data in files.chunks(path, 0):
        digest.update(data)
    is_gzip = head.startswith(b"\x1f\x8b")
    kind = GZIP_LAYER_TYPE if is_gzip else f"{LAYER_TYPE}+zstd"
    return Blob(f"sha256:{digest.hexdigest()}", files.size(path)), kind
