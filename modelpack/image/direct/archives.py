"""An image as one tar: for ``docker load``, for other tools that read such files, for an engine.

    ImageSource ──► manifest.json  (Docker's form)  ──┐
                    oci-layout, index.json (OCI's) ───┼──► tar ──► a file, renamed at the end
                    blobs/sha256/HEX ─────────────────┘       └──► an engine, while it is made

One tar has both forms and each blob once.  Facts: Docker image specification 1.2 ("Combined Image
JSON + Filesystem Changeset Format"), whose paths may be any; image-layout.md of OCI.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Iterator
from pathlib import Path

from modelpack.image.direct.assembling import DirectImage
from modelpack.image.direct.source import ImageSource
from modelpack.image.reference import full_name
from modelpack.manifest import canonical_json
from modelpack.store import documents
from modelpack.store.base import REF_NAME
from modelpack.store.durable import Blob, open_folder, readable_errors
from modelpack.store.layout import index_bytes
from modelpack.store.tar import BLOCK, FILE_MODE, FOLDER_MODE, RECORD, header, padding

CONTAINERD_NAME = "io.containerd.image.name"
"""Where containerd (and Docker on top of it) looks for the full name."""
_FOLDERS = ("blobs", "blobs/sha256")


def stream_archive(
    image: DirectImage, source: ImageSource, name: str, *, without: Collection[str] = ()
) -> Iterator[bytes]:
    """Give the bytes of the tar; ``without`` are digests of layers that the engine has already.

    Raises DigestMismatchError when a blob is not what its digest says.
    """
    layers = [layer.blob for layer in image.layers]
    blobs = {blob.digest: blob for blob in (*layers, image.config_blob)}
    small = {
        "index.json": _index(image, name),
        "manifest.json": canonical_json(
            [
                {
                    "Config": _path(image.config_blob),
                    "Layers": [_path(blob) for blob in layers],
                    "RepoTags": [name],
                }
            ]
        ),
        "oci-layout": documents.LAYOUT,
        _path(image.manifest.blob): image.manifest.data,
    }
    large = {_path(blob): blob for blob in blobs.values() if blob.digest not in without}
    written = 0
    for path in sorted({*small, *large, *_FOLDERS}):
        chunks: Iterator[bytes] = iter(())
        if path in _FOLDERS:
            head, size = header(f"{path}/", FOLDER_MODE, 0, b"5"), 0
        elif path in small:
            size, chunks = len(small[path]), iter([small[path]])
            head = header(path, FILE_MODE, size, b"0")
        else:
            size, chunks = large[path].size, source.read(large[path])
            head = header(path, FILE_MODE, size, b"0")
        yield head
        yield from chunks
        yield padding(size)
        written += len(head) + size + len(padding(size))
    end = 2 * BLOCK
    yield bytes(end + -(written + end) % RECORD)


def write_archive(image: DirectImage, source: ImageSource, name: str, file: Path) -> int:
    """Write the tar, which appears whole or not at all; return its bytes.

    Raises StoreError when the place cannot be written.
    """
    file = file.absolute()
    fresh = file.parent / f".{file.name[:100]}-{secrets.token_hex(8)}"
    written = 0
    with readable_errors(file.parent, "write the archive", other="choose another place"):
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with os.fdopen(handle, "wb") as out:
                for data in stream_archive(image, source, name):
                    out.write(data)
                    written += len(data)
                out.flush()
                os.fsync(handle)
            fresh.replace(file)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        with open_folder(file.parent) as folder:
            os.fsync(folder)
    return written


def _index(image: DirectImage, name: str) -> bytes:
    blob = image.manifest.blob
    entry = {
        "mediaType": image.manifest.media_type,
        "digest": blob.digest,
        "size": blob.size,
        "platform": dict(image.platform),
        "annotations": {CONTAINERD_NAME: full_name(name), REF_NAME: name.rpartition(":")[2]},
    }
    return index_bytes([entry])


def _path(blob: Blob) -> str:
    return f"blobs/sha256/{blob.hex}"
