"""An image that was put together here, as something that can be moved like any other.

    DirectImage ──┐                      ┌─► a registry            (modelpack.registry.remote)
    statements  ──┴─► ImageSource ──────┼─► a layout in a folder  (``layouts``)
    index of several ─► IndexSource     └─► a tar, an engine      (``archives``)

Every byte is checked against its digest on its way out, whether it comes out of the store, the cache
or the base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from modelpack.errors import DigestMismatchError
from modelpack.image.direct.assembling import DirectImage
from modelpack.manifest import canonical_json
from modelpack.registry.base import Document, Place
from modelpack.registry.reader import BlobReader
from modelpack.store.base import INDEX_TYPE
from modelpack.store.durable import Blob
from modelpack.store.referrers import EMPTY, EMPTY_BLOB

Chunks = Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Statement:
    """Something said about an image: the manifest that refers to it, and the data."""

    document: Document
    blob: Blob
    data: bytes


class ImageSource:
    """One image with what is said about it."""

    place: Place | None = None
    """None: each blob has a place of its own (``outputs``)."""

    def __init__(self, image: DirectImage, said: Sequence[Statement], name: str) -> None:
        self.name = name
        self._image = image
        self._said = {one.document.blob.digest: one for one in said}
        self._blobs: dict[str, Chunks] = {EMPTY_BLOB.digest: lambda: iter((EMPTY,))}
        for layer in image.layers:
            self._blobs[layer.blob.digest] = layer.chunks
        self._blobs[image.config_blob.digest] = lambda: iter((image.config,))
        for one in said:
            self._blobs[one.blob.digest] = _giving(one.data)

    def top(self) -> Document:
        """Return the manifest of the image."""
        return self._image.manifest

    def document(self, blob: Blob) -> Document:
        """Return the manifest of a statement."""
        return self._said[blob.digest].document

    def chunks(self, blob: Blob, offset: int) -> Iterator[bytes]:
        """Give the bytes of a blob from ``offset`` on."""
        return _from(self._blobs[blob.digest](), offset)

    def referrers(self, subject: Blob) -> Sequence[Blob]:
        """Return the manifests of the statements."""
        del subject  # there is one image
        return [one.document.blob for one in self._said.values()]

    def read(self, blob: Blob) -> Iterator[bytes]:
        """Give all bytes of a blob; raises DigestMismatchError when they are others."""
        reader = BlobReader(blob, lambda at: self.chunks(blob, at), source=f"'{self.name}'")
        try:
            yield from reader.read()
        finally:
            reader.close()


class IndexSource:
    """Images for several platforms under one index."""

    place: Place | None = None

    def __init__(self, images: Sequence[ImageSource], index: Document, name: str) -> None:
        self.name = name
        self._index = index
        self._images = {one.top().blob.digest: one for one in images}

    def top(self) -> Document:
        """Return the index."""
        return self._index

    def document(self, blob: Blob) -> Document:
        """Return the manifest of one platform's image."""
        return self._images[blob.digest].top()

    def chunks(self, blob: Blob, offset: int) -> Iterator[bytes]:
        """Give the bytes of a blob of any of the images."""
        for image in self._images.values():
            try:
                return image.chunks(blob, offset)
            except KeyError:
                continue
        raise DigestMismatchError(f"'{self.name}' has no blob '{blob.digest}'")

    def referrers(self, subject: Blob) -> Sequence[Blob]:
        """Return nothing: statements are about the image of one platform."""
        del subject
        return ()


def index_document(images: Sequence[DirectImage], labels: Mapping[str, str]) -> Document:
    """Return the index of images for several platforms, in the order of their names.

    ``labels`` are its annotations.  Facts: OCI image specification 1.1, image-index.md.
    """
    manifests = [
        {
            "mediaType": image.manifest.media_type,
            "digest": image.manifest.blob.digest,
            "size": image.manifest.blob.size,
            "platform": dict(image.platform),
        }
        for image in sorted(images, key=lambda one: sorted(one.platform.items()))
    ]
    value = {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": manifests,
        "annotations": dict(labels),
    }
    return Document(canonical_json(value), INDEX_TYPE)


def _giving(data: bytes) -> Chunks:
    return lambda: iter((data,))


def _from(chunks: Iterator[bytes], offset: int) -> Iterator[bytes]:
    """Give what comes after the first ``offset`` bytes."""
    for data in chunks:
        if offset < len(data):
            yield data[offset:] if offset else data
        offset = max(0, offset - len(data))
