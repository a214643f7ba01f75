"""Reads every byte of an entry again and says which file is not what it was.

    manifest, config ──► layers, member by member ──► compared with bundle.json, model.json
                                                  └─► referrers

The digest of a blob says that something in it is wrong; the records say which file.  A layer that
holds more, less or other files than the records name is refused as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from modelpack.errors import (
    DigestMismatchError,
    ModelpackError,
    NotFoundError,
    RefusedError,
    StoreError,
)
from modelpack.manifest import (
    BUNDLE_FILE,
    LOCK_FILE,
    MODEL_FILE,
    BundleManifest,
    FileRecord,
    ModelRecord,
    canonical_json,
)
from modelpack.progress import Progress
from modelpack.store import documents, pack, referrers
from modelpack.store.base import TOP, Entry, Kind, Layer
from modelpack.store.contents import MAX_RECORD_BYTES
from modelpack.store.durable import Blob
from modelpack.store.hashing import StreamHash
from modelpack.store.layout import Layout
from modelpack.store.names import PathGuard, shown
from modelpack.store.tar import CHUNK, EXECUTABLE_MODE, FILE_MODE
from modelpack.store.untar import read_tar

_BUNDLE = f"{TOP}/{BUNDLE_FILE}"
_LOCK = f"{TOP}/{LOCK_FILE}"
_README = f"{TOP}/doc/README.md"
MAX_KEPT_BYTES = 2 * MAX_RECORD_BYTES
"""What records and documents may take up in memory, all together."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was read."""

    files: int
    """Files in the layers, records included."""
    size: int
    """Bytes of all blobs, referrers included."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file as it lies in a layer."""

    sha256: str
    mode: int
    size: int


@dataclass(slots=True)
class _Walked:
    """What the layers hold, read to the end or to where they break."""

    files: dict[str, _Seen] = field(default_factory=dict)
    records: dict[str, bytes] = field(default_factory=dict)
    """The bytes of every ``bundle.json`` and ``model.json``."""
    docs: dict[str, bytes] = field(default_factory=dict)
    layer_of: dict[str, Layer] = field(default_factory=dict)
    broken: dict[str, Layer] = field(default_factory=dict)
    """Layers that are not what their digest names, by digest."""
    kept_bytes: int = 0


@dataclass(slots=True)
class _Expected:
    """What the records say of the files."""

    files: dict[str, FileRecord] = field(default_factory=dict)
    untold: set[str] = field(default_factory=set)
    """Paths that must or may be there though no record has their digest."""
    wrong: list[str] = field(default_factory=list)
    """Records that cannot be read, or that are not those of the content digest."""


def verify_entry(layout: Layout, entry: Entry, progress: Progress) -> Verified:
    """Check everything; raises DigestMismatchError that names blob and file."""
    what = f"'{entry.tag}'"
    if entry.damage is not None:
        raise _mismatch(what, f"its manifest is damaged: {entry.damage}")
    with progress.step(f"check {entry.tag}"):
        size = _check_documents(layout, entry, what)
        walked = _Walked()
        for layer in entry.layers:
            _walk(layout, layer, walked, what)
            size += layer.size
        expected = _expected(entry, walked)
        if walked.broken:
            layer = next(iter(walked.broken.values()))
            name = _rotten_file(layer, walked, expected)
            raise _mismatch(what, f"'{shown(name)}' has other bytes", layer.digest)
        _compare(walked, expected, what)
        for referrer in referrers.find(layout, entry.digest):
            _read_whole(layout, referrer.config, "config of a referrer", what)
            _read_whole(layout, referrer.blob, f"referrer '{referrer.artifact_type}'", what)
            size += sum(blob.size for blob in referrer.blobs)
    return Verified(len(walked.files), size)


def _check_documents(layout: Layout, entry: Entry, what: str) -> int:
    """Read manifest and config again and return their size."""
    data = layout.read_document(entry.digest)
    manifest = documents.read_manifest(data, f"the manifest of {what}")
    try:
        config = layout.read_document(manifest.config.digest)
    except (DigestMismatchError, NotFoundError) as cause:
        raise _mismatch(what, f"its config: {cause}", manifest.config.digest) from cause
    tag, digests = documents.read_config(config, f"the config of {what}")
    if digests != [layer.digest for layer in manifest.layers]:
        raise _mismatch(what, "its config and its manifest name different layers")
    if tag.name != entry.tag.name or (tag != entry.tag and not entry.is_alias):
        raise _mismatch(what, f"its config says that it is '{tag}'")
    return len(data) + len(config)


def _walk(layout: Layout, layer: Layer, walked: _Walked, what: str) -> None:
    """Take note of every file of a layer; a layer that is damaged is noted as broken."""
    guard = PathGuard(what, top=TOP)
    try:
        size = layout.blob_size(layer.digest)
        with layout.open_blob(layer.digest) as blob:
            for found, content in read_tar(blob, f"'{layer.path}' in {what}"):
                guard.add(found.path, is_folder=found.is_folder)
                if found.is_folder:
                    continue
                if found.path in walked.files:
                    raise _mismatch(what, f"'{shown(found.path)}' is there twice", layer.digest)
                digest = StreamHash()
                kept = bytearray() if _is_kept(found.path, found.size) else None
                walked.kept_bytes += found.size if kept is not None else 0
                if walked.kept_bytes > MAX_KEPT_BYTES:
                    raise RefusedError(f"{what} has records of more than {MAX_KEPT_BYTES} bytes")
                for chunk in content.chunks():
                    digest.update(chunk)
                    if kept is not None:
                        kept += chunk
                walked.files[found.path] = _Seen(digest.hexdigest(), found.mode, found.size)
                walked.layer_of[found.path] = layer
                if kept is not None:
                    is_doc = found.path.startswith(f"{TOP}/doc/")
                    (walked.docs if is_doc else walked.records)[found.path] = bytes(kept)
    except NotFoundError as cause:
        raise _mismatch(
            what, f"the blob of '{shown(layer.path)}' is missing", layer.digest
        ) from cause
    except ModelpackError:
        if _is_whole(layout, layer):
            raise  # the very bytes that the digest names, which nobody may have packed
        walked.broken[layer.digest] = layer
    else:
        if size != layer.size:
            raise _mismatch(what, f"'{shown(layer.path)}' has another size", layer.digest)


def _is_kept(path: str, size: int) -> bool:
    name = path.rpartition("/")[2]
    is_record = path == _BUNDLE or (path.startswith(f"{TOP}/models/") and name == MODEL_FILE)
    return size <= MAX_RECORD_BYTES and (is_record or path.startswith(f"{TOP}/doc/"))


def _is_whole(layout: Layout, layer: Layer) -> bool:
    try:
        with layout.open_blob(layer.digest) as blob:
            while blob.read(CHUNK):
                pass
    except DigestMismatchError:
        return False
    return True


def _expected(entry: Entry, walked: _Walked) -> _Expected:
    """Read the records, as far as they can be read."""
    expected = _Expected()
    names = {path.split("/")[2] for path in walked.records if path != _BUNDLE}
    if entry.kind is Kind.BUNDLE:
        names = _expect_bundle(entry, walked, expected)
    for name in sorted(names if entry.kind is Kind.BUNDLE else {entry.tag.name}):
        _expect_model(entry, name, walked, expected)
    return expected


def _expect_bundle(entry: Entry, walked: _Walked, expected: _Expected) -> set[str]:
    """Expect the files of ``bundle.json`` and return the names of its models."""
    expected.untold.add(_BUNDLE)
    data = walked.records.get(_BUNDLE, b"")
    try:
        value = documents.read_json(data, _BUNDLE)
        manifest = BundleManifest.from_json(value)
        names = {str(model["name"]) for model in manifest.models}
    except (ModelpackError, KeyError, TypeError) as error:
        expected.wrong.append(_BUNDLE)
        if not walked.broken:
            raise _unreadable(entry, _BUNDLE) from error
        return {path.split("/")[2] for path in walked.records if path != _BUNDLE}
    docs = {path.rpartition("/")[2]: data for path, data in walked.docs.items()}
    is_dated = "docs" not in value  # written before the record covered the documents
    if is_dated:
        expected.untold |= {_README} & set(walked.files)
    elif (canonical_json(manifest.to_json()), pack.bundle_content(manifest, docs)) != (
        data,
        entry.content or pack.bundle_content(manifest, docs),
    ):
        expected.wrong.append(_BUNDLE)
    expected.files |= {f"{TOP}/code/{file.path}": file for file in manifest.files}
    expected.files |= {f"{TOP}/doc/{file.path}": file for file in manifest.docs}
    expected.files |= {f"{TOP}/wheels/{file.path}": file for file in manifest.wheels}
    lock = walked.files.get(_LOCK)
    size = lock.size if lock else 0
    expected.files[_LOCK] = FileRecord(
        path=LOCK_FILE, mode=FILE_MODE, size=size, sha256=manifest.lock_sha256
    )
    return names


def _expect_model(entry: Entry, name: str, walked: _Walked, expected: _Expected) -> None:
    place = f"{TOP}/models/{name}"
    path = f"{place}/{MODEL_FILE}"
    expected.untold.add(path)
    data = walked.records.get(path, b"")
    try:
        record = ModelRecord.from_json(documents.read_json(data, path))
    except ModelpackError as error:
        expected.wrong.append(path)
        if not walked.broken:
            raise _unreadable(entry, path) from error
        return
    is_other = entry.kind is Kind.MODEL and pack.model_content(record) != entry.content
    if is_other or canonical_json(record.to_json()) != data or record.name != name:
        expected.wrong.append(path)
    expected.files |= {f"{place}/{file.path}": file for file in record.files}


def _rotten_file(layer: Layer, walked: _Walked, expected: _Expected) -> str:
    """Return the file of a broken layer that is not what its record says, or the nearest guess."""
    inside = [path for path, home in walked.layer_of.items() if home is layer]
    for path in inside:
        if path in expected.files and not _fits(walked.files[path], expected.files[path]):
            return path
    for path in inside:
        if path in expected.wrong:
            return path
    return layer.path


def _compare(walked: _Walked, expected: _Expected, what: str) -> None:
    """Hold the files against the records; raises DigestMismatchError for the first that differs."""
    for path in expected.wrong:
        raise _mismatch(what, f"'{path}' is not the record of its content digest")
    for path, seen in walked.files.items():
        record = expected.files.get(path)
        if record is None and path not in expected.untold:
            raise _mismatch(what, f"'{shown(path)}' is in no record", walked.layer_of[path].digest)
        if record is not None and not _fits(seen, record):
            raise _mismatch(
                what, f"'{shown(path)}' is not what its record says", walked.layer_of[path].digest
            )
    for path in sorted((expected.files.keys() | expected.untold) - walked.files.keys()):
        raise _mismatch(what, f"'{shown(path)}' is missing")


def _fits(seen: _Seen, record: FileRecord) -> bool:
    mode = EXECUTABLE_MODE if record.mode & 0o100 else FILE_MODE
    return (seen.sha256, seen.size, seen.mode) == (record.sha256, record.size, mode)


def _read_whole(layout: Layout, blob: Blob, part: str, what: str) -> None:
    count = 0
    try:
        with layout.open_blob(blob.digest) as stream:
            while data := stream.read(CHUNK):
                count += len(data)
    except (DigestMismatchError, NotFoundError) as cause:
        raise _mismatch(what, f"the {part} is damaged", blob.digest) from cause
    if count != blob.size:
        raise _mismatch(what, f"the {part} has another size", blob.digest)


def _unreadable(entry: Entry, path: str) -> StoreError:
    return StoreError(
        f"'{entry.tag}' has no '{path}' that can be read",
        hint="it was not made by this modelpack, or by a newer one",
    )


def _mismatch(what: str, how: str, digest: str | None = None) -> DigestMismatchError:
    blob = f" (blob '{digest}')" if digest else ""
    return DigestMismatchError(
        f"digest mismatch in {what}: {how}{blob}",
        hint="the store is damaged: delete it and build, import or pull it again",
    )
