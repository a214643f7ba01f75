"""One entry as one file: written the same every time, believed only byte by byte.

    entry ──export──► oci-layout, index.json, blobs … as a tar (an ``oci-archive`` to other tools)
    file  ──import──► staging: every blob hashed ──► chain checked ──► visible

The index of an archive is covered by no digest, so each of its values is compared with what the
manifest and the config say.  Whatever does not fit refuses the file as a whole.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from modelpack.errors import NotFoundError, RefusedError, StoreError
from modelpack.store import documents, referrers
from modelpack.store.base import MANIFEST_TYPE, Entry
from modelpack.store.contents import check_layers
from modelpack.store.documents import Manifest
from modelpack.store.durable import Blob, Staging, open_folder, readable_errors
from modelpack.store.layout import Layout, index_bytes
from modelpack.store.names import PathGuard, shown
from modelpack.store.referrers import Referrer
from modelpack.store.tar import BLOCK, FILE_MODE, RECORD, Member, write_tar
from modelpack.store.untar import damaged, read_tar
from modelpack.tag import Tag

_BLOB_NAME = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_FOLDERS = ("blobs", "blobs/sha256")
_HINT = "nothing was stored; get it again from who made it"


@dataclass(frozen=True, slots=True)
class Checked:
    """What an archive holds, after every byte was checked."""

    tag: Tag
    blob: Blob
    manifest: Manifest
    referrers: tuple[Referrer, ...]


def export_entry(layout: Layout, entry: Entry, file: Path) -> None:
    """Write the archive of an entry and its referrers; the file appears whole or not at all.

    The tag in it is the one that the entry was built under, also when ``entry`` is an extra tag.
    Raises DigestMismatchError when a stored blob is damaged.
    """
    data = layout.read_document(entry.digest)
    manifest = documents.read_manifest(data, f"the manifest of '{entry.tag}'")
    top = Blob(entry.digest, len(data))
    config = layout.read_document(manifest.config.digest)
    tag, _ = documents.read_config(config, f"the config of '{entry.tag}'")
    said = sorted(referrers.find(layout, entry.digest), key=lambda one: one.digest)
    checked = Checked(tag, top, manifest, tuple(said))
    members = [
        Member.of_bytes("oci-layout", documents.LAYOUT),
        Member.of_bytes("index.json", expected_index(checked)),
    ]
    members += [
        Member(f"blobs/sha256/{blob.hex}", FILE_MODE, blob.size, _opener(layout, blob.digest))
        for blob in _all_blobs(checked)
    ]
    with readable_errors(file.parent, "write"), _appears_whole(file) as out:
        write_tar(out, members)


@contextmanager
def open_archive(file: Path) -> Iterator[BinaryIO]:
    """Open a file that looks like an archive; raises NotFoundError, StoreError, RefusedError."""
    try:
        stream = file.open("rb")
    except FileNotFoundError as cause:
        raise NotFoundError(f"no file '{file}'", hint="give the path of an archive") from cause
    except OSError as cause:
        raise StoreError(f"cannot read '{file}': {cause.strerror}") from cause
    with stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise StoreError(f"'{file}' is not a file", hint="save the archive to a file first")
        if stream.read(BLOCK)[257:262] != b"ustar":
            raise RefusedError(
                f"'{file.name}' is not an archive, or its start is damaged", hint=_HINT
            )
        stream.seek(0)
        yield stream


def stage_archive(staging: Staging, stream: BinaryIO, what: str) -> Checked:
    """Bring the blobs of an archive into ``staging``; raises RefusedError for the least doubt."""
    small = _stage_members(staging, stream, what)
    size = os.fstat(stream.fileno()).st_size
    for name in ("oci-layout", "index.json"):
        if name not in small:
            raise damaged(what, f"'{name}' is missing")
    if _json(small, "oci-layout", what) != json.loads(documents.LAYOUT):
        raise damaged(what, "'oci-layout' names another form")
    index = _json(small, "index.json", what)
    checked = _check_chain(index, staging, what)
    expected = expected_index(checked)
    if small["index.json"] == expected:
        if size % RECORD:
            raise damaged(what, "it is cut short")
    elif not _is_part(index, json.loads(expected)):
        raise damaged(what, "'index.json' does not fit what it lists")
    return checked


def _json(small: dict[str, bytes], name: str, what: str) -> dict[str, Any]:
    try:
        return documents.read_json(small[name], f"'{name}'")
    except StoreError as cause:
        raise damaged(what, cause.message) from cause


def expected_index(checked: Checked) -> bytes:
    """Return the index that an archive has, made from what its blobs say."""
    manifest = checked.manifest
    said = [one.descriptor for one in checked.referrers]
    return index_bytes([documents.descriptor(manifest.kind, checked.tag, checked.blob), *said])


def _all_blobs(checked: Checked) -> tuple[Blob, ...]:
    """Return what an archive holds, each blob once."""
    said = (blob for one in checked.referrers for blob in one.blobs)
    return tuple(dict.fromkeys((checked.blob, *checked.manifest.blobs, *said)))


def _stage_members(staging: Staging, stream: BinaryIO, what: str) -> dict[str, bytes]:
    """Stage every blob and return the two small files by path."""
    small: dict[str, bytes] = {}
    guard = PathGuard(what)
    for found, content in read_tar(stream, what):
        guard.add(found.path, is_folder=found.is_folder)
        if found.is_folder and found.path in _FOLDERS:
            continue
        match = _BLOB_NAME.fullmatch(found.path)
        if found.is_folder or not (match or found.path in ("oci-layout", "index.json")):
            raise RefusedError(
                f"{what} holds '{shown(found.path)}', which no archive has", hint=_HINT
            )
        if match is None:
            small[found.path] = content.read_all(documents.MAX_DOCUMENT_BYTES)
            continue
        blob = staging.write(content.copy_to)
        if blob.hex != match[1]:
            raise damaged(what, f"'{found.path}' has other bytes")
    return small


def _check_chain(index: dict[str, Any], staging: Staging, what: str) -> Checked:
    """Follow index, manifest, config and layers; raises RefusedError where they do not fit."""
    try:
        top, *others = [documents.read_blob(one, MANIFEST_TYPE) for one in index["manifests"]]
    except (KeyError, TypeError, ValueError) as cause:
        raise damaged(what, "'index.json' does not list one model or bundle") from cause
    if len({top, *others}) != 1 + len(others):
        raise damaged(what, "'index.json' lists something twice")
    try:
        manifest = documents.read_manifest(_document(staging, top, what), f"a manifest in {what}")
        config = _document(staging, manifest.config, what)
        tag, digests = documents.read_config(config, f"a config in {what}")
        said = tuple(_referrer(staging, other, top, what) for other in others)
    except StoreError as cause:
        raise RefusedError(cause.message, hint=_HINT) from cause
    if digests != [layer.digest for layer in manifest.layers]:
        raise damaged(what, "its config and its manifest name different layers")
    checked = Checked(tag, top, manifest, said)
    blobs = _all_blobs(checked)
    for blob in blobs:
        _staged(staging, blob, what)
    if extra := sorted(set(staging.blobs) - {blob.digest for blob in blobs}):
        raise damaged(what, f"nothing refers to the blob '{extra[0]}'")
    check_layers(staging.open_blob, manifest.layers, what)
    return checked


def _referrer(staging: Staging, blob: Blob, top: Blob, what: str) -> Referrer:
    referrer = referrers.read_referrer(_document(staging, blob, what), f"a referrer in {what}")
    if referrer.subject != top:
        raise damaged(what, f"the referrer '{blob.digest}' speaks about something else")
    return referrer


def _document(staging: Staging, blob: Blob, what: str) -> bytes:
    _staged(staging, blob, what)
    if blob.size > documents.MAX_DOCUMENT_BYTES:
        raise RefusedError(f"'{blob.digest}' in {what} is too long for a manifest", hint=_HINT)
    with staging.open_blob(blob.digest) as file:
        return file.read()


def _staged(staging: Staging, blob: Blob, what: str) -> None:
    if staging.blobs.get(blob.digest) != blob:
        raise damaged(what, f"'blobs/sha256/{blob.hex}' is missing or has another size")


def _is_part(found: object, whole: object) -> bool:
    """Say whether another tool's JSON says nothing that ours does not say."""
    if isinstance(found, dict) and isinstance(whole, dict):
        return all(key in whole and _is_part(found[key], whole[key]) for key in found)
    if isinstance(found, list) and isinstance(whole, list):
        return len(found) == len(whole) and all(map(_is_part, found, whole))
    return type(found) is type(whole) and found == whole


def _opener(layout: Layout, digest: str) -> Callable[[], BinaryIO]:
    return lambda: layout.open_blob(digest)


@contextmanager
def _appears_whole(file: Path) -> Iterator[BinaryIO]:
    """Write beside ``file`` and rename at the end; its mode is that of any new file."""
    name = file.parent / f".{file.name[:100]}-{secrets.token_hex(8)}"
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(handle)
        name.replace(file)
    except BaseException:
        name.unlink(missing_ok=True)
        raise
    with open_folder(file.parent) as folder:
        os.fsync(folder)
