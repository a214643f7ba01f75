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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from modelpack import paths
from modelpack.errors import ConflictError, DigestMismatchError, StoreError
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
from modelpack.store import (
    checking,
    contents,
    documents,
    entries,
    exchange,
    garbage,
    index,
    pack,
    referrers,
    reuse,
    trash,
)
from modelpack.store.base import CODE_TYPE, SIDE_TYPE, TOP, Entry, Kind
from modelpack.store.checking import Verified
from modelpack.store.durable import Blob
from modelpack.store.entries import Added, Facts
from modelpack.store.garbage import GcPlan
from modelpack.store.layout import Layout, utc_now
from modelpack.store.referrers import Referrer
from modelpack.store.system import REAL, Io
from modelpack.store.trash import Deleted
from modelpack.tag import Tag


class Store:
    """The store in ``root`` (default: ``paths.store_dir()``); made on the first write."""

    def __init__(
        self, root: Path | None = None, *, io: Io = REAL, now: Callable[[], datetime] = utc_now
    ) -> None:
        self.root = root or paths.store_dir()
        self._layout = Layout(self.root, io=io, now=now)

    # Finding

    def find(self, tag: Tag, kind: Kind, *, allow_damaged: bool = False) -> Entry:
        """Return the entry of a tag; without a version, the one that was built last.

        Raises ModelNotFoundError or BundleNotFoundError with a suggestion, and
        DigestMismatchError when its manifest is damaged, unless ``allow_damaged``.
        """
        listed = index.tags(self._layout.descriptors())
        found = index.choose(listed, tag, kind)
        entry = entries.entry_of(self._layout, found) if found else None
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
        found = (
            entries.entry_of(self._layout, listed)
            for listed in index.tags(self._layout.descriptors())
            if kind in (None, listed.kind) and name in (None, listed.tag.name)
        )
        return [entry for entry in found if entry is not None]

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
        tag = Tag(record.name, version or entries.content_version(content))
        with self._layout.stage() as staging:
            models = self.list(Kind.MODEL, record.name)
            known = reuse.reuse_from(self._layout, staging, models, self.model_record)
            layers = pack.pack_model(staging, record, folder, known)
            facts = Facts(Kind.MODEL, tag, content, (record.framework,))
            return entries.commit(self._layout, staging, facts, layers, index.timestamp(created))

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
        tag = Tag(name, version or entries.content_version(content))
        with self._layout.stage() as staging:
            shared = [layer for model in models for layer in model.layers]
            self._layout.pin(staging, [Blob(layer.digest, layer.size) for layer in shared])
            layers = pack.pack_service(staging, manifest, root, lock, docs, wheels=wheels or {})
            formats = tuple(str(model["framework"]) for model in manifest.models)
            facts = Facts(Kind.BUNDLE, tag, content, formats)
            return entries.commit(
                self._layout, staging, facts, [*shared, *layers], index.timestamp(created)
            )

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
                    raise entries.conflict(tag, "another one was built under that version")
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
        """Delete a tag, which ``undelete`` brings back for a week unless ``gc`` comes first.

        Returns the bytes that nothing else uses: what its end will free.  Raises NotFoundError when
        it is gone already.
        """
        return garbage.delete(self._layout, entry)

    def undelete(self, tag: Tag, kind: Kind) -> Entry:
        """Bring back a deleted tag; without a version, the one that was deleted last.

        Raises NotFoundError when none was deleted, ConflictError when another has the tag now.
        """
        listed = garbage.undelete(self._layout, tag, kind)
        entry = entries.entry_of(self._layout, listed)
        if entry is None:
            raise index.not_found(index.tags(self._layout.descriptors()), tag, kind)
        return entry

    def deleted(self, kind: Kind | None = None) -> builtins.list[Deleted]:
        """Return the deleted tags that can be brought back, the latest last."""
        found = trash.deleted(self._layout.descriptors())
        return [one for one in found if kind in (None, one.kind)]

    def plan_gc(self) -> GcPlan:
        """Return what ``gc`` would remove and why; changes nothing."""
        return garbage.plan(self._layout)

    def gc(self) -> GcPlan:
        """Remove deleted tags, blobs that nothing refers to and what dead writers left.

        Returns what went.  Raises StoreError when a damaged entry keeps it from knowing.
        """
        return garbage.collect(self._layout)

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
            with self.naming_damage(entry):
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
        with self.naming_damage(entry):
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
            return entries.publish(
                self._layout,
                staging,
                kind,
                found.tag,
                found.blob,
                created=moment,
                referrers=found.referrers,
                renew=False,
            ).entry

    @contextmanager
    def naming_damage(self, entry: Entry) -> Iterator[None]:
        """Say which file of an entry has rotted when a digest in the block does not fit.

        Where only the digest of a blob is known to be wrong, everything is read once more.
        """
        try:
            yield
        except DigestMismatchError:
            self.verify(entry)
            raise

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
        with self.naming_damage(entry):
            return contents.read_file(self.open_blob, layers, path, f"'{entry.tag}'")
