"""Deleted tags, which can be restored for a while.

    {ref.name: digits:1, …} ──delete──► {deleted: TIME, deleted.ref: digits:1, …} ──undelete──► back
                                                      └── KEPT later, or gc: away, with its blobs

A deleted tag stays in the index where it was, without the annotation that makes it a tag.  So one
rename deletes it and one restores it, other tools keep its blobs as well, and ``latest`` is after
``undelete`` what it was before ``delete``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from modelpack.store.base import REF_NAME, SUBJECT, Descriptor, Kind
from modelpack.store.index import Listed, annotation, is_alias, read_ref
from modelpack.tag import Tag

KEPT = timedelta(days=7)
"""How long a deleted tag can be restored, unless ``gc`` comes first."""

DELETED = "dev.modelpack.deleted"
DELETED_REF = "dev.modelpack.deleted.ref"

_FORM = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Deleted:
    """A tag that was deleted and is still there."""

    kind: Kind
    tag: Tag
    digest: str
    deleted: str
    """When, UTC, RFC 3339."""
    until: str
    """When the next command that writes removes it for good."""
    is_alias: bool
    descriptor: Descriptor


def marked(descriptor: Descriptor, now: datetime) -> Descriptor:
    """Return a descriptor as it stands in the index once it is deleted."""
    notes = dict(descriptor["annotations"])
    notes[DELETED_REF] = notes.pop(REF_NAME)
    notes[DELETED] = now.astimezone(UTC).strftime(_FORM)
    return {**descriptor, "annotations": notes}


def restored(descriptor: Descriptor) -> Descriptor:
    """Return a deleted descriptor as it was before."""
    notes = dict(descriptor["annotations"])
    notes[REF_NAME] = notes.pop(DELETED_REF)
    del notes[DELETED]
    return {**descriptor, "annotations": notes}


def deleted(descriptors: Iterable[Descriptor]) -> list[Deleted]:
    """Return the deleted tags, the one that was deleted last at the end."""
    found = [one for one in map(_deleted, descriptors) if one is not None]
    return sorted(found, key=lambda one: one.deleted)


def choose(descriptors: Sequence[Descriptor], tag: Tag, kind: Kind) -> Deleted | None:
    """Return the deleted one that ``tag`` means; without a version, the last that is no extra tag."""
    fitting = [
        one
        for one in deleted(descriptors)
        if one.kind is kind
        and one.tag.name == tag.name
        and (one.tag.version == tag.version if tag.version else not one.is_alias)
    ]
    return fitting[-1] if fitting else None


def drop_expired(descriptors: list[Descriptor], now: datetime) -> list[str]:
    """Take out in place what nobody can want any more, and return its digests.

    That is deleted tags whose time is over, and what is said about manifests that are gone.
    """
    limit = (now.astimezone(UTC) - KEPT).strftime(_FORM)
    gone = [one.descriptor for one in deleted(descriptors) if one.deleted <= limit]
    return _drop(descriptors, gone)


def drop_all(descriptors: list[Descriptor]) -> list[str]:
    """Take out every deleted tag, as ``drop_expired``, and whatever speaks about nothing."""
    gone = [one.descriptor for one in deleted(descriptors)]
    return _drop(descriptors, gone or dangling(descriptors))


def dangling(descriptors: Sequence[Descriptor]) -> list[Descriptor]:
    """Return what is said about manifests that the index does not list."""
    there = {one.get("digest") for one in descriptors}
    subjects = ((one, annotation(one, SUBJECT)) for one in descriptors)
    return [one for one, subject in subjects if subject is not None and subject not in there]


def forget(descriptors: list[Descriptor], listed: Listed) -> None:
    """Take out deleted tags that are there again with the same content, in place."""
    for one in deleted(descriptors):
        same = (one.kind, one.tag, one.digest)
        if same == (listed.kind, listed.tag, listed.descriptor.get("digest")):
            descriptors.remove(one.descriptor)


def _drop(descriptors: list[Descriptor], gone: list[Descriptor]) -> list[str]:
    dropped = []
    while gone:
        for one in gone:
            descriptors.remove(one)
            dropped.append(str(one.get("digest")))
        gone = dangling(descriptors)
    return dropped


def _deleted(descriptor: Descriptor) -> Deleted | None:
    moment = annotation(descriptor, DELETED)
    named = read_ref(annotation(descriptor, DELETED_REF))
    if moment is None or named is None:
        return None
    kind, tag = named
    return Deleted(
        kind=kind,
        tag=tag,
        digest=str(descriptor.get("digest")),
        deleted=moment,
        until=_until(moment),
        is_alias=is_alias(descriptor),
        descriptor=descriptor,
    )


def _until(moment: str) -> str:
    try:
        when = datetime.strptime(moment, _FORM).replace(tzinfo=UTC)
    except ValueError:
        return moment  # another tool's form: over at once
    return (when + KEPT).strftime(_FORM)
