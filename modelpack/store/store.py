"""Models and bundles on this machine, by tag and by digest.

    add_model, add_bundle, import_ ──► staging ──► (lock) blobs, index ──► Entry
    find, list ──► Entry ──► unpack, export, bundle_manifest, open_blob   (no lock, digests checked)

What always holds:

* an entry is whole or absent, and its bytes are those that its digests name;
* adding what is there already changes nothing but that it is the newest again; other content
  under the same version is a conflict;
* ``latest`` is the entry that was built last, never an extra tag.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from modelpack import paths
from modelpack.errors import ConflictError, DigestMismatchError, NotFoundError, StoreError
from modelpack.manifest import (
    BUNDLE_FILE,
    LOCK_FILE,
    MODEL_FILE,
    README_FILE,
    SBOM_FILE,
    BundleManifest,
    ModelRecord,
)
from modelpack.progress import SILENT, Progress
from modelpack.store import checking, contents, documents, exchange, index, pack, referrers
from modelpack.store.base import (
    CODE_TYPE,
    CONTENT,
    KIND,
    MANIFEST_TYPE,
    SIDE_TYPE,
    TOP,
    Entry,
    Kind,
    Layer,
)
from modelpack.store.checking import Verified
from modelpack.store.durable import Blob, Staging
from modelpack.store.layout import Layout
from modelpack.store.referrers import Referrer
from modelpack.tag import Tag

_VERSION_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Added:
    """What adding did."""

    entry: Entry
    is_unchanged: bool
    """True when the very same entry was there already."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the documents of a new entry say beside its layers."""

    kind: Kind
    tag: Tag
    content: str
    formats: tuple[str, ...]

    @property
    def model_format(self) -> str | None:
        return self.formats[0] if len(set(self.formats)) == 1 else None


class Store:
    """The store in ``root`` (default: ``paths.store_dir()``); made on the first write."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or paths.store_dir()
        self._layout = Layout(self.root)

    # Finding

    def find(self, tag: Tag, kind: Kind, *, allow_damaged: bool = False) -> Entry:
        """Return the entry of a tag; without a version, the one that was built last.

        Raises ModelNotFoundError or BundleNotFoundError with a suggestion, and
        DigestMismatchError when its manifest is damaged, unless ``allow_damaged``.
        """
        listed = index.tags(self._layout.descriptors())
        found = index.choose(listed, tag, kind)
        entry = self._entry(found) if found else None
        if found is None or entry is None:
            raise index.not_found(listed, tag, kind)
        if entry.damage is not None and not allow_damaged:
            raise DigestMismatchError(
                f"'{entry.tag}' is damaged: {entry.damage}",
                hint="delete it and build or import it again",
            )
        return entry

    def list(self, kind: Kind | None = None, name: str | None = None) -> builtins.list[Entry]:
        """Return entries and their extra tags, oldest first; damaged ones say so."""
        entries = (
            self._entry(listed)
            for listed in index.tags(self._layout.descriptors())
            if kind in (None, listed.kind) and name in (None, listed.tag.name)
        )
        return [entry for entry in entries if entry is not None]

    # Adding and removing

    def add_model(
        self,
        record: ModelRecord,
        folder: Path,
        *,
        version: str | None = None,
        created: datetime | None = None,
    ) -> Added:
        """Store a model whose files lie in ``folder``; the version comes from its content if none.

        Raises ConflictError when that version has other content, BuildError for a file that
        cannot be read or changes meanwhile.
        """
        content = pack.model_content(record)
        tag = Tag(record.name, version or content_version(content))
        with self._layout.stage() as staging:
            layers = pack.pack_model(staging, record, folder)
            facts = _Facts(Kind.MODEL, tag, content, (record.framework,))
            return self._commit(staging, facts, layers, index.timestamp(created))

    def add_bundle(
        self,
        name: str,
        manifest: BundleManifest,
        *,
        root: Path,
        lock: str,
        models: Sequence[Entry] = (),
        readme: bytes | None = None,
        sbom: bytes | None = None,
        wheels: Mapping[str, Path] | None = None,
        version: str | None = None,
        created: datetime | None = None,
    ) -> Added:
        """Store a bundle of the files of ``manifest`` below ``root`` and of stored models.

        The models' blobs are shared, not copied.  ``wheels`` says where those of the manifest lie,
        by file name.  Without ``version`` it comes from the content.
        Raises ConflictError when that version has other content, NotFoundError when a model was
        deleted meanwhile, BuildError for a file that cannot be read or changes meanwhile.
        """
        named = {README_FILE: readme, SBOM_FILE: sbom}
        docs = {name: data for name, data in named.items() if data is not None}
        content = pack.bundle_content(manifest, docs)
        tag = Tag(name, version or content_version(content))
        with self._layout.stage() as staging:
            shared = [layer for model in models for layer in model.layers]
            self._layout.pin(staging, [Blob(layer.digest, layer.size) for layer in shared])
            layers = pack.pack_service(staging, manifest, root, lock, docs, wheels=wheels or {})
            formats = tuple(str(model["framework"]) for model in manifest.models)
            facts = _Facts(Kind.BUNDLE, tag, content, formats)
            return self._commit(staging, facts, [*shared, *layers], index.timestamp(created))

    def tag(self, entry: Entry, version: str) -> Entry:
        """Give an entry an extra tag, or move that extra tag to it.

        Raises ConflictError when another entry was built under that version, NotFoundError when
        the entry is gone.
        """
        tag = Tag(entry.tag.name, version)
        with self._layout.stage() as staging, self._layout.change(staging) as change:
            source = index.listed_as(change.descriptors, entry)
            taken = index.by_ref(change.descriptors, entry.kind, tag)
            if taken is not None and not index.is_alias(taken):
                if taken["digest"] != entry.digest:
                    raise _conflict(tag, "another one was built under that version")
                return replace(entry, tag=tag, is_alias=False)
            if taken is not None:
                change.descriptors.remove(taken)
            change.descriptors.append(
                documents.descriptor(
                    entry.kind,
                    tag,
                    Blob(entry.digest, source["size"]),
                    created=entry.created,
                    is_alias=True,
                )
            )
        return replace(entry, tag=tag, is_alias=True)

    def delete(self, entry: Entry) -> int:
        """Remove a tag and the blobs that nothing else refers to; return the bytes that it freed.

        Raises NotFoundError when it is gone already.
        """
        with self._layout.stage() as staging:
            with self._layout.change(staging) as change:
                change.descriptors.remove(index.listed_as(change.descriptors, entry))
                change.unused = self._layout.references(entry.digest)
            return change.freed_bytes

    # What others say about an entry

    def attach(
        self,
        entry: Entry,
        *,
        artifact_type: str,
        media_type: str,
        data: bytes,
        annotations: Mapping[str, str] | None = None,
    ) -> Referrer:
        """Keep a statement about an entry, which changes nothing about its digest.

        artifact_type  what it is, such as ``application/vnd.in-toto+json``
        media_type     of ``data``
        annotations    of the statement's own manifest

        The very same statement again is the one that is there.  Raises NotFoundError when the entry
        is gone.
        """
        return referrers.attach(
            self._layout,
            entry,
            data,
            artifact_type=artifact_type,
            media_type=media_type,
            annotations=annotations or {},
        )

    def referrers(self, entry: Entry, artifact_type: str | None = None) -> builtins.list[Referrer]:
        """Return the statements about an entry, the newest last; all kinds, or one.

        Raises DigestMismatchError when one of them is damaged.
        """
        return [*referrers.find(self._layout, entry.digest, artifact_type)]

    def read_referrer(self, referrer: Referrer) -> bytes:
        """Return the data of a statement; raises DigestMismatchError, NotFoundError, RefusedError."""
        return referrers.read_data(self._layout, referrer)

    def detach(self, referrer: Referrer) -> None:
        """Remove a statement; raises NotFoundError when it is gone already."""
        referrers.detach(self._layout, referrer)

    def _commit(
        self, staging: Staging, facts: _Facts, layers: Sequence[Layer], created: str
    ) -> Added:
        layers = pack.in_order(layers)
        config = staging.write_bytes(documents.config_bytes(facts.tag, facts.model_format, layers))
        annotations = {KIND: str(facts.kind), CONTENT: facts.content}
        blob = staging.write_bytes(documents.manifest_bytes(config, layers, annotations))
        return self._publish(staging, facts.kind, facts.tag, blob, created=created)

    def _publish(
        self,
        staging: Staging,
        kind: Kind,
        tag: Tag,
        blob: Blob,
        created: str,
        *,
        renew: bool = True,
    ) -> Added:
        """Make the staged blobs an entry; ``renew`` makes one that is there the newest again."""
        with self._layout.change(staging) as change:
            known = index.by_ref(change.descriptors, kind, tag)
            if known is None:
                change.descriptors.append(documents.descriptor(kind, tag, blob, created=created))
            elif index.is_alias(known):
                raise _conflict(tag, "it is an extra tag of another one")
            elif known["digest"] != blob.digest:
                raise _conflict(tag, "with other content")
            elif renew:
                change.descriptors.remove(known)
                change.descriptors.append(known)
        listed = index.by_ref(self._layout.descriptors(), kind, tag)
        entry = self._entry(index.Listed(kind, tag, listed)) if listed else None
        if entry is None:
            raise NotFoundError(f"'{tag}' was deleted as soon as it was stored")
        return Added(entry, is_unchanged=known is not None)

    # Using

    def open_blob(self, digest: str) -> BinaryIO:
        """Open a blob; raises DigestMismatchError at its end if the bytes are not its digest's.

        Raises NotFoundError when it is not there.
        """
        return self._layout.open_blob(digest)

    def unpack(self, entry: Entry, into: Path, *, exist_ok: bool = False) -> Path:
        """Write the files as ``into/bundle`` and return that folder; it appears whole or not.

        With ``exist_ok`` a ``bundle`` that is there already is taken as it is, which is safe for
        several processes at once when ``into`` is named by the digest; without, ConflictError.
        Raises DigestMismatchError and RefusedError when the entry is damaged or holds what must
        not be unpacked.
        """
        if exist_ok and (into / TOP).is_dir():
            return into / TOP
        try:
            return contents.unpack_layers(self.open_blob, entry.layers, into, f"'{entry.tag}'")
        except ConflictError:
            if exist_ok:
                return into / TOP
            raise

    def export(self, entry: Entry, file: Path) -> Path:
        """Write an archive (an ``oci-archive`` to other tools) and return its path.

        A folder as ``file`` gets ``NAME-VERSION.modelpack`` in it; a file is replaced at the end.
        The same entry gives the same bytes.  Raises DigestMismatchError for a damaged blob.
        """
        file = file / entry.archive_name if file.is_dir() else file
        exchange.export_entry(self._layout, entry, file)
        return file

    def import_(self, file: Path, *, created: datetime | None = None) -> Entry:
        """Store what an archive holds after every byte was checked; again, it changes nothing.

        Raises RefusedError or DigestMismatchError for anything that does not fit, ConflictError
        when its version has other content here, NotFoundError when there is no such file.
        """
        with exchange.open_archive(file) as stream, self._layout.stage() as staging:
            found = exchange.stage_archive(staging, stream, f"'{file.name}'")
            moment = index.timestamp(created)
            kind = found.manifest.kind
            return self._publish(
                staging, kind, found.tag, found.blob, created=moment, renew=False
            ).entry

    def verify(self, entry: Entry, progress: Progress = SILENT) -> Verified:
        """Read every byte again: documents, layers, files, records and what others say about it.

        Raises DigestMismatchError that names blob and file for what is damaged, missing or in no
        record.
        """
        return checking.verify_entry(self._layout, entry, progress)

    def bundle_manifest(self, entry: Entry) -> BundleManifest:
        """Return the record of a bundle; raises StoreError when the entry is not one."""
        return BundleManifest.from_json(self._record(entry, CODE_TYPE, f"{TOP}/{BUNDLE_FILE}"))

    def model_record(self, entry: Entry) -> ModelRecord:
        """Return the record of a model; raises StoreError when the entry is not one."""
        path = f"{TOP}/models/{entry.tag.name}/{MODEL_FILE}"
        return ModelRecord.from_json(self._record(entry, SIDE_TYPE, path))

    def lock_text(self, entry: Entry) -> str:
        """Return the ``requirements.lock`` of a bundle."""
        return self._file(entry, CODE_TYPE, f"{TOP}/{LOCK_FILE}").decode()

    def _record(self, entry: Entry, media_type: str, path: str) -> dict[str, object]:
        data = self._file(entry, media_type, path)
        return documents.read_json(data, f"'{path}' of '{entry.tag}'")

    def _file(self, entry: Entry, media_type: str, path: str) -> bytes:
        if (entry.kind is Kind.MODEL) != (media_type == SIDE_TYPE):
            raise StoreError(f"'{entry.tag}' is a {entry.kind}, which has no '{path}'")
        layers = [layer for layer in entry.layers if layer.media_type == media_type]
        return contents.read_file(self.open_blob, layers, path, f"'{entry.tag}'")

    def _entry(self, listed: index.Listed) -> Entry | None:
        """Return the entry of a descriptor, or None when it was deleted in the meantime."""
        what = f"the manifest of '{listed.tag}'"
        blob: Blob | None = None
        try:
            blob = documents.read_blob(listed.descriptor, MANIFEST_TYPE)
            manifest = documents.read_manifest(self._layout.read_document(blob.digest), what)
            if manifest.kind is not listed.kind:
                raise StoreError(f"{what} is that of a {manifest.kind}")
        except (NotFoundError, StoreError, DigestMismatchError, KeyError, ValueError) as cause:
            if listed.descriptor not in self._layout.descriptors():
                return None
            return listed.damaged_entry(str(cause))
        return listed.entry(manifest, blob)


def content_version(content: str) -> str:
    """Return the version that a content digest gives: its first 12 hex digits."""
    return content.removeprefix("sha256:")[:_VERSION_DIGITS]


def _conflict(tag: Tag, why: str) -> ConflictError:
    return ConflictError(
        f"'{tag}' already exists: {why}", hint="choose another version, or delete that one first"
    )
