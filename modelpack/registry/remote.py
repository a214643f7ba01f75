"""A repository of a container registry as a source and as a target.

    GET manifests, blobs, referrers ──► RegistrySource
    RegistryTarget ──► blobs (uploads), manifests by digest, the tag last, referrers

The tag is written when all that it leads to is there.  Statements about it are found by the
referrers API, and where a registry has none by the tag ``sha256-HEX`` that stands in for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from modelpack.errors import ConflictError, DigestMismatchError, ModelpackError, NotFoundError
from modelpack.manifest import sha256_digest
from modelpack.registry import places, problems
from modelpack.registry.base import (
    MAX_REFERRERS,
    Document,
    Graph,
    Outcome,
    Place,
    checked_document,
    read_descriptor,
)
from modelpack.registry.downloads import download
from modelpack.registry.manifests import Manifests, Referrers, document_of
from modelpack.registry.names import RegistryReference
from modelpack.registry.reader import BlobReader
from modelpack.registry.transport import Answer, Transport
from modelpack.registry.uploads import CHUNK_BYTES, Uploads
from modelpack.store.base import INDEX_TYPE
from modelpack.store.durable import Blob

_SAID_TAGS = 5


class RegistrySource:
    """What a reference to a registry leads to."""

    def __init__(self, transport: Transport, reference: RegistryReference) -> None:
        self.name = str(reference)
        self.place: Place | None = Place(reference.host, reference.repository)
        self._transport = transport
        self._reference = reference
        self._scopes = (f"repository:{reference.repository}:pull",)
        self._what = f"pull '{reference.repository}'"
        self._manifests = Manifests(transport, reference.repository, self._scopes, self._what)

    def top(self) -> Document:
        """Return the manifest that was asked for; raises NotFoundError with what there is."""
        answer = self._manifests.get(self._reference.wanted, ok=(200, 404))
        if answer.status == 404:
            raise self._not_found(answer)
        wanted = self._reference.digest or answer.headers.get("docker-content-digest")
        if wanted not in (None, sha256_digest(answer.data)):
            raise self._mismatch(str(wanted))
        return document_of(answer)

    def document(self, blob: Blob) -> Document:
        """Return a manifest by its digest."""
        answer = self._manifests.get(blob.digest)
        checked_document(answer.data, "", blob, self.name)
        return document_of(answer)

    def chunks(self, blob: Blob, offset: int) -> Iterator[bytes]:
        """Give the bytes of a blob; goes on where a connection broke off."""
        return download(
            self._transport,
            f"/v2/{self._reference.repository}/blobs/{blob.digest}",
            offset=offset,
            size=blob.size,
            what=self._what,
            scopes=self._scopes,
        )

    def referrers(self, subject: Blob) -> Sequence[Blob]:
        """Return the manifests that speak about another, by API or by tag."""
        found = Referrers(self._manifests).find(subject)
        owner = Document(b"{}", INDEX_TYPE)
        return [read_descriptor(one, owner) for one in found[:MAX_REFERRERS]]

    def _not_found(self, answer: Answer) -> ModelpackError:
        reference = self._reference
        try:
            listed = self._transport.request(
                "GET",
                f"/v2/{reference.repository}/tags/list",
                what=self._what,
                ok=(200,),
                scopes=self._scopes,
            )
            tags = [str(tag) for tag in json.loads(listed.data)["tags"] or ()]
        except (ModelpackError, ValueError, KeyError, TypeError):
            tags = []
        tags = [tag for tag in tags if not tag.startswith("sha256-")]
        if not tags:
            return problems.refusal(answer, self._what, reference.host)
        newest = ", ".join(problems.line(tag) for tag in tags[-_SAID_TAGS:])
        more = f" and {len(tags) - _SAID_TAGS} more" if len(tags) > _SAID_TAGS else ""
        return NotFoundError(
            f"'{reference.host}/{reference.repository}' has no '{reference.wanted}'",
            hint=f"its tags are {newest}{more}",
        )

    def _mismatch(self, digest: str) -> ModelpackError:
        return DigestMismatchError(
            f"digest mismatch: '{self._reference.host}' gave other bytes for '{digest[:80]}'",
            hint="nothing of it was stored; somebody in between may have changed it",
        )


class RegistryTarget:
    """A repository, and the tag that something gets in it."""

    def __init__(
        self,
        transport: Transport,
        reference: RegistryReference,
        *,
        may_move: bool,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.name = str(reference)
        self._reference = reference
        self._may_move = may_move
        scopes = (f"repository:{reference.repository}:pull,push",)
        what = f"push to '{reference.repository}'"
        self._manifests = Manifests(transport, reference.repository, scopes, what)
        self._uploads = Uploads(transport, reference.repository, scopes, chunk_bytes)
        self._is_there = False
        self._known = places.Places(reference.host)

    @contextmanager
    def open(self, graph: Graph) -> Iterator[None]:
        """Remember, in the end, where the blobs are."""
        yield
        self._known.remember(self._reference.repository, (*graph.blobs, *graph.referrer_blobs))

    def takes(self, referrer: Document) -> bool:
        """Return True: a registry keeps what it is given."""
        del referrer
        return True

    def begin(self, graph: Graph, bring: Callable[[Blob], object]) -> bool:
        """Say whether the tag leads to the very same manifest already; raises ConflictError."""
        del bring
        answer = self._manifests.get(self._reference.wanted, ok=(200, 404))
        if answer.status == 404:
            return False
        if document_of(answer).blob == graph.top.blob:
            self._is_there = True
            return True
        if not self._may_move:
            raise ConflictError(
                f"'{self._reference}' already exists with other content",
                hint="build it as another version, or replace it with '--force'",
            )
        return False

    def put(self, reader: BlobReader, place: Place | None) -> Outcome:
        """Bring a blob here, by a mount where another repository has it."""
        here = self._reference
        other = place.repository if place is not None and place.host == here.host else None
        if other is None:
            other = self._known.of(reader.blob)
        return self._uploads.put(reader, other if other != here.repository else None)

    def finish(self, graph: Graph) -> None:
        """Write the manifests, the tag, and the referrers."""
        if not self._is_there:
            for child in graph.children:
                self._write(child, child.blob.digest)
            self._write(graph.top, self._reference.wanted)
        referrers = Referrers(self._manifests)
        for referrer in graph.referrers:
            answer = self._write(referrer, referrer.blob.digest)
            if "oci-subject" not in answer.headers:
                referrers.add(graph.top.blob, referrer)

    def _write(self, document: Document, name: str) -> Answer:
        answer = self._manifests.put(name, document)
        got = answer.headers.get("docker-content-digest", document.blob.digest)
        if got != document.blob.digest:
            raise DigestMismatchError(
                f"digest mismatch: '{self._reference.host}' stored '{got[:80]}' "
                f"for '{document.blob.digest}'",
                hint="it changes what it is given; use another registry",
            )
        return answer
