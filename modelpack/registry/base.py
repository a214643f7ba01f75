"""What moves, and between whom: documents, blobs, sources and targets.

    Source ──read_graph──► Graph(top, children, blobs, referrers) ──transfer──► Target

A source gives bytes and a target takes them; what either of them is (a registry, the store of this
machine, a bucket) the transfer does not know.  Every document is believed by its digest alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from modelpack.errors import DigestMismatchError, RefusedError
from modelpack.manifest import sha256_digest
from modelpack.registry.reader import BlobReader
from modelpack.store.base import INDEX_TYPE, MANIFEST_TYPE
from modelpack.store.documents import MAX_DOCUMENT_BYTES
from modelpack.store.durable import DIGEST, Blob

DOCKER_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST_TYPE = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST_TYPES = (MANIFEST_TYPE, DOCKER_MANIFEST_TYPE)
INDEX_TYPES = (INDEX_TYPE, DOCKER_LIST_TYPE)
ACCEPT = ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))

MAX_DEPTH = 3
"""Indexes in indexes."""
MAX_REFERRERS = 200
_HINT = "nothing of it was used"


class Outcome(StrEnum):
    """What became of a blob."""

    THERE = "there"
    MOUNTED = "mounted"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class Place:
    """A repository of a registry, out of which a blob can be mounted."""

    host: str
    repository: str


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or an index, as it was written."""

    data: bytes
    media_type: str

    @property
    def blob(self) -> Blob:
        """Digest and size of it."""
        return Blob(sha256_digest(self.data), len(self.data))

    @property
    def value(self) -> dict[str, Any]:
        """What it says; raises RefusedError when it is no JSON object."""
        try:
            found = json.loads(self.data)
        except (ValueError, RecursionError) as cause:
            raise RefusedError(
                f"the manifest '{self.blob.digest}' is not JSON", hint=_HINT
            ) from cause
        if not isinstance(found, dict):
            raise RefusedError(f"the manifest '{self.blob.digest}' is not an object", hint=_HINT)
        return found


@dataclass(frozen=True, slots=True)
class Graph:
    """All that has to be at a target before the top can be shown there."""

    top: Document
    children: tuple[Document, ...]
    """Manifests below an index, what is referred to before what refers."""
    blobs: tuple[Blob, ...]
    """Those of top and children, each once."""
    referrers: tuple[Document, ...]
    """Manifests about the top."""
    referrer_blobs: tuple[Blob, ...]


class Source(Protocol):
    """Where something is read from."""

    name: str
    """For messages."""
    place: Place | None
    """The repository, if it is one."""

    def top(self) -> Document:
        """Return the document that was asked for; raises NotFoundError."""

    def document(self, blob: Blob) -> Document:
        """Return another manifest, its digest checked; raises NotFoundError."""

    def chunks(self, blob: Blob, offset: int) -> Iterator[bytes]:
        """Give the bytes of a blob from ``offset`` on; they are checked by whoever takes them."""

    def referrers(self, subject: Blob) -> Sequence[Blob]:
        """Return the manifests that say something about another one."""


class Target(Protocol):
    """Where something is written to; nothing is visible there before ``finish``."""

    name: str

    def takes(self, referrer: Document) -> bool:
        """Say whether a statement can be kept here."""

    def open(self, graph: Graph) -> AbstractContextManager[None]:
        """Hold the place for what comes; what must not stay is gone when the block ends."""

    def begin(self, graph: Graph, bring: Callable[[Blob], object]) -> bool:
        """Say whether the top is there whole already; ``bring`` moves one blob before the others.

        Raises ConflictError when something else stands there, RefusedError for what cannot.
        """

    def put(self, reader: BlobReader, place: Place | None) -> Outcome:
        """Bring one blob here; from several threads at once."""

    def finish(self, graph: Graph) -> None:
        """Show the top under its tag, with its referrers."""


def checked_document(data: bytes, media_type: str, blob: Blob, where: str) -> Document:
    """Return a document whose bytes are those of ``blob``; raises DigestMismatchError."""
    found = Document(data, media_type)
    if found.blob != blob:
        raise DigestMismatchError(
            f"digest mismatch: '{where}' gave other bytes for '{blob.digest}'", hint=_HINT
        )
    return found


def read_graph(source: Source, target: Target) -> Graph:
    """Read every document of what the source gives; raises RefusedError for other forms."""
    top = source.top()
    children: dict[str, Document] = {}
    blobs: dict[str, Blob] = {}
    _collect(source, top, children, blobs, depth=0)
    referrers: list[Document] = []
    others: dict[str, Blob] = {}
    for found in source.referrers(top.blob)[:MAX_REFERRERS]:
        document = source.document(found)
        subject = document.value.get("subject")
        if not isinstance(subject, Mapping) or subject.get("digest") != top.blob.digest:
            continue
        if target.takes(document):
            referrers.append(document)
            others.update({blob.digest: blob for blob in blobs_of(document)})
    extra = tuple(blob for digest, blob in others.items() if digest not in blobs)
    return Graph(top, tuple(children.values()), tuple(blobs.values()), tuple(referrers), extra)


def blobs_of(document: Document) -> list[Blob]:
    """Return config and layers of a manifest; raises RefusedError."""
    value = document.value
    layers = value.get("layers")
    parts = [value.get("config"), *(layers if isinstance(layers, list) else [None])]
    return [read_descriptor(part, document) for part in parts]


def read_descriptor(value: object, document: Document) -> Blob:
    """Return the digest and size of a descriptor; raises RefusedError (threat model S5)."""
    if isinstance(value, Mapping):
        digest, size = value.get("digest"), value.get("size")
        is_size = isinstance(size, int) and not isinstance(size, bool) and size >= 0
        if isinstance(digest, str) and DIGEST.fullmatch(digest) and is_size:
            return Blob(digest, int(str(size)))
    raise RefusedError(
        f"the manifest '{document.blob.digest}' is not of the form that it must have", hint=_HINT
    )


def _collect(
    source: Source,
    document: Document,
    children: dict[str, Document],
    blobs: dict[str, Blob],
    *,
    depth: int,
) -> None:
    if document.media_type in MANIFEST_TYPES:
        blobs.update({blob.digest: blob for blob in blobs_of(document)})
        return
    listed = document.value.get("manifests")
    if document.media_type not in INDEX_TYPES or not isinstance(listed, list):
        raise RefusedError(
            f"'{source.name}' is a '{document.media_type[:80]}', which cannot be moved", hint=_HINT
        )
    if depth == MAX_DEPTH:
        raise RefusedError(f"'{source.name}' has too many indexes in each other", hint=_HINT)
    for entry in listed:
        part = read_descriptor(entry, document)
        if part.size > MAX_DOCUMENT_BYTES:
            raise RefusedError(f"'{part.digest}' is too long for a manifest", hint=_HINT)
        if part.digest not in children:
            child = source.document(part)
            _collect(source, child, children, blobs, depth=depth + 1)
            children[part.digest] = child
