"""Reads tags out of the descriptors of an index, and tells which one is meant.

    descriptors ──tags──► Listed(kind, tag, descriptor) ──choose──► the one that a tag means

Models stand below ``models/`` in the index; what other tools put there without a tag of ours is
left alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from modelpack.errors import (
    BundleNotFoundError,
    ModelNotFoundError,
    NotFoundError,
    StoreError,
    TagError,
    did_you_mean,
)
from modelpack.store.base import ALIAS, CREATED, REF_NAME, Descriptor, Entry, Kind, ref_name
from modelpack.store.documents import Manifest
from modelpack.store.durable import Blob
from modelpack.tag import Tag

_LIST = {Kind.BUNDLE: "modelpack list", Kind.MODEL: "modelpack models list"}


@dataclass(frozen=True, slots=True)
class Listed:
    """A descriptor that carries a tag of ours."""

    kind: Kind
    tag: Tag
    descriptor: Descriptor

    def entry(self, manifest: Manifest, blob: Blob) -> Entry:
        """Return the entry that it stands for."""
        return Entry(
            kind=self.kind,
            tag=self.tag,
            digest=blob.digest,
            size_bytes=blob.size + sum(part.size for part in manifest.blobs),
            layers=manifest.layers,
            annotations=manifest.annotations,
            created=annotation(self.descriptor, CREATED),
            is_alias=is_alias(self.descriptor),
        )

    def damaged_entry(self, damage: str) -> Entry:
        """Return an entry without anything that its unreadable manifest would say."""
        return Entry(
            kind=self.kind,
            tag=self.tag,
            digest=str(self.descriptor.get("digest")),
            size_bytes=0,
            layers=(),
            annotations={},
            created=annotation(self.descriptor, CREATED),
            is_alias=is_alias(self.descriptor),
            damage=damage,
        )


def tags(descriptors: Sequence[Descriptor]) -> list[Listed]:
    """Return every descriptor that has a tag of ours, in order."""
    found = (_listed(descriptor) for descriptor in descriptors)
    return [listed for listed in found if listed is not None]


def choose(listed: Sequence[Listed], tag: Tag, kind: Kind) -> Listed | None:
    """Return the one that ``tag`` means; without a version, the last that is no extra tag."""
    fitting = [
        one
        for one in listed
        if one.kind is kind
        and one.tag.name == tag.name
        and (one.tag.version == tag.version if tag.version else not is_alias(one.descriptor))
    ]
    return fitting[-1] if fitting else None


def by_ref(descriptors: Sequence[Descriptor], kind: Kind, tag: Tag) -> Descriptor | None:
    """Return the descriptor of exactly this tag."""
    wanted = ref_name(kind, tag)
    found = [one for one in descriptors if annotation(one, REF_NAME) == wanted]
    return found[-1] if found else None


def listed_as(descriptors: Sequence[Descriptor], entry: Entry) -> Descriptor:
    """Return the descriptor of an entry; raises NotFoundError when it was deleted or replaced."""
    found = by_ref(descriptors, entry.kind, entry.tag)
    if found is None or found.get("digest") != entry.digest:
        raise not_found(tags(descriptors), entry.tag, entry.kind)
    return found


def is_alias(descriptor: Descriptor) -> bool:
    """Say whether it is an extra tag."""
    return annotation(descriptor, ALIAS) == "true"


def not_found(listed: Sequence[Listed], tag: Tag, kind: Kind) -> NotFoundError:
    """Return the error for a tag that nothing answers to, with what may have been meant."""
    names = {one.tag.name for one in listed if one.kind is kind}
    versions = [str(one.tag) for one in listed if one.kind is kind and one.tag.name == tag.name]
    hint = f"run '{_LIST[kind]}' to see what is there"
    if tag.name in names:
        near = did_you_mean(str(tag), versions) or f"{tag.name}:latest"
        hint = f"did you mean '{near}'?"
    elif other := next((one for one in listed if one.tag.name == tag.name), None):
        hint = f"'{tag.name}' is a {other.kind}: see '{_LIST[other.kind]}'"
    elif near_name := did_you_mean(tag.name, names):
        hint = f"did you mean '{near_name}'?"
    error = ModelNotFoundError if kind is Kind.MODEL else BundleNotFoundError
    return error(f"no {kind} '{tag}' in the store", hint=hint)


def timestamp(moment: datetime | None) -> str:
    """Return a time as it stands in the index; now, or ``SOURCE_DATE_EPOCH``, if there is none."""
    if moment is None and (epoch := os.environ.get("SOURCE_DATE_EPOCH")):
        try:
            moment = datetime.fromtimestamp(int(epoch), UTC)
        except (ValueError, OverflowError, OSError) as cause:
            raise StoreError(
                f"SOURCE_DATE_EPOCH is '{epoch[:40]}'", hint="set it to seconds since 1970"
            ) from cause
    moment = moment or datetime.now(UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_ref(ref: str | None) -> tuple[Kind, Tag] | None:
    """Return what ``ref_name`` wrote; None for what another tool did."""
    kind = Kind.MODEL if (ref or "").startswith("models/") else Kind.BUNDLE
    try:
        tag = Tag.parse((ref or "").removeprefix("models/"))
    except TagError:
        return None
    return (kind, tag) if tag.version else None


def _listed(descriptor: Descriptor) -> Listed | None:
    named = read_ref(annotation(descriptor, REF_NAME))
    return Listed(*named, descriptor) if named else None


def annotation(descriptor: Descriptor, key: str) -> str | None:
    """Return one annotation of a descriptor, None when it has no such text."""
    annotations = descriptor.get("annotations")
    value = annotations.get(key) if isinstance(annotations, dict) else None
    return value if isinstance(value, str) else None
