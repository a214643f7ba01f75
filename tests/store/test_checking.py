"""``Store.verify``: every byte, and every file against its record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import DigestMismatchError, ModelpackError, RefusedError
from modelpack.store import CODE_TYPE, Entry, Kind, Layer, Store, checking, entries
from modelpack.store.durable import Staging
from modelpack.store.layout import Layout
from modelpack.store.tar import Member, write_tar
from modelpack.tag import Tag

BlobPath = Callable[[Store, str], Path]


def test_a_whole_entry_is_counted(workshop: Any, store: Store) -> None:
    model = workshop.model()
    found = store.verify(workshop.bundle(models=(model,)))
    assert found.files == 7  # two records, lock, service, README, weights, labels
    assert found.size > 0


def test_what_was_read_is_the_size_of_the_entry_and_its_statements(
    workshop: Any, store: Store
) -> None:
    entry = workshop.bundle()
    assert store.verify(entry).size == entry.size_bytes
    said = store.attach(entry, artifact_type="application/x", media_type="text/plain", data=b"said")
    more = sum(blob.size for blob in said.blobs)
    assert store.verify(entry).size == entry.size_bytes + more


def test_an_extra_tag_is_checked_as_its_entry(workshop: Any, store: Store) -> None:
    alias = store.tag(workshop.bundle(), "production")
    assert store.verify(alias) == store.verify(store.list()[0])


def test_a_damaged_manifest_is_said(workshop: Any, store: Store, blob_path: BlobPath) -> None:
    entry = workshop.bundle()
    blob_path(store, entry.digest).chmod(0o644)
    blob_path(store, entry.digest).write_bytes(b"{}")
    damaged = store.find(entry.tag, Kind.BUNDLE, allow_damaged=True)
    with pytest.raises(DigestMismatchError, match="its manifest is damaged"):
        store.verify(damaged)


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_a_blob_that_is_missing_is_named(
    layer: int, workshop: Any, store: Store, blob_path: BlobPath
) -> None:
    entry = workshop.bundle(models=(workshop.model(),))
    blob_path(store, entry.layers[layer].digest).unlink()
    path = entry.layers[layer].path
    with pytest.raises(DigestMismatchError, match=f"the blob of '{path}' is missing"):
        store.verify(entry)


def tar(staging: Staging, files: Sequence[Member]) -> Layer:
    blob = staging.write(lambda sink: write_tar(sink, files))
    return Layer(CODE_TYPE, blob.digest, blob.size, "bundle/code")


def with_code(store: Store, entry: Entry, change: Callable[[dict[str, Member]], None]) -> Entry:
    """Store an entry as before, but with other files in its code layer, all digests right."""
    found = store.unpack(entry, store.root.parent / "changed")
    code = {
        f"bundle/{path.relative_to(found).as_posix()}": Member.of_bytes(
            f"bundle/{path.relative_to(found).as_posix()}", path.read_bytes()
        )
        for path in [*found.glob("*.*"), *found.glob("code/*")]
    }
    change(code)
    layout = Layout(store.root)
    with layout.stage() as staging:
        others = [layer for layer in entry.layers if layer.media_type != CODE_TYPE]
        for layer in others:
            with store.open_blob(layer.digest) as blob:
                staging.write_bytes(blob.read())
        layers = [*others, tar(staging, list(code.values()))]
        facts = entries.Facts(Kind.BUNDLE, Tag("changed", "1"), entry.content or "", ())
        return entries.commit(layout, staging, facts, layers, "2026-01-01T00:00:00Z").entry


def extra(code: dict[str, Member]) -> None:
    code["x"] = Member.of_bytes("bundle/code/extra.py", b"import os")


def extra_at_the_top(code: dict[str, Member]) -> None:
    code["x"] = Member.of_bytes("bundle/extra", b"x")


def extra_model(code: dict[str, Member]) -> None:
    code["x"] = Member.of_bytes("bundle/models/other/model.json", b"{}")


def changed(code: dict[str, Member]) -> None:
    code["bundle/code/service.py"] = Member.of_bytes("bundle/code/service.py", b"other")


def executable(code: dict[str, Member]) -> None:
    file = code["bundle/code/service.py"]
    code["bundle/code/service.py"] = replace(file, mode=0o755)


def renamed(code: dict[str, Member]) -> None:
    file = code.pop("bundle/code/service.py")
    code["x"] = replace(file, path="bundle/code/renamed.py")


def removed(code: dict[str, Member]) -> None:
    del code["bundle/code/service.py"]


def other_lock(code: dict[str, Member]) -> None:
    code["bundle/requirements.lock"] = Member.of_bytes("bundle/requirements.lock", b"evil==1\n")


def other_record(code: dict[str, Member]) -> None:
    record = b'{"schema":1}'
    code["bundle/bundle.json"] = Member.of_bytes("bundle/bundle.json", record)


def no_record(code: dict[str, Member]) -> None:
    del code["bundle/bundle.json"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (extra, "'bundle/code/extra.py' is in no record"),
        (extra_at_the_top, "'bundle/extra' is in no record"),
        (extra_model, "'bundle/models/other/model.json' is in no record"),
        (changed, "'bundle/code/service.py' is not what its record says"),
        (executable, "'bundle/code/service.py' is not what its record says"),
        (renamed, "'bundle/code/renamed.py' is in no record"),
        (removed, "'bundle/code/service.py' is missing"),
        (other_lock, "'bundle/requirements.lock' is not what its record says"),
        (other_record, "has no 'bundle/bundle.json' that can be read"),
        (no_record, "has no 'bundle/bundle.json' that can be read"),
    ],
)
def test_files_that_are_not_those_of_the_records_are_refused(
    change: Callable[[dict[str, Member]], None], words: str, workshop: Any, store: Store
) -> None:
    entry = with_code(store, workshop.bundle(), change)
    with pytest.raises(ModelpackError, match=words):
        store.verify(entry)


def test_a_record_that_is_not_that_of_the_content_is_refused(workshop: Any, store: Store) -> None:
    """All files fit, but the digest that gave the version its name is another."""

    def service(code: dict[str, Member]) -> None:
        data = code["bundle/bundle.json"].open().read().replace(b"service:Digits", b"service:Other")
        code["bundle/bundle.json"] = Member.of_bytes("bundle/bundle.json", data)

    entry = with_code(store, workshop.bundle(), service)
    with pytest.raises(DigestMismatchError, match="is not the record of its content digest"):
        store.verify(entry)


def test_a_config_that_names_another_tag_is_refused(
    workshop: Any, store: Store, blob_path: BlobPath
) -> None:
    entry = workshop.bundle()
    index = (store.root / "index.json").read_bytes()
    renamed = index.replace(str(entry.tag).encode(), b"stolen:1")
    (store.root / "index.json").write_bytes(renamed)
    with pytest.raises(DigestMismatchError, match=f"its config says that it is '{entry.tag}'"):
        store.verify(store.find(Tag("stolen", "1"), Kind.BUNDLE))


def test_records_that_would_fill_the_memory_are_refused(
    workshop: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "MAX_KEPT_BYTES", 10_000)
    entry = workshop.bundle(readme=b"r" * 9_900)
    with pytest.raises(RefusedError, match="has records of more than 10000 bytes"):
        store.verify(entry)
