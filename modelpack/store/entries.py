"""Turns staged blobs into entries that everybody sees, and descriptors into entries.

    layers, facts ──config, manifest──► staging ──publish──► (lock) blobs, index ──► Entry
    descriptor ──manifest──► Entry

Everything that comes into the store, built, imported or pulled, becomes visible by ``publish``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelpack.errors import ConflictError, DigestMismatchError, NotFoundError, StoreError
from modelpack.store import documents, index, pack, trash
from modelpack.store.base import CONTENT, KIND, MANIFEST_TYPE, Entry, Kind, Layer
from modelpack.store.durable import Blob, Staging
from modelpack.store.index import Listed
from modelpack.store.layout import Layout
from modelpack.store.referrers import Referrer, add_to
from modelpack.tag import Tag

_VERSION_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Added:
    """What adding did."""

    entry: Entry
    is_unchanged: bool
    """True when the very same entry was there already."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the documents of a new entry say beside its layers."""

    kind: Kind
    tag: Tag
    content: str
    formats: tuple[str, ...]

    @property
    def model_format(self) -> str | None:
        """The format of its models, when all have the same."""
        return self.formats[0] if len(set(self.formats)) == 1 else None


def commit(
    layout: Layout, staging: Staging, facts: Facts, layers: Sequence[Layer], created: str
) -> Added:
    """Write config and manifest for staged layers and publish; raises ConflictError."""
    layers = pack.in_order(layers)
    config = staging.write_bytes(documents.config_bytes(facts.tag, facts.model_format, layers))
    annotations = {KIND: str(facts.kind), CONTENT: facts.content}
    blob = staging.write_bytes(documents.manifest_bytes(config, layers, annotations))
    return publish(layout, staging, facts.kind, facts.tag, blob, created=created)


def publish(
    layout: Layout,
    staging: Staging,
    kind: Kind,
    tag: Tag,
    blob: Blob,
    *,
    created: str,
    referrers: Sequence[Referrer] = (),
    renew: bool = True,
) -> Added:
    """Make the staged blobs an entry, with what others say about it, in one step.

    ``blob`` is its manifest; ``renew`` makes an entry that is there the newest again.  Raises
    ConflictError when the version has other content, NotFoundError when the entry was deleted in
    the same moment.
    """
    with layout.change(staging) as change:
        known = index.by_ref(change.descriptors, kind, tag)
        if known is None:
            listed = Listed(kind, tag, documents.descriptor(kind, tag, blob, created=created))
            trash.forget(change.descriptors, listed)
            change.descriptors.append(listed.descriptor)
        elif index.is_alias(known):
            raise conflict(tag, "it is an extra tag of another one")
        elif known["digest"] != blob.digest:
            raise conflict(tag, "with other content")
        elif renew:
            change.descriptors.remove(known)
            change.descriptors.append(known)
        add_to(change.descriptors, referrers)
    found = index.by_ref(layout.descriptors(), kind, tag)
    entry = entry_of(layout, Listed(kind, tag, found)) if found else None
    if entry is None:
        raise NotFoundError(f"'{tag}' was deleted as soon as it was stored")
    return Added(entry, is_unchanged=known is not None)


def entry_of(layout: Layout, listed: Listed) -> Entry | None:
    """Return the entry of a descriptor, or None when it was deleted in the meantime."""
    what = f"the manifest of '{listed.tag}'"
    blob: Blob | None = None
    try:
        blob = documents.read_blob(listed.descriptor, MANIFEST_TYPE)
        manifest = documents.read_manifest(layout.read_document(blob.digest), what)
        if manifest.kind is not listed.kind:
            raise StoreError(f"{what} is that of a {manifest.kind}")
    except (NotFoundError, StoreError, DigestMismatchError, KeyError, ValueError) as cause:
        if listed.descriptor not in layout.descriptors():
            return None
        return listed.damaged_entry(str(cause))
    return listed.entry(manifest, blob)


def content_version(content: str) -> str:
    """Return the version that a content digest gives: its first 12 hex digits."""
    return content.removeprefix("sha256:")[:_VERSION_DIGITS]


def conflict(tag: Tag, why: str) -> ConflictError:
    """Return the error for a version that is taken."""
    return ConflictError(
        f"'{tag}' already exists: {why}", hint="choose another version, or delete that one first"
    )
