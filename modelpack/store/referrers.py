"""What others say about an entry: signatures, provenance, attestations.

    entry's manifest ◄──subject── referrer's manifest ──► config {} and one layer: the data
                                       │
    index.json ── descriptor without a tag of ours, with the subject's digest

A referrer is an OCI manifest of its own, so it changes nothing about the entry's digest and every
registry keeps it.  It goes where its subject goes: into archives, away with it, and back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from modelpack.errors import NotFoundError, RefusedError, StoreError
from modelpack.manifest import canonical_json, sha256_digest
from modelpack.store import documents, index
from modelpack.store.base import ARTIFACT_TYPES, MANIFEST_TYPE, SUBJECT, Descriptor, Entry
from modelpack.store.durable import Blob
from modelpack.store.layout import Layout

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
EMPTY_BLOB = Blob(sha256_digest(EMPTY), len(EMPTY))

MAX_DATA_BYTES = 64 * 1024 * 1024
"""Longest data that is read into memory."""


@dataclass(frozen=True, slots=True)
class Referrer:
    """One statement about an entry."""

    digest: str
    """Of its manifest, ``sha256:HEX``: the identity."""
    size: int
    """Bytes of its manifest."""
    artifact_type: str
    """What it is, such as ``application/vnd.in-toto+json``."""
    subject: Blob
    """The manifest that it speaks about."""
    config: Blob
    blob: Blob
    """The data."""
    media_type: str
    """Of the data."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Those of its manifest."""

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Manifest, config and data: what has to move with the entry."""
        return tuple(dict.fromkeys((Blob(self.digest, self.size), self.config, self.blob)))

    @property
    def descriptor(self) -> Descriptor:
        """What an index says of it."""
        return {
            "mediaType": MANIFEST_TYPE,
            "artifactType": self.artifact_type,
            "digest": self.digest,
            "size": self.size,
            "annotations": {SUBJECT: self.subject.digest},
        }


def referrer_bytes(
    subject: Blob,
    blob: Blob,
    *,
    artifact_type: str,
    media_type: str,
    annotations: Mapping[str, str],
) -> bytes:
    """Return the manifest of a referrer whose data is ``blob``."""
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": artifact_type,
        "config": {"mediaType": EMPTY_TYPE, "digest": EMPTY_BLOB.digest, "size": EMPTY_BLOB.size},
        "layers": [{"mediaType": media_type, "digest": blob.digest, "size": blob.size}],
        "subject": {"mediaType": MANIFEST_TYPE, "digest": subject.digest, "size": subject.size},
    }
    if annotations:
        value["annotations"] = dict(annotations)
    return canonical_json(value)


def read_referrer(data: bytes, what: str) -> Referrer:
    """Read the manifest of a referrer, also one of another tool.

    Raises StoreError when it is not of that form: a subject, a config and exactly one layer.
    """
    value = documents.read_json(data, what)
    try:
        subject = documents.read_blob(value["subject"], MANIFEST_TYPE)
        config = documents.read_blob(value["config"], value["config"]["mediaType"])
        (layer,) = value["layers"]
        blob = documents.read_blob(layer, layer["mediaType"])
        artifact_type = value.get("artifactType") or value["config"]["mediaType"]
        annotations = {str(k): str(v) for k, v in (value.get("annotations") or {}).items()}
        types = (str(artifact_type), str(layer["mediaType"]))
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise StoreError(
            f"{what} is not of the form that a referrer has",
            hint="it was not made by this modelpack, or it is damaged",
        ) from cause
    return Referrer(
        digest=sha256_digest(data),
        size=len(data),
        artifact_type=types[0],
        subject=subject,
        config=config,
        blob=blob,
        media_type=types[1],
        annotations=annotations,
    )


def attach(
    layout: Layout,
    entry: Entry,
    data: bytes,
    *,
    artifact_type: str,
    media_type: str,
    annotations: Mapping[str, str],
) -> Referrer:
    """Say ``data`` about an entry; raises NotFoundError when the entry is gone."""
    listed = index.listed_as(layout.descriptors(), entry)
    subject = documents.read_blob(listed, MANIFEST_TYPE)
    with layout.stage() as staging:
        blob = staging.write_bytes(data)
        staging.write_bytes(EMPTY)
        manifest = referrer_bytes(
            subject,
            blob,
            artifact_type=artifact_type,
            media_type=media_type,
            annotations=annotations,
        )
        staging.write_bytes(manifest)
        referrer = read_referrer(manifest, "a new referrer")
        with layout.change(staging) as change:
            index.listed_as(change.descriptors, entry)
            add_to(change.descriptors, [referrer])
    return referrer


def add_to(descriptors: list[Descriptor], referrers: Sequence[Referrer]) -> None:
    """List referrers that are not listed yet, in place."""
    known = {one.get("digest") for one in descriptors}
    descriptors += [one.descriptor for one in referrers if one.digest not in known]


def find(layout: Layout, digest: str, artifact_type: str | None = None) -> Iterator[Referrer]:
    """Give the referrers of a manifest, the newest last; those of more than one layer are left out.

    Raises DigestMismatchError for one that is damaged.
    """
    for descriptor in layout.descriptors():
        if not _may_refer(descriptor, digest):
            continue
        what = f"the referrer '{descriptor.get('digest')}'"
        try:
            data = layout.read_document(str(descriptor.get("digest")))
            referrer = read_referrer(data, what)
        except NotFoundError:
            if descriptor in layout.descriptors():
                raise
            continue  # it was removed in the meantime
        except StoreError:
            continue
        if referrer.subject.digest == digest and artifact_type in (None, referrer.artifact_type):
            yield referrer


def read_data(layout: Layout, referrer: Referrer) -> bytes:
    """Return the data of a referrer; raises DigestMismatchError, NotFoundError, RefusedError."""
    with layout.open_blob(referrer.blob.digest) as blob:
        data = blob.read(MAX_DATA_BYTES + 1)
    if len(data) > MAX_DATA_BYTES:
        raise RefusedError(
            f"the referrer '{referrer.digest}' is longer than {MAX_DATA_BYTES} bytes"
        )
    return data


def detach(layout: Layout, referrer: Referrer) -> None:
    """Remove a referrer and what only it used; raises NotFoundError when it is gone already."""
    with layout.stage() as staging, layout.change(staging) as change:
        found = [one for one in change.descriptors if one.get("digest") == referrer.digest]
        if not found:
            raise NotFoundError(f"the referrer '{referrer.digest}' is not in the store")
        for one in found:
            change.descriptors.remove(one)
        change.unused |= layout.references(referrer.digest)


def subject_of(descriptor: Descriptor) -> str | None:
    """Return the digest that a descriptor of ours says that it is about; None: it does not say."""
    return index.annotation(descriptor, SUBJECT)


def _may_refer(descriptor: Descriptor, digest: str) -> bool:
    """Say whether the manifest has to be read to know: not every one is opened for each entry."""
    if descriptor.get("mediaType") != MANIFEST_TYPE:
        return False
    if (said := subject_of(descriptor)) is not None:
        return said == digest
    return descriptor.get("artifactType") not in ARTIFACT_TYPES
