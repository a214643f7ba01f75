"""Manifests by name, and what speaks about them, in one repository.

    Manifests ──► /v2/NAME/manifests/…
    Referrers ──► /v2/NAME/referrers/DIGEST, else the index under the tag ``sha256-HEX``

A registry without the referrers API keeps that index as it keeps any other; it is kept up to date by
whoever pushes a statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin

from modelpack.errors import ConflictError, RefusedError
from modelpack.manifest import canonical_json
from modelpack.registry.base import ACCEPT, MAX_REFERRERS, Document
from modelpack.registry.transport import Answer, Body, Transport
from modelpack.store.base import INDEX_TYPE, MANIFEST_TYPE
from modelpack.store.durable import Blob

_INDEX_TRIES = 5


@dataclass(frozen=True, slots=True)
class Manifests:
    """The manifests of one repository."""

    transport: Transport
    repository: str
    scopes: tuple[str, ...]
    what: str
    """What is being done, for messages: ``pull 'team/digits'``."""

    def get(self, name: str, ok: Sequence[int] = (200,)) -> Answer:
        """Read a manifest by tag or digest."""
        return self.transport.request(
            "GET",
            self._url(name),
            what=self.what,
            ok=ok,
            headers={"Accept": ACCEPT},
            scopes=self.scopes,
        )

    def put(self, name: str, document: Document) -> Answer:
        """Write a manifest under a tag or its digest."""
        return self.transport.request(
            "PUT",
            self._url(name),
            what=self.what,
            ok=(200, 201),
            headers={"Content-Type": document.media_type},
            body=Body.of(document.data),
            scopes=self.scopes,
        )

    def list_referrers(self, url: str) -> Answer:
        """Ask the referrers API; other statuses than 200 say that there is none."""
        return self.transport.request(
            "GET",
            url,
            what=self.what,
            ok=(200, 400, 404, 405, 406, 501),
            headers={"Accept": INDEX_TYPE},
            scopes=self.scopes,
        )

    def _url(self, name: str) -> str:
        return f"/v2/{self.repository}/manifests/{quote(name, safe=':')}"


@dataclass(frozen=True, slots=True)
class Referrers:
    """The statements about the manifests of one repository."""

    manifests: Manifests

    def find(self, subject: Blob) -> list[Mapping[str, Any]]:
        """Return the descriptors of what speaks about a manifest."""
        url: str | None = f"/v2/{self.manifests.repository}/referrers/{subject.digest}"
        found: list[Mapping[str, Any]] = []
        while url is not None and len(found) < MAX_REFERRERS:
            answer = self.manifests.list_referrers(url)
            if answer.status != 200 or _kind(answer) != INDEX_TYPE:
                return self._by_tag(subject)
            found += _listed(answer.data)
            url = _next(answer)
        return found

    def add(self, subject: Blob, referrer: Document) -> None:
        """List a referrer under the tag that stands in for the API.

        Two writers at once may take each other's away, so what was written is read again.
        """
        descriptor = _descriptor(referrer)
        for _ in range(_INDEX_TRIES):
            listed = self._by_tag(subject)
            if any(one.get("digest") == descriptor["digest"] for one in listed):
                return
            data = canonical_json(
                {
                    "schemaVersion": 2,
                    "mediaType": INDEX_TYPE,
                    "manifests": [*listed, descriptor],
                }
            )
            self.manifests.put(_stand_in(subject), Document(data, INDEX_TYPE))
        raise ConflictError(
            f"others write statements about '{subject.digest}' at the same time",
            hint="run it again",
        )

    def _by_tag(self, subject: Blob) -> list[Mapping[str, Any]]:
        answer = self.manifests.get(_stand_in(subject), ok=(200, 404))
        return _listed(answer.data) if answer.status == 200 else []


def document_of(answer: Answer) -> Document:
    """Return the manifest of an answer, its kind as the registry or the manifest itself says."""
    found = Document(answer.data, _kind(answer))
    said = found.value.get("mediaType")
    return Document(answer.data, said) if isinstance(said, str) else found


def _kind(answer: Answer) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip()


def _listed(data: bytes) -> list[Mapping[str, Any]]:
    listed = Document(data, INDEX_TYPE).value.get("manifests")
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise RefusedError("a list of statements is not of the form that it must have")
    return listed


def _descriptor(referrer: Document) -> dict[str, Any]:
    value = referrer.value
    config = value.get("config")
    kind = value.get("artifactType") or (
        config.get("mediaType") if isinstance(config, dict) else ""
    )
    blob = referrer.blob
    descriptor = {
        "mediaType": MANIFEST_TYPE,
        "artifactType": kind,
        "digest": blob.digest,
        "size": blob.size,
    }
    if value.get("annotations"):
        descriptor["annotations"] = value["annotations"]
    return descriptor


def _stand_in(subject: Blob) -> str:
    return f"sha256-{subject.hex}"


def _next(answer: Answer) -> str | None:
    """Return the page after this one, from ``Link: <url>; rel="next"``."""
    for link in answer.headers.get("link", "").split(","):
        url, _, parameters = link.partition(";")
        if 'rel="next"' in parameters.replace(" ", ""):
            return urljoin(answer.url, url.strip().strip("<>"))
    return None
