"""An OCI image layout that lies somewhere as plain files: in a folder, a bucket, on a web server.

    Files (folder, bucket, web server) ──index.json──► LayoutSource ──► manifests, blobs, referrers

The index says which tags there are; as everywhere, a blob is believed by its digest alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from modelpack.errors import (
    NotFoundError,
    RefusedError,
    RegistryError,
    StoreError,
    TagError,
    did_you_mean,
)
from modelpack.registry.base import Document, Place, checked_document, read_descriptor
from modelpack.registry.names import LayoutReference
from modelpack.store import index
from modelpack.store.base import ARTIFACT_TYPES, INDEX_TYPE, MANIFEST_TYPE, REF_NAME, SUBJECT, Kind
from modelpack.store.documents import MAX_DOCUMENT_BYTES, read_json
from modelpack.store.durable import Blob
from modelpack.store.tar import CHUNK
from modelpack.tag import Tag

MAX_INDEX_BYTES = 64 * 1024 * 1024
_SAID_TAGS = 5

Descriptor = dict[str, Any]


class Files(Protocol):
    """Files under one place, by relative path."""

    def chunks(self, path: str, offset: int) -> Iterator[bytes]:
        """Give the bytes of a file from ``offset`` on; raises NotFoundError."""


class Folder:
    """Files of this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def chunks(self, path: str, offset: int) -> Iterator[bytes]:
        """Give the bytes of a file."""
        file = self._root / path
        try:
            # A pipe that lies there must not make anybody wait; it reads as an empty file.
            handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError) as cause:
            raise NotFoundError(f"no file '{file}'") from cause
        except OSError as cause:
            why = (cause.strerror or "it cannot be opened").lower()
            raise RegistryError(f"cannot read '{file}': {why}") from cause
        with os.fdopen(handle, "rb", buffering=0) as stream:
            if offset:
                stream.seek(offset)
            while data := stream.read(CHUNK):
                yield data


class LayoutSource:
    """What a reference to a layout leads to."""

    place: Place | None = None

    def __init__(self, files: Files, reference: LayoutReference) -> None:
        self.name = str(reference)
        self._files = files
        self._reference = reference
        self._index: list[Descriptor] | None = None

    def top(self) -> Document:
        """Return the manifest that was asked for; raises NotFoundError with what there is."""
        chosen = choose(self._descriptors(), self._reference)
        owner = Document(b"{}", INDEX_TYPE)
        blob = read_descriptor(chosen, owner)
        return self._document(blob, str(chosen.get("mediaType")))

    def document(self, blob: Blob) -> Document:
        """Return a manifest by its digest."""
        return self._document(blob, None)

    def chunks(self, blob: Blob, offset: int) -> Iterator[bytes]:
        """Give the bytes of a blob."""
        return self._files.chunks(f"blobs/sha256/{blob.hex}", offset)

    def referrers(self, subject: Blob) -> Sequence[Blob]:
        """Return what the index lists beside the tags and may speak about a manifest."""
        owner = Document(b"{}", INDEX_TYPE)
        found = []
        for one in self._descriptors():
            said = index.annotation(one, SUBJECT)
            may = said == subject.digest or (
                said is None
                and index.annotation(one, REF_NAME) is None
                and one.get("artifactType") not in ARTIFACT_TYPES
            )
            if one.get("mediaType") == MANIFEST_TYPE and may:
                found.append(read_descriptor(one, owner))
        return found

    def _document(self, blob: Blob, media_type: str | None) -> Document:
        if blob.size > MAX_DOCUMENT_BYTES:
            raise RefusedError(f"'{blob.digest}' in '{self.name}' is too long for a manifest")
        data = read_small(self._files, f"blobs/sha256/{blob.hex}", MAX_DOCUMENT_BYTES)
        found = checked_document(data, media_type or MANIFEST_TYPE, blob, self.name)
        said = found.value.get("mediaType")
        return Document(data, said) if media_type is None and isinstance(said, str) else found

    def _descriptors(self) -> list[Descriptor]:
        if self._index is None:
            self._index = read_index(self._files, self._reference.url)
        return self._index


def read_index(files: Files, place: str) -> list[Descriptor]:
    """Return what the index at a place lists; raises NotFoundError when there is no layout."""
    try:
        data = read_small(files, "index.json", MAX_INDEX_BYTES)
        listed = read_json(data, f"the index of '{place}'").get("manifests")
    except NotFoundError as cause:
        raise NotFoundError(
            f"there is no layout at '{place}': it has no 'index.json'",
            hint="see whether the place is right; 'modelpack push' makes one",
        ) from cause
    except StoreError as cause:
        raise RefusedError(cause.message, hint="nothing of it was used") from cause
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise RefusedError(f"the index of '{place}' lists no manifests")
    return listed


def read_small(files: Files, path: str, limit: int) -> bytes:
    """Return a short file; raises RefusedError when it is longer than ``limit`` bytes."""
    data = bytearray()
    for chunk in files.chunks(path, 0):
        data += chunk
        if len(data) > limit:
            raise RefusedError(f"'{path}' is longer than {limit} bytes")
    return bytes(data)


def choose(descriptors: Sequence[Descriptor], reference: LayoutReference) -> Descriptor:
    """Return the descriptor that a reference means; raises NotFoundError with what there is."""
    named = [one for one in descriptors if index.annotation(one, REF_NAME)]
    names = [str(index.annotation(one, REF_NAME)) for one in named]
    if reference.digest is not None:
        found = [one for one in descriptors if one.get("digest") == reference.digest]
        if found:
            return found[-1]
        raise NotFoundError(f"'{reference.url}' does not list '{reference.digest}'")
    if reference.tag is None:
        if len({one.get("digest") for one in named}) == 1:
            return named[-1]
        raise NotFoundError(
            f"'{reference.url}' holds {len(named)} entries: say which",
            hint=f"add '#TAG', such as '#{names[-1]}'" if names else "nothing has a tag there",
        )
    if reference.tag in names:
        return next(one for one in reversed(named) if one["annotations"][REF_NAME] == reference.tag)
    if (found_newest := _newest(descriptors, reference.tag)) is not None:
        return found_newest
    near = did_you_mean(reference.tag, names)
    shown = ", ".join(names[-_SAID_TAGS:]) or "none"
    raise NotFoundError(
        f"'{reference.url}' has no '{reference.tag}'",
        hint=f"did you mean '#{near}'?" if near else f"its tags are {shown}",
    )


def _newest(descriptors: Sequence[Descriptor], text: str) -> Descriptor | None:
    kind = Kind.MODEL if text.startswith("models/") else Kind.BUNDLE
    try:
        tag = Tag.parse(text.removeprefix("models/"))
    except TagError:
        return None
    found: Mapping[str, Any] | None = None
    if chosen := index.choose(index.tags(descriptors), tag, kind):
        found = chosen.descriptor
    return dict(found) if found is not None else None
