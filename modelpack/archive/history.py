"""The versions of a name in the order in which they came, each with what it changed.

    index, oldest first ──► Version(entry, its other tags, commit, "2 files, numpy 2.3 → 2.4")

A damaged version is listed as that, and the one after it says what it changed against the last that
can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from modelpack.archive.diff import compare, short, summary
from modelpack.errors import BundleNotFoundError, DigestMismatchError, NotFoundError, StoreError
from modelpack.provenance import Provenance, Revision, read_provenance
from modelpack.store import Entry, Kind, Store
from modelpack.tag import Tag

FIRST = "first"


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a bundle or of a model."""

    entry: Entry
    also: tuple[str, ...]
    """Its extra tags, the versions alone."""
    provenance: Provenance | None
    changed: str
    """What it changed against the one before, on one line."""

    @property
    def source(self) -> Revision | None:
        """The commit that it is of."""
        return self.provenance.source if self.provenance else None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "tag": str(self.entry.tag),
            "digest": self.entry.digest,
            "kind": str(self.entry.kind),
            "created": self.entry.created,
            "tags": list(self.also),
            "changed": self.changed,
            "damage": self.entry.damage,
            "provenance": self.provenance and self.provenance.to_json(),
        }


def history_of(store: Store, name: str) -> list[Version]:
    """Return the versions of a bundle, else of a model; raises BundleNotFoundError."""
    for kind in (Kind.BUNDLE, Kind.MODEL):
        entries = store.list(kind, name)
        if entries:
            change = _bundle_change if kind is Kind.BUNDLE else _model_change
            return _versions(store, entries, change)
    store.find(Tag(name), Kind.BUNDLE)  # raises, with what may have been meant
    raise BundleNotFoundError(f"no bundle '{name}' in the store")  # it was built in this moment


_Change = Callable[[Store, Entry, Entry], str]


def _versions(store: Store, entries: Sequence[Entry], change: _Change) -> list[Version]:
    extra: dict[str, list[str]] = {}
    for entry in entries:
        if entry.is_alias:
            extra.setdefault(entry.digest, []).append(str(entry.tag.version))
    found = []
    before: Entry | None = None
    for entry in entries:
        if entry.is_alias:
            continue
        also = tuple(extra.get(entry.digest, ()))
        try:
            _check(entry)
            provenance = read_provenance(store, entry)
            changed = FIRST if before is None else change(store, before, entry)
        except (DigestMismatchError, NotFoundError, StoreError):
            found.append(Version(entry, also, None, "damaged"))
            continue
        if before is None and entry.kind is Kind.MODEL:
            changed = _metrics(provenance) or FIRST
        found.append(Version(entry, also, provenance, changed))
        before = entry
    return found


def _check(entry: Entry) -> None:
    if entry.damage is not None:
        raise StoreError(entry.damage)


def _bundle_change(store: Store, old: Entry, new: Entry) -> str:
    return summary(compare(store, old, new))


def _model_change(store: Store, old: Entry, new: Entry) -> str:
    before, after = store.model_record(old), store.model_record(new)
    was = {file.path: file.sha256 for file in before.files}
    now = {file.path: file.sha256 for file in after.files}
    count = len(dict(was.items() ^ now.items()))
    parts = [f"{count} file{'s' * (count != 1)}"] if count else []
    if before.framework != after.framework:
        parts.append(f"{before.framework} → {after.framework}")
    parts += [text] if (text := _metrics(read_provenance(store, new))) else []
    return ", ".join(parts) or "nothing but what it says of itself"


def _metrics(provenance: Provenance | None) -> str:
    training = provenance.training.metrics if provenance else {}
    return ", ".join(f"{name} {short(value)}" for name, value in training.items())
