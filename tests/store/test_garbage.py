"""Deleting, restoring for a while, and making room."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import BundleNotFoundError, ConflictError, NotFoundError
from modelpack.store import KEPT, Kind, Store
from modelpack.store.receive import FOLDER
from modelpack.tag import Tag

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clock:
    """Says the time that it is told."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Store:
    return Store(tmp_path / "home" / "store", now=clock)


def blobs(store: Store) -> set[str]:
    return {path.name for path in (store.root / "blobs" / "sha256").iterdir()}


def test_a_deleted_tag_comes_back_as_it_was(workshop: Any, store: Store) -> None:
    entries = [workshop.bundle(version=f"v{number}") for number in range(3)]
    store.delete(entries[1])
    with pytest.raises(BundleNotFoundError):
        store.find(entries[1].tag, Kind.BUNDLE)
    assert store.undelete(entries[1].tag, Kind.BUNDLE) == entries[1]
    assert store.list() == entries  # in its old place: the newest is the newest


def test_without_a_version_the_last_deleted_comes_back(
    workshop: Any, store: Store, clock: Clock
) -> None:
    first, second = workshop.bundle(version="1"), workshop.bundle(version="2")
    alias = store.tag(first, "production")
    for entry in (second, first, alias):
        store.delete(entry)
        clock.now += timedelta(minutes=1)
    assert store.undelete(Tag("digits"), Kind.BUNDLE) == first
    assert store.undelete(alias.tag, Kind.BUNDLE) == alias


def test_what_was_never_deleted_cannot_come_back(workshop: Any, store: Store) -> None:
    entry = workshop.bundle(version="1")
    with pytest.raises(ConflictError, match="'digits:1' is not deleted"):
        store.undelete(entry.tag, Kind.BUNDLE)
    with pytest.raises(NotFoundError, match="no deleted bundle 'other:latest'"):
        store.undelete(Tag("other"), Kind.BUNDLE)
    store.delete(entry)
    with pytest.raises(NotFoundError):
        store.undelete(entry.tag, Kind.MODEL)


def test_a_tag_that_another_has_now_is_a_conflict(workshop: Any, store: Store) -> None:
    old = workshop.bundle(version="1", code=b"old")
    store.delete(old)
    new = workshop.bundle(version="1", code=b"new")
    with pytest.raises(ConflictError, match="is another bundle now"):
        store.undelete(old.tag, Kind.BUNDLE)
    store.tag(new, "kept")
    store.delete(new)
    assert store.undelete(Tag("digits", "1"), Kind.BUNDLE) in (old, new)


def test_building_the_same_again_forgets_that_it_was_deleted(workshop: Any, store: Store) -> None:
    store.delete(workshop.bundle(version="1"))
    workshop.bundle(version="1")
    assert store.deleted() == []
    assert store.plan_gc().items == ()


def test_a_deleted_tag_goes_after_a_week_with_the_next_writer(
    workshop: Any, store: Store, clock: Clock
) -> None:
    kept = workshop.bundle("kept")
    before = blobs(store)
    gone = workshop.bundle("gone", code=b"gone")
    store.delete(gone)
    (one,) = store.deleted()
    assert (one.deleted, one.until) == ("2026-03-01T12:00:00Z", "2026-03-08T12:00:00Z")

    clock.now = START + KEPT - timedelta(seconds=1)
    store.tag(kept, "a")
    assert store.undelete(gone.tag, Kind.BUNDLE) == gone
    clock.now = START
    store.delete(gone)

    clock.now = START + KEPT
    store.tag(kept, "b")
    assert store.deleted() == []
    assert blobs(store) == before
    with pytest.raises(NotFoundError):
        store.undelete(gone.tag, Kind.BUNDLE)


def test_deleting_says_what_its_end_will_free(workshop: Any, store: Store) -> None:
    model = workshop.model(weights=b"w" * 500_000)
    bundle = workshop.bundle(models=(model,))
    alias = store.tag(bundle, "production")
    assert store.delete(model) < 20_000  # the bundle has the weights as well
    assert store.delete(alias) == 0
    assert store.delete(bundle) > 500_000


def test_the_plan_counts_each_shared_byte_once_and_is_kept(
    workshop: Any, store: Store, clock: Clock
) -> None:
    kept = workshop.bundle("kept", models=(workshop.model("m0"),))
    before = sum(path.stat().st_size for path in (store.root / "blobs" / "sha256").iterdir())
    model = workshop.model(weights=b"w" * 500_000)
    for number in range(3):
        store.delete(workshop.bundle(version=f"v{number}", models=(model,)))
    clock.now += timedelta(minutes=1)
    store.delete(model)
    plan = store.plan_gc()
    assert [item.what for item in plan.items] == ["bundle"] * 3 + ["model"]
    assert store.plan_gc() == plan  # it changes nothing
    assert store.gc() == plan
    after = sum(path.stat().st_size for path in (store.root / "blobs" / "sha256").iterdir())
    assert after == before
    assert 500_000 < plan.size_bytes < 600_000
    store.verify(kept)
    assert store.gc().items == ()


def test_what_nobody_refers_to_goes_and_what_dead_writers_left(workshop: Any, store: Store) -> None:
    workshop.model()
    orphan = store.root / "blobs" / "sha256" / ("0" * 64)
    orphan.write_bytes(b"orphan")
    (store.root / ".staging" / "left").mkdir()
    (store.root / ".staging" / "left" / "half").write_bytes(b"half of it")
    found = {(item.what, item.name, item.size_bytes) for item in store.plan_gc().items}
    assert found == {("blob", f"sha256:{'0' * 64}", 6), ("staging", "left", 10)}
    assert store.gc().size_bytes == 16
    assert not orphan.exists()
    assert list((store.root / ".staging").iterdir()) == []


def test_what_speaks_about_an_entry_that_another_tool_took_away_goes(
    workshop: Any, store: Store
) -> None:
    entry = workshop.bundle()
    said = store.attach(entry, artifact_type="application/x", media_type="text/plain", data=b"x")
    file = store.root / "index.json"
    index = json.loads(file.read_bytes())
    index["manifests"] = [one for one in index["manifests"] if one["digest"] != entry.digest]
    file.write_text(json.dumps(index))
    items = store.plan_gc().items
    assert ("referrer", said.digest) in {(item.what, item.name) for item in items}
    assert store.gc().items == items
    assert blobs(store) == set()


def test_a_store_that_was_never_written_has_nothing_to_remove(tmp_path: Path) -> None:
    store = Store(tmp_path / "nothing")
    assert store.plan_gc().items == ()
    assert store.gc().items == ()
    assert list(tmp_path.iterdir()) == []


def test_a_store_whose_index_is_lost_is_not_taken_for_an_empty_one(
    workshop: Any, store: Store
) -> None:
    workshop.model()
    before = blobs(store)
    (store.root / "index.json").unlink()
    with pytest.raises(Exception, match=r"has blobs but no 'index\.json'"):
        store.gc()
    with pytest.raises(Exception, match=r"has blobs but no 'index\.json'"):
        workshop.model("next")
    assert blobs(store) == before


def test_a_pull_that_was_broken_off_goes_unless_somebody_is_at_it(
    workshop: Any, store: Store
) -> None:
    workshop.model()
    for name in ("broken", "going-on"):
        folder = store.root / FOLDER / name
        folder.mkdir(parents=True)
        (folder / "half.part").write_bytes(b"half")
    with locked_folder(store.root / FOLDER / "going-on"):
        (item,) = store.plan_gc().items
        assert (item.what, item.name, item.size_bytes) == ("incoming", "broken", 4)
        store.gc()
        assert [path.name for path in (store.root / FOLDER).iterdir()] == ["going-on"]


@contextmanager
def locked_folder(path: Path) -> Iterator[None]:
    """Hold a folder as whoever takes something in holds it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
