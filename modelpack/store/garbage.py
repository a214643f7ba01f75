"""Deleting, restoring, and what is removed from the disk for good.

    delete ──► a deleted tag, its blobs stay ──undelete──► the tag again
                   └── gc, or a week ──► away with everything that only it used

``plan`` says what would go and why, ``collect`` does it.  A blob goes when no tag, no deleted tag and
no other tool's descriptor leads to it, so a shared one stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from modelpack.errors import ConflictError, NotFoundError, StoreError
from modelpack.store import index, trash
from modelpack.store.base import SUBJECT, Descriptor, Entry, Kind
from modelpack.store.index import Listed, annotation
from modelpack.store.layout import INCOMING, Layout
from modelpack.tag import Tag

_INSPECT = {Kind.BUNDLE: "modelpack inspect", Kind.MODEL: "modelpack models inspect"}
_UNDELETE_HINT = "'modelpack gc --plan' says what was deleted and is still there"


@dataclass(frozen=True, slots=True)
class Garbage:
    """One thing that ``gc`` removes."""

    what: str
    """``bundle``, ``model``, ``referrer``, ``blob``, ``staging`` or ``incoming``."""
    name: str
    """A tag, a digest or the name of a folder."""
    why: str
    size_bytes: int
    """What that frees, counted at the first of several that share it."""


@dataclass(frozen=True, slots=True)
class GcPlan:
    """What ``gc`` would remove."""

    items: tuple[Garbage, ...]
    blocked: str | None = None
    """Why nothing can be removed now."""

    @property
    def size_bytes(self) -> int:
        """What all of it frees."""
        return sum(item.size_bytes for item in self.items)


def delete(layout: Layout, entry: Entry) -> int:
    """Turn a tag into a deleted one; return the bytes that nothing else uses.

    Raises NotFoundError when it is gone already.
    """
    with layout.stage() as staging, layout.change(staging) as change:
        listed = index.listed_as(change.descriptors, entry)
        place = change.descriptors.index(listed)
        change.descriptors[place] = trash.marked(listed, layout.now())
        live = _live(change.descriptors)
        said = [one for one in change.descriptors if annotation(one, SUBJECT) == entry.digest]
        only_here = _reached(layout, [listed, *said]) - _reached(layout, live)
        sizes = layout.blob_sizes()
        return sum(sizes.get(digest, 0) for digest in only_here)


def undelete(layout: Layout, tag: Tag, kind: Kind) -> Listed:
    """Make the tag that was deleted last a tag again.

    Raises NotFoundError when there is none, ConflictError when another one has the tag now.
    """
    with layout.stage() as staging, layout.change(staging) as change:
        found = trash.choose(change.descriptors, tag, kind)
        taken = index.by_ref(change.descriptors, kind, found.tag if found else tag)
        if found is None and taken is not None:
            raise ConflictError(
                f"'{tag}' is not deleted", hint=f"'{_INSPECT[kind]} {tag}' shows it"
            )
        if found is None:
            raise _none_deleted(tag, kind)
        if taken is not None and taken.get("digest") != found.digest:
            raise ConflictError(
                f"'{found.tag}' is another {kind} now",
                hint="give that one an extra tag and delete this tag first",
            )
        if taken is not None:
            change.descriptors.remove(taken)
        descriptor = trash.restored(found.descriptor)
        change.descriptors[change.descriptors.index(found.descriptor)] = descriptor
    return Listed(kind, found.tag, descriptor)


def plan(layout: Layout) -> GcPlan:
    """Return what ``collect`` would remove; changes nothing."""
    descriptors = layout.descriptors()
    sizes = layout.blob_sizes()
    gone = trash.deleted(descriptors)
    live = _live(descriptors)
    dangling = [one for one in trash.dangling(descriptors) if one not in live]
    used = _reached(layout, live)
    items = []
    for one in gone:
        why = f"deleted {_shown(one.deleted)}, can be restored until {_shown(one.until)}"
        about = [d for d in descriptors if annotation(d, SUBJECT) == one.digest]
        size = _take(sizes, used, _reached(layout, [one.descriptor, *about]))
        items.append(Garbage(str(one.kind), str(one.tag), why, size))
    for descriptor in dangling:
        digest = str(descriptor.get("digest"))
        size = _take(sizes, used, layout.references(digest))
        items.append(Garbage("referrer", digest, "what it speaks about is gone", size))
    for digest in sorted(sizes.keys() - used):
        why = "nothing refers to it: its writer was killed, or another tool left it"
        items.append(Garbage("blob", digest, why, sizes[digest]))
    for name, size in layout.litter():
        items.append(Garbage("staging", name, "left by a writer that was killed", size))
    for name, size in layout.litter(INCOMING):
        why = "a pull that was broken off; the next one would go on with it"
        items.append(Garbage("incoming", name, why, size))
    return GcPlan(tuple(items), _blocked(layout, live))


def collect(layout: Layout) -> GcPlan:
    """Remove everything of the plan and return it; raises StoreError when it is blocked."""
    if not layout.root.exists():
        return GcPlan(())
    planned = plan(layout)
    if planned.blocked is not None:
        raise StoreError(
            f"nothing was removed: {planned.blocked}",
            hint="what a damaged one still needs is not known: delete it first",
        )
    # What dead writers left goes as soon as there is a staging folder.
    with layout.stage() as staging, layout.change(staging) as change:
        trash.drop_all(change.descriptors)
        change.unused = set(layout.blob_sizes())
    layout.remove_incoming()
    return planned


def _live(descriptors: list[Descriptor]) -> list[Descriptor]:
    """Return what stays when the deleted tags are gone, and what is said about them."""
    live = list(descriptors)
    trash.drop_all(live)
    return live


def _reached(layout: Layout, descriptors: Iterable[Descriptor]) -> set[str]:
    reached: set[str] = set()
    for descriptor in descriptors:
        reached |= layout.references(str(descriptor.get("digest")))
    return reached


def _take(sizes: dict[str, int], used: set[str], digests: set[str]) -> int:
    """Return the bytes of digests that nobody uses so far, who are used from now on."""
    new = digests - used
    used |= new
    return sum(sizes.get(digest, 0) for digest in new)


def _blocked(layout: Layout, live: list[Descriptor]) -> str | None:
    for descriptor in live:
        if not layout.is_readable(descriptor):
            listed = index.tags([descriptor])
            name = str(listed[0].tag) if listed else str(descriptor.get("digest"))
            return f"the manifest of '{name}' is damaged"
    return None


def _none_deleted(tag: Tag, kind: Kind) -> NotFoundError:
    return NotFoundError(f"no deleted {kind} '{tag}' in the store", hint=_UNDELETE_HINT)


def _shown(moment: str) -> str:
    return moment.replace("T", " ")[:16]
