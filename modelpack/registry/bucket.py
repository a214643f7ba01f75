"""A layout in an S3 bucket that gets an entry.

    put ──► blobs/sha256/HEX      whole or not at all
    finish ──► manifests, oci-layout, index.json     (only if nobody else wrote it in between)

The index is written last, so that it never leads to what is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modelpack.errors import ConflictError
from modelpack.registry.base import Document, Graph, Outcome, Place
from modelpack.registry.layouts import Descriptor, read_index
from modelpack.registry.names import LayoutReference
from modelpack.registry.reader import BlobReader
from modelpack.registry.s3 import Bucket
from modelpack.store import index
from modelpack.store.base import ALIAS, CREATED, KIND, REF_NAME, SUBJECT
from modelpack.store.documents import LAYOUT
from modelpack.store.durable import Blob
from modelpack.store.layout import index_bytes

_INDEX_TRIES = 10


class BucketTarget:
    """A layout in a bucket that gets an entry.

    may_move  another entry under the same tag is replaced
    is_extra  the tag is not the one that the entry was built under
    """

    def __init__(
        self, bucket: Bucket, reference: LayoutReference, *, may_move: bool, is_extra: bool
    ) -> None:
        self.name = str(reference)
        self._bucket = bucket
        self._reference = reference
        self._may_move = may_move
        self._is_extra = is_extra

    @contextmanager
    def open(self, graph: Graph) -> Iterator[None]:
        """Hold nothing: blobs that no index leads to harm nobody."""
        del graph
        yield

    def takes(self, referrer: Document) -> bool:
        """Return True."""
        del referrer
        return True

    def begin(self, graph: Graph, bring: Callable[[Blob], object]) -> bool:
        """Raise ConflictError when the tag leads elsewhere; blobs are looked at one by one."""
        del bring
        self._changed(self._listed()[0], graph)
        return False

    def put(self, reader: BlobReader, place: Place | None) -> Outcome:
        """Write a blob unless it is there."""
        del place
        path = f"blobs/sha256/{reader.blob.hex}"
        if self._bucket.size(path) == reader.blob.size:
            return Outcome.THERE
        self._bucket.upload(path, reader)
        return Outcome.MOVED

    def finish(self, graph: Graph) -> None:
        """Write the manifests, then the index that leads to them."""
        for document in (*graph.children, graph.top, *graph.referrers):
            path = f"blobs/sha256/{document.blob.hex}"
            self._bucket.write(path, document.data, etag=None)
        self._bucket.write("oci-layout", LAYOUT, etag=None, is_new=True)
        for _ in range(_INDEX_TRIES):
            before, etag = self._listed()
            after = self._changed(before, graph)
            if after == before:
                return
            data = index_bytes(after)
            if self._bucket.write("index.json", data, etag=etag, is_new=etag is None):
                return
        raise ConflictError(f"others write to '{self._bucket.name}' at the same time")

    def _listed(self) -> tuple[list[Descriptor], str | None]:
        found = self._bucket.read_tagged("index.json")
        if found is None:
            return [], None
        return read_index(_OneFile(found[0]), self._bucket.name), found[1]

    def _changed(self, before: list[Descriptor], graph: Graph) -> list[Descriptor]:
        """Return the index with the entry in it; raises ConflictError."""
        top = graph.top.blob
        tag = str(self._reference.tag)
        said = graph.top.value.get("annotations") or {}
        kept = []
        for one in before:
            if index.annotation(one, REF_NAME) != tag or one.get("digest") == top.digest:
                kept.append(one)
            elif not self._may_move:
                raise ConflictError(
                    f"'{self._reference}' already exists with other content",
                    hint="build it as another version, or replace it with '--force'",
                )
        digests = {one.get("digest") for one in kept}
        if not any(index.annotation(one, REF_NAME) == tag for one in kept):
            notes = {REF_NAME: tag, CREATED: index.timestamp(None)}
            if isinstance(kind := said.get(KIND), str):
                notes[KIND] = kind
            if self._is_extra:
                notes[ALIAS] = "true"
            kept.append(_descriptor(graph.top, notes))
        new = [one for one in graph.referrers if one.blob.digest not in digests]
        return kept + [_descriptor(referrer, {SUBJECT: top.digest}) for referrer in new]


class _OneFile:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def chunks(self, path: str, offset: int) -> Iterator[bytes]:
        del path
        return iter([self._data[offset:]])


def _descriptor(document: Document, annotations: dict[str, str]) -> Descriptor:
    blob = document.blob
    found = {"mediaType": document.media_type, "digest": blob.digest, "size": blob.size}
    if kind := document.value.get("artifactType"):
        found["artifactType"] = str(kind)
    return {**found, "annotations": annotations}
