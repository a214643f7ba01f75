"""The store of this machine, or another layout in a folder, as a source and as a target.

    entry of a store ──StoreSource──► bytes      bytes ──StoreTarget──► receive ──► entry

A target in another folder (``file:///folder``) is a store of its own kind: the same checks, the
same lock, the same rules for tags.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from modelpack.errors import DigestMismatchError, RefusedError, StoreError
from modelpack.registry.base import Document, Graph, Outcome, Place, checked_document
from modelpack.registry.counts import Counts
from modelpack.registry.reader import BlobReader
from modelpack.store import Entry, Store
from modelpack.store.base import ARTIFACT_TYPES, MANIFEST_TYPE
from modelpack.store.durable import Blob
from modelpack.store.layout import Layout
from modelpack.store.receive import Check, Receiving, receive
from modelpack.store.referrers import MAX_DATA_BYTES, read_referrer
from modelpack.store.tar import CHUNK
from modelpack.tag import Tag


class StoreSource:
    """One entry of a store."""

    place: Place | None = None

    def __init__(self, store: Store, entry: Entry) -> None:
        self.name = str(entry.tag)
        self._store = store
        self._entry = entry
        self._layout = Layout(store.root)

    def top(self) -> Document:
        """Return its manifest; raises DigestMismatchError when it is damaged."""
        return Document(self._layout.read_document(self._entry.digest), MANIFEST_TYPE)

    def document(self, blob: Blob) -> Document:
        """Return the manifest of a statement about it."""
        data = self._layout.read_document(blob.digest)
        return checked_document(data, MANIFEST_TYPE, blob, self.name)

    def chunks(self, blob: Blob, offset: int) -> Iterator[bytes]:
        """Give the stored bytes; the reader checks their digest."""
        path = self._store.root / "blobs" / "sha256" / blob.hex
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError as cause:
            raise DigestMismatchError(
                f"'{self.name}' is damaged: the blob '{blob.digest}' is not in the store",
                hint="see 'modelpack verify'; build or import it again",
            ) from cause
        with os.fdopen(handle, "rb", buffering=0) as file:
            file.seek(offset)
            while data := file.read(CHUNK):
                yield data

    def referrers(self, subject: Blob) -> Sequence[Blob]:
        """Return the statements about it."""
        del subject  # there is one entry
        found = self._store.referrers(self._entry)
        return [Blob(referrer.digest, referrer.size) for referrer in found]


class StoreTarget:
    """A store that takes one entry in.

    check  looks at it before anybody else sees it
    tag    an extra tag that it gets; its name is its own
    """

    def __init__(
        self,
        store: Store,
        source: str,
        counts: Counts,
        *,
        check: Check | None = None,
        tag: str | None = None,
    ) -> None:
        self.name = str(store.root)
        self.entry: Entry | None = None
        """What came in, after ``finish``."""
        self.is_unchanged = False
        self._store = store
        self._source = f"'{source}'"
        self._counts = counts
        self._check = check
        self._tag = tag
        self._receiving: Receiving | None = None

    @contextmanager
    def open(self, graph: Graph) -> Iterator[None]:
        """Hold the place for what comes in; removes what must not stay."""
        with receive(self._store, graph.top.blob, self._source) as receiving:
            self._receiving = receiving
            yield

    def takes(self, referrer: Document) -> bool:
        """Say whether it is a statement with one part of data that is not too long."""
        try:
            found = read_referrer(referrer.data, "a statement")
        except StoreError:
            return False
        return found.blob.size <= MAX_DATA_BYTES

    def begin(self, graph: Graph, bring: Callable[[Blob], object]) -> bool:
        """Refuse what is not ours, and a tag that is taken, before gigabytes are moved.

        Returns False: what is in the store already is looked at blob by blob, so that pulling
        again heals it.
        """
        value = graph.top.value
        if value.get("artifactType") not in ARTIFACT_TYPES or graph.top.media_type != MANIFEST_TYPE:
            raise RefusedError(
                f"{self._source} is not a model or bundle",
                hint="an image is pulled by a container engine",
            )
        for document in (graph.top, *graph.referrers):
            self._taking.put(document.data)
        bring(graph.blobs[0])  # the config says the tag
        manifest, tag = self._taking.read_entry(graph.top.blob)
        self.is_unchanged = self._taking.known(manifest, tag, graph.top.blob)
        return False

    def put(self, reader: BlobReader, place: Place | None) -> Outcome:
        """Take a blob unless it is here, and whole."""
        del place
        if self._taking.has(reader.blob):
            return Outcome.THERE

        start = self._taking.fetch(reader.blob, reader.read)
        if start:
            self._counts.saved(start)
        return Outcome.MOVED

    def finish(self, graph: Graph) -> None:
        """Verify everything and make it an entry."""
        statements = [referrer.blob for referrer in graph.referrers]
        added = self._taking.accept(graph.top.blob, self._check, statements)
        self.entry = added.entry
        if self._tag is not None:
            wanted = Tag.parse(self._tag.removeprefix("models/"))
            if wanted.version not in (None, added.entry.tag.version):
                self._store.tag(added.entry, str(wanted.version))

    @property
    def _taking(self) -> Receiving:
        if self._receiving is None:
            raise RuntimeError("open() comes first")
        return self._receiving
