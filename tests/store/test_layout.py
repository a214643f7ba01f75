from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import DigestMismatchError, NotFoundError, StoreError
from modelpack.manifest import sha256_digest
from modelpack.store import Kind, Store
from modelpack.store.layout import Layout


def test_nothing_is_made_before_the_first_write(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "store")
    assert layout.descriptors() == []
    with pytest.raises(NotFoundError):
        layout.read_document(sha256_digest(b""))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_are_private_under_any_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        layout = Layout(tmp_path / "home" / "store")
        with layout.stage() as staging:
            blob = staging.write_bytes(b"x")
            with layout.change(staging) as change:
                change.descriptors.append({"digest": blob.digest, "mediaType": "text/plain"})
    finally:
        os.umask(before)
    for path in (tmp_path / "home").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        allowed = 0o700 if path.is_dir() else 0o444 if "blobs" in path.parts else 0o600
        assert mode == allowed, path


def test_a_blob_whose_bytes_changed_is_noticed_at_its_end(
    workshop: Any, store: Store, blob_path: Callable[[Store, str], Path]
) -> None:
    layer = workshop.model(weights=b"w" * 100_000).layers[0]
    path = blob_path(store, layer.digest)
    data = bytearray(path.read_bytes())
    data[50_000] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with store.open_blob(layer.digest) as blob:
        assert blob.read(10) == bytes(data[:10])
        with pytest.raises(DigestMismatchError, match=layer.digest):
            blob.read()


def test_a_blob_that_is_a_link_is_not_followed(
    workshop: Any, store: Store, blob_path: Callable[[Store, str], Path], tmp_path: Path
) -> None:
    layer = workshop.model().layers[0]
    path = blob_path(store, layer.digest)
    (tmp_path / "elsewhere").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        store.open_blob(layer.digest)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"manifests": 5}', '{"manifests": [5]}', "{"])
def test_a_damaged_index_is_said_and_never_overwritten(
    workshop: Any, store: Store, text: str
) -> None:
    workshop.model()
    (store.root / "index.json").write_text(text)
    with pytest.raises(StoreError, match="index"):
        store.list()
    with pytest.raises(StoreError, match="index"):
        workshop.model("other")
    assert (store.root / "index.json").read_text() == text


def test_what_other_tools_keep_in_the_store_stays(
    workshop: Any, store: Store, blob_path: Callable[[Store, str], Path]
) -> None:
    """Entries without a tag of ours are not listed, and their blobs are never removed."""
    entry = workshop.bundle(readme=b"shared")
    layer = json.dumps({"a layer": "of another tool"}).encode()
    image = json.dumps(
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"digest": sha256_digest(layer)},
            "layers": [{"digest": entry.layers[0].digest}],
        }
    ).encode()
    for data in (layer, image):
        blob_path(store, sha256_digest(data)).write_bytes(data)
    index = json.loads((store.root / "index.json").read_bytes())
    foreign = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": sha256_digest(image),
        "size": len(image),
    }
    index["manifests"].insert(0, foreign)
    (store.root / "index.json").write_text(json.dumps(index))

    assert [e.tag for e in store.list()] == [entry.tag]
    store.delete(entry)
    store.gc()
    left = {path.name for path in (store.root / "blobs" / "sha256").iterdir()}
    kept = (sha256_digest(layer), sha256_digest(image), entry.layers[0].digest)
    assert left == {digest.removeprefix("sha256:") for digest in kept}
    assert json.loads((store.root / "index.json").read_bytes())["manifests"] == [foreign]


def test_blobs_that_a_dead_writer_published_without_its_index_are_removed(
    workshop: Any, store: Store
) -> None:
    entry = workshop.bundle()
    orphan = store.root / "blobs" / "sha256" / ("0" * 64)
    orphan.write_bytes(b"published, then killed")
    (store.root / ".staging" / "left").mkdir()
    workshop.model()
    assert not orphan.exists()
    assert list((store.root / ".staging").iterdir()) == []
    assert store.lock_text(entry)


def test_nothing_is_cleared_up_while_an_entry_cannot_be_read(
    workshop: Any, store: Store, blob_path: Callable[[Store, str], Path]
) -> None:
    """What a damaged manifest still refers to is unknown, so no blob is taken for unused."""
    damaged, other = workshop.bundle("one"), workshop.bundle("two")
    path = blob_path(store, damaged.digest)
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole.replace(b"schemaVersion", b"schemaversion"))
    (store.root / ".staging" / "left").mkdir()
    store.delete(other)
    assert "'one:" in str(store.plan_gc().blocked)
    with pytest.raises(StoreError, match="nothing was removed: the manifest of 'one:"):
        store.gc()
    path.write_bytes(whole)
    assert store.bundle_manifest(damaged).service == "service:Digits"
    assert store.undelete(other.tag, Kind.BUNDLE) == other
