"""Images of the container engine, exported once and kept by their id.

    engine ──docker save, as a stream──► layers, config ──► $MODELPACK_CACHE/image/exports
    the same image again ─────────────────────────────────► read from there

An engine gives the layers of an image only all at once, in a tar.  The folder is an OCI layout: blobs
that images share are there once, what is written appears whole or not at all, and the oldest go
when there are more than ``MAX_IMAGES``.  It is safe to delete.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from modelpack import paths
from modelpack.errors import (
    EngineError,
    ModelpackError,
    NotFoundError,
    RefusedError,
    ToolMissingError,
)
from modelpack.image.reading.archives import (
    MANIFEST_FILE,
    diff_ids_of,
    manifest_of,
    read_entries,
)
from modelpack.image.reading.image import GZIP_LAYER_TYPE, LAYER_TYPE
from modelpack.image.reading.members import Kind, Pulled, members
from modelpack.image.reading.unpacking import peek
from modelpack.progress import SILENT, Progress
from modelpack.registry.base import Document, blobs_of
from modelpack.registry.layouts import Folder, LayoutSource
from modelpack.registry.names import LayoutReference
from modelpack.store import index
from modelpack.store.base import MANIFEST_TYPE, REF_NAME, Descriptor
from modelpack.store.documents import MAX_DOCUMENT_BYTES
from modelpack.store.durable import Blob, Staging
from modelpack.store.layout import Layout
from modelpack.store.names import shown
from modelpack.store.tar import Sink

if TYPE_CHECKING:
    from docker import APIClient

MAX_IMAGES = 8
"""Exported images that are kept."""
MAX_FILES = 10_000
_ID = "dev.modelpack.image.id"


@dataclass(slots=True)
class _Saved:
    """What came out of the engine's tar so far."""

    blobs: dict[str, Blob]
    """Files by path."""
    gzipped: set[str]
    links: dict[str, str]
    manifest: bytes = b""


def find_in_engine(name: str) -> str | None:
    """Return the id of an image of the engine, or None when it has none of that name.

    Raises ToolMissingError when no engine answers.
    """
    from docker.errors import ImageNotFound

    with _engine(f"look at the image '{shown(name)}'") as engine:
        try:
            return str(_inspect(engine, name)["Id"])
        except ImageNotFound:
            return None


def engine_source(name: str, progress: Progress = SILENT) -> LayoutSource:
    """Return an image of the engine as a source; it is exported first unless it was before.

    Raises NotFoundError, ToolMissingError when no engine answers, EngineError.
    """
    image_id = find_in_engine(name)
    if image_id is None:
        raise NotFoundError(
            f"no image '{shown(name)}' in the engine",
            hint="'modelpack containerize' makes one; 'registry:HOST/NAME:TAG' or 'oci:DIR' name "
            "one elsewhere",
        )
    layout = Layout(paths.cache_dir() / "image" / "exports")
    found = _kept(layout, image_id)
    if found is None:
        with (
            _engine(f"export the image '{shown(name)}'") as engine,
            progress.step(f"take {shown(name)} out of the engine"),
        ):
            found = _export(layout, engine.get_image(image_id), image_id)
    reference = LayoutReference(f"file://{layout.root}", digest=str(found["digest"]))
    source = LayoutSource(Folder(layout.root), reference)
    source.name = f"engine:{name}"
    return source


def _kept(layout: Layout, image_id: str) -> Descriptor | None:
    """Return what the layout lists of an image whose blobs are all there, with their sizes."""
    for one in layout.descriptors():
        if index.annotation(one, _ID) != image_id:
            continue
        with suppress(ModelpackError):
            data = layout.read_document(str(one["digest"]))
            parts = blobs_of(Document(data, MANIFEST_TYPE))
            if all(layout.blob_size(part.digest) == part.size for part in parts):
                return one
    return None


def _export(layout: Layout, chunks: Iterator[bytes], image_id: str) -> Descriptor:
    with layout.stage() as staging:
        saved = _take_in(chunks, staging, image_id)
        entries = read_entries(saved.manifest, image_id)
        if len(entries) != 1:
            raise EngineError(f"the engine exported {len(entries)} images for '{image_id}'")
        config = _blob_at(saved, entries[0]["Config"])
        layers = [_blob_at(saved, path) for path in entries[0]["Layers"]]
        with staging.open_blob(config.digest) as file:
            diff_ids = diff_ids_of(file.read(MAX_DOCUMENT_BYTES), image_id)
        if len(diff_ids) != len(layers):
            raise EngineError(f"the engine exported {len(layers)} layers for '{image_id}'")
        kinds = [GZIP_LAYER_TYPE if one.digest in saved.gzipped else LAYER_TYPE for one in layers]
        plain = [
            (one.digest, diff_id)
            for one, diff_id, kind in zip(layers, diff_ids, kinds, strict=True)
            if kind == LAYER_TYPE
        ]
        if any(digest != diff_id for digest, diff_id in plain):
            raise EngineError(f"the engine exported other layers than '{image_id}' has")
        manifest = staging.write_bytes(
            manifest_of(config, list(zip(layers, kinds, strict=True))).data
        )
        needed = {one.digest for one in (manifest, config, *layers)}
        for blob in [one for one in staging.blobs.values() if one.digest not in needed]:
            staging.drop(blob)
        descriptor = {
            "mediaType": MANIFEST_TYPE,
            "digest": manifest.digest,
            "size": manifest.size,
            "annotations": {_ID: image_id, REF_NAME: image_id.removeprefix("sha256:")[:12]},
        }
        with layout.change(staging) as change:
            old = [one for one in change.descriptors if index.annotation(one, _ID) == image_id]
            rest = [one for one in change.descriptors if one not in old]
            gone = rest[: max(len(rest) + 1 - MAX_IMAGES, 0)]
            change.descriptors[:] = [*rest[len(gone) :], descriptor]
            for one in (*old, *gone):
                change.unused |= layout.references(str(one.get("digest")))
    return descriptor


def _take_in(chunks: Iterator[bytes], staging: Staging, image_id: str) -> _Saved:
    """Write every file of the engine's tar into the staging folder."""
    saved = _Saved({}, set(), {})
    for member, content in members(Pulled(chunks), f"the export of '{image_id}'"):
        path = posixpath.normpath(member.path)
        if member.kind is Kind.SYMLINK:
            saved.links[path] = posixpath.normpath(f"{posixpath.dirname(path)}/{member.link}")
        elif member.kind is Kind.FILE and path == MANIFEST_FILE:
            if member.size > MAX_DOCUMENT_BYTES:
                raise RefusedError(f"'{MANIFEST_FILE}' of '{image_id}' is too long")
            saved.manifest = b"".join(content)
        elif member.kind is Kind.FILE:
            head, rest = peek(content, 2)
            saved.blobs[path] = staging.write(partial(_fill, rest))
            if head == b"\x1f\x8b":
                saved.gzipped.add(saved.blobs[path].digest)
        if len(saved.blobs) + len(saved.links) > MAX_FILES:
            raise RefusedError(f"the export of '{image_id}' holds more than {MAX_FILES} files")
    return saved


def _fill(chunks: Iterator[bytes], sink: Sink) -> None:
    for data in chunks:
        sink.write(data)


def _blob_at(saved: _Saved, path: str) -> Blob:
    path = posixpath.normpath(path)
    blob = saved.blobs.get(saved.links.get(path, path))
    if blob is None:
        raise EngineError(f"the engine exported no '{shown(path)}'")
    return blob


def _inspect(engine: APIClient, name: str) -> dict[str, Any]:
    found: dict[str, Any] = engine.inspect_image(name)  # type: ignore[no-untyped-call]
    return found


@contextmanager
def _engine(what: str) -> Iterator[APIClient]:
    """Give a client and turn what goes wrong into errors of ours; ImageNotFound comes through."""
    from docker.errors import DockerException, ImageNotFound
    from requests.exceptions import RequestException

    from modelpack.image import connect

    try:
        with connect() as client:
            yield client
    except ToolMissingError as error:
        raise ToolMissingError(
            error.message,
            hint="start one, or name an image elsewhere: 'registry:HOST/NAME:TAG', 'oci:DIR'",
        ) from error
    except ImageNotFound:
        raise
    except (DockerException, RequestException) as cause:
        said = " ".join(str(getattr(cause, "explanation", None) or cause).split())[:300]
        raise EngineError(f"the engine did not {what}: {shown(said)}") from cause
