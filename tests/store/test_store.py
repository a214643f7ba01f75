from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import (
    BuildError,
    BundleNotFoundError,
    ConflictError,
    DigestMismatchError,
    ModelNotFoundError,
    NotFoundError,
    StoreError,
)
from modelpack.manifest import FileRecord, ModelRecord
from modelpack.store import CODE_TYPE, SIDE_TYPE, WEIGHT_TYPE, Kind, Store
from modelpack.tag import Tag

Tree = Callable[[Path], dict[str, bytes]]
BlobPath = Callable[[Store, str], Path]


def tags(store: Store, kind: Kind | None = None) -> list[str]:
    return [str(entry.tag) for entry in store.list(kind)]


# What is stored


def test_a_model_has_a_layer_for_each_weight_file_and_one_for_the_rest(workshop: Any) -> None:
    folder, files = workshop.lay_out(
        {"b.bin": b"1", "a.bin": b"2", "vocab.txt": b"3", "deep/c.safetensors": b"4"}
    )
    record = ModelRecord(name="clf", framework="onnx", files=files)
    entry = workshop.store.add_model(record, folder).entry
    assert [(layer.media_type, layer.path) for layer in entry.layers] == [
        (WEIGHT_TYPE, "bundle/models/clf/a.bin"),
        (WEIGHT_TYPE, "bundle/models/clf/b.bin"),
        (WEIGHT_TYPE, "bundle/models/clf/deep/c.safetensors"),
        (SIDE_TYPE, "bundle/models/clf"),
    ]


def test_unpacking_gives_the_files_where_an_image_has_them(
    workshop: Any, store: Store, tree: Tree, tmp_path: Path
) -> None:
    entry = workshop.bundle(models=(workshop.model(),), extra={"pkg/ü\n.txt": b"", "-x": b"1"})
    folder = store.unpack(entry, tmp_path / "out")
    found = tree(folder)
    assert folder == tmp_path / "out" / "bundle"
    assert {path for path in found if not path.endswith(".json")} == {
        "requirements.lock",
        "code/service.py",
        "code/pkg/ü\n.txt",
        "code/-x",
        "doc/README.md",
        "models/clf/model.onnx",
    }
    assert found["models/clf/model.onnx"] == b"weights"
    assert {"bundle.json", "models/clf/model.json", "models/clf/labels.json"} <= found.keys()


def test_a_bundle_shares_the_blobs_of_its_models(workshop: Any, store: Store) -> None:
    model = workshop.model()
    bundle = workshop.bundle(models=(model,))
    assert set(model.layers) < set(bundle.layers)


def test_the_records_come_back_as_they_went_in(workshop: Any, store: Store) -> None:
    model = workshop.model()
    bundle = workshop.bundle(models=(model,))
    manifest = store.bundle_manifest(bundle)
    assert manifest.models[0]["digest"] == model.digest
    assert store.lock_text(bundle).startswith("# a lock\nnumpy==2.0.0")
    assert [file.path for file in store.model_record(model).files] == ["labels.json", "model.onnx"]
    with pytest.raises(StoreError, match="is a model"):
        store.bundle_manifest(model)
    with pytest.raises(StoreError, match="is a bundle"):
        store.model_record(bundle)


def test_the_same_content_has_the_same_digest_anywhere(workshop: Any, tmp_path: Path) -> None:
    """Neither the folder, nor the time, nor the umask, nor the user's files' dates count."""
    digests = set()
    for number, umask in enumerate((0o022, 0o077)):
        shop = type(workshop)(tmp_path / f"sources-{number}", Store(tmp_path / f"store-{number}"))
        before = os.umask(umask)
        try:
            model = shop.model()
            digests.add((model.digest, shop.bundle(models=(model,)).digest))
        finally:
            os.umask(before)
    assert len(digests) == 1


def test_the_version_comes_from_the_content_and_stands_in_no_layer(workshop: Any) -> None:
    own, given = workshop.bundle(), workshop.bundle(version="1.0")
    assert own.tag.version == own.content.removeprefix("sha256:")[:12]
    assert own.content == given.content
    assert own.layers == given.layers
    assert own.digest != given.digest


@pytest.mark.parametrize(
    "change", [{"code": b"other"}, {"extra": {"a": b""}}, {"readme": b"other"}, {"readme": None}]
)
def test_any_change_of_the_content_changes_the_version(
    workshop: Any, change: dict[str, Any]
) -> None:
    assert workshop.bundle(**change).tag != workshop.bundle().tag


def test_a_file_that_is_gone_or_changed_stops_the_build_and_leaves_nothing(
    workshop: Any, store: Store
) -> None:
    folder, files = workshop.lay_out({"model.onnx": b"weights"})
    (folder / "model.onnx").write_bytes(b"changed")
    with pytest.raises(BuildError, match="changed while it was packed"):
        store.add_model(ModelRecord(name="clf", framework="onnx", files=files), folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(BuildError, match="cannot read"):
        store.add_model(ModelRecord(name="clf", framework="onnx", files=files), folder)
    assert store.list() == []
    assert list((store.root / "blobs" / "sha256").iterdir()) == []
    assert list((store.root / ".staging").iterdir()) == []


def test_the_name_of_the_record_is_taken(workshop: Any, store: Store) -> None:
    folder, files = workshop.lay_out({"model.json": b"{}"})
    with pytest.raises(BuildError, match="a name that is taken"):
        store.add_model(ModelRecord(name="clf", framework="xgboost", files=files), folder)


def test_a_big_side_file_is_a_layer_of_its_own(workshop: Any, store: Store) -> None:
    folder, files = workshop.lay_out({"trees.json": b" " * (1024 * 1024 + 1)})
    entry = store.add_model(ModelRecord(name="clf", framework="xgboost", files=files), folder).entry
    assert entry.layers[0].path == "bundle/models/clf/trees.json"


# Adding again


def test_adding_the_same_again_changes_nothing_but_makes_it_the_newest(
    workshop: Any, store: Store
) -> None:
    first = workshop.add(code=b"1")
    second = workshop.add(code=b"2")
    again = workshop.add(code=b"1")
    assert (first.is_unchanged, second.is_unchanged, again.is_unchanged) == (False, False, True)
    assert again.entry == first.entry
    assert store.find(Tag("digits"), Kind.BUNDLE) == first.entry
    assert tags(store) == [str(second.entry.tag), str(first.entry.tag)]


def test_other_content_under_the_same_version_is_a_conflict(workshop: Any, store: Store) -> None:
    first = workshop.bundle(version="1.0", code=b"1")
    with pytest.raises(ConflictError, match=r"'digits:1\.0' already exists"):
        workshop.bundle(version="1.0", code=b"2")
    assert store.list() == [first]


def test_models_and_bundles_of_one_name_do_not_meet(workshop: Any, store: Store) -> None:
    model, bundle = workshop.model("digits", "1"), workshop.bundle("digits", version="1")
    assert store.find(Tag("digits"), Kind.MODEL) == model
    assert store.find(Tag("digits"), Kind.BUNDLE) == bundle
    assert store.list(Kind.MODEL) == [model]
    assert store.list(name="digits") == [model, bundle]
    assert store.list(name="digit") == []


def test_the_time_is_kept_beside_the_entry_and_in_no_blob(
    workshop: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, files = workshop.lay_out({"w.bin": b"1"})
    record = ModelRecord(name="clf", framework="onnx", files=files)
    made = store.add_model(record, folder, created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert made.entry.created == "2026-01-02T03:04:05Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert workshop.bundle().created == "1970-01-02T00:00:00Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(StoreError, match="SOURCE_DATE_EPOCH"):
        workshop.bundle(code=b"new")
    for blob in (store.root / "blobs" / "sha256").iterdir():
        assert b"2026-01-02" not in blob.read_bytes()


# Finding


def test_a_tag_that_is_not_there_suggests_one_that_is(workshop: Any, store: Store) -> None:
    workshop.bundle("digits", version="1.0")
    workshop.model("clf", "7")
    cases = [
        ("digts", Kind.BUNDLE, BundleNotFoundError, "did you mean 'digits'?"),
        ("digits:1.1", Kind.BUNDLE, BundleNotFoundError, "did you mean 'digits:1.0'?"),
        ("digits", Kind.MODEL, ModelNotFoundError, "'digits' is a bundle: see 'modelpack list'"),
        ("clf", Kind.BUNDLE, BundleNotFoundError, "'clf' is a model: see 'modelpack models list'"),
        ("zzz", Kind.MODEL, ModelNotFoundError, "run 'modelpack models list' to see what is there"),
    ]
    for text, kind, error, hint in cases:
        with pytest.raises(error) as caught:
            store.find(Tag.parse(text), kind)
        assert caught.value.hint == hint


def test_a_store_that_was_never_written_is_empty_and_stays_away(tmp_path: Path) -> None:
    store = Store(tmp_path / "none")
    assert store.list() == []
    with pytest.raises(BundleNotFoundError):
        store.find(Tag("digits"), Kind.BUNDLE)
    assert not store.root.exists()


def test_the_store_is_in_the_home_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path))
    assert Store().root == tmp_path / "store"


# Extra tags


def test_an_extra_tag_is_found_but_never_latest(workshop: Any, store: Store) -> None:
    old, new = workshop.bundle(code=b"1"), workshop.bundle(code=b"2")
    alias = store.tag(old, "prod")
    assert (alias.digest, alias.is_alias) == (old.digest, True)
    assert store.find(Tag("digits", "prod"), Kind.BUNDLE) == alias
    assert store.find(Tag("digits"), Kind.BUNDLE) == new


def test_an_extra_tag_moves_but_a_built_version_does_not(workshop: Any, store: Store) -> None:
    old, new = workshop.bundle(version="1"), workshop.bundle(version="2", code=b"2")
    store.tag(old, "prod")
    store.tag(new, "prod")
    assert store.find(Tag("digits", "prod"), Kind.BUNDLE).digest == new.digest
    assert store.tag(new, "2") == new
    with pytest.raises(ConflictError, match="another one was built under that version"):
        store.tag(old, "2")
    with pytest.raises(ConflictError, match="it is an extra tag of another one"):
        workshop.bundle(version="prod", code=b"3")


def test_only_what_is_there_can_be_tagged(workshop: Any, store: Store) -> None:
    entry = workshop.bundle()
    store.delete(entry)
    with pytest.raises(BundleNotFoundError):
        store.tag(entry, "prod")


# Deleting


def test_deleting_and_gc_free_the_blobs_that_nothing_else_uses(workshop: Any, store: Store) -> None:
    model = workshop.model(weights=b"w" * 500_000)
    bundle = workshop.bundle(models=(model,))
    assert store.delete(model) < 500_000
    assert (
        store.unpack(bundle, store.root.parent / "out") / "models/clf/model.onnx"
    ).stat().st_size == 500_000
    assert store.delete(bundle) > 500_000
    assert store.gc().size_bytes > 500_000
    assert list((store.root / "blobs" / "sha256").iterdir()) == []
    with pytest.raises(NotFoundError):
        store.delete(bundle)


def test_an_extra_tag_keeps_what_it_points_at(workshop: Any, store: Store) -> None:
    entry = workshop.bundle()
    alias = store.tag(entry, "prod")
    assert store.delete(entry) == 0
    assert store.lock_text(store.find(Tag("digits", "prod"), Kind.BUNDLE))
    with pytest.raises(BundleNotFoundError):
        store.find(Tag("digits"), Kind.BUNDLE)
    assert store.delete(alias) > 0


def test_who_reads_goes_on_to_the_end_while_it_is_deleted(workshop: Any, store: Store) -> None:
    entry = workshop.model(weights=b"w" * 3_000_000)
    with store.open_blob(entry.layers[0].digest) as blob:
        blob.read(10)
        store.delete(entry)
        store.gc()
        assert len(blob.read()) > 2_999_000
    with pytest.raises(NotFoundError):
        store.open_blob(entry.layers[0].digest)


# Damage


def damage(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_rotten_layer_is_refused_wherever_it_is_used(
    workshop: Any, store: Store, blob_path: BlobPath, tmp_path: Path
) -> None:
    entry = workshop.bundle()
    layer = next(layer for layer in entry.layers if layer.media_type == CODE_TYPE)
    damage(blob_path(store, layer.digest))
    for use in (
        lambda: store.unpack(entry, tmp_path / "out"),
        lambda: store.export(entry, tmp_path / "x.modelpack"),
        lambda: store.bundle_manifest(entry),
        lambda: store.lock_text(entry),
    ):
        with pytest.raises(DigestMismatchError):
            use()
    assert not (tmp_path / "out" / "bundle").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("home", "sources")] == [
        "out"
    ]
    assert list((tmp_path / "out").iterdir()) == []


def test_building_again_heals_a_rotten_blob(
    workshop: Any, store: Store, blob_path: BlobPath
) -> None:
    entry = workshop.bundle()
    damage(blob_path(store, entry.layers[-1].digest))
    assert workshop.add().is_unchanged
    assert store.bundle_manifest(entry).service == "service:Digits"


def test_a_damaged_manifest_is_listed_refused_and_can_be_deleted(
    workshop: Any, store: Store, blob_path: BlobPath
) -> None:
    bad, good = workshop.bundle("bad"), workshop.bundle("good")
    damage(blob_path(store, bad.digest))
    listed = {entry.tag.name: entry.damage for entry in store.list()}
    assert listed["good"] is None
    assert listed["bad"] is not None
    assert "digest mismatch" in listed["bad"]
    with pytest.raises(DigestMismatchError, match="'bad:"):
        store.find(bad.tag, Kind.BUNDLE)
    store.delete(store.find(bad.tag, Kind.BUNDLE, allow_damaged=True))
    assert store.list() == [good]


def test_an_entry_cannot_pass_for_one_of_another_kind(workshop: Any, store: Store) -> None:
    model = workshop.model("clf", "1")
    index = store.root / "index.json"
    index.write_bytes(index.read_bytes().replace(b"models/clf:1", b"clf:1"))
    (entry,) = store.list()
    assert entry.damage is not None
    assert "is that of a model" in entry.damage
    assert entry.digest == model.digest


# Unpacking


def test_unpacking_over_something_is_refused_unless_it_may_be_there(
    workshop: Any, store: Store, tmp_path: Path
) -> None:
    entry = workshop.bundle()
    folder = store.unpack(entry, tmp_path / "out")
    with pytest.raises(ConflictError, match="is there already"):
        store.unpack(entry, tmp_path / "out")
    assert store.unpack(entry, tmp_path / "out", exist_ok=True) == folder
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["bundle"]


def test_a_disk_that_is_full_is_said_and_leaves_no_entry(
    workshop: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = workshop.bundle("kept")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="no space left"):
            workshop.bundle("new")
    assert store.list() == [kept]
    assert list((store.root / ".staging").iterdir()) == []


def test_a_file_record_cannot_climb_out_of_its_place(workshop: Any, store: Store) -> None:
    folder, _ = workshop.lay_out({"a": b""})
    climbing = FileRecord(path="../a", mode=0o644, size=0, sha256="0" * 64)
    with pytest.raises(Exception, match="has the part") as caught:
        store.add_model(ModelRecord(name="clf", framework="onnx", files=(climbing,)), folder)
    assert type(caught.value).__name__ == "RefusedError"
