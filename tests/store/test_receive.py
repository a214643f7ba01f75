from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import (
    ConflictError,
    DigestMismatchError,
    NotFoundError,
    RefusedError,
    UnreachableError,
)
from modelpack.store import Entry, Store
from modelpack.store.documents import read_manifest
from modelpack.store.durable import Blob
from modelpack.store.receive import FOLDER, KEPT_S, Receiving, receive


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(tmp_path / "other" / "store")


def read(store: Store, digest: str) -> bytes:
    with store.open_blob(digest) as blob:
        return blob.read()


def top_of(store: Store, entry: Entry) -> Blob:
    return Blob(entry.digest, len(read(store, entry.digest)))


def bring(receiving: Receiving, store: Store, entry: Entry) -> Blob:
    """Bring every blob of an entry of one store to another."""
    data = read(store, entry.digest)
    for blob in read_manifest(data, "it").blobs:
        if not receiving.has(blob):
            receiving.fetch(blob, lambda at, blob=blob: iter([read(store, blob.digest)[at:]]))
    return receiving.put(data)


def leftovers(store: Store) -> list[Path]:
    return [path for path in (store.root / FOLDER).rglob("*") if path.is_file()]


def test_what_was_brought_becomes_an_entry(workshop: Any, store: Store, other: Store) -> None:
    entry = workshop.bundle(models=(workshop.model(),))
    with receive(other, top_of(store, entry), "'it'") as receiving:
        top = bring(receiving, store, entry)
        assert other.list() == []
        added = receiving.accept(top)
    assert (added.entry.digest, added.is_unchanged) == (entry.digest, False)
    other.verify(added.entry)
    assert not (other.root / FOLDER).exists()


def test_bringing_it_again_fetches_and_changes_nothing(workshop: Any, store: Store) -> None:
    entry = workshop.bundle()
    before = (store.root / "index.json").read_bytes()
    with receive(store, top_of(store, entry), "'it'") as receiving:
        assert all(receiving.has(Blob(one.digest, one.size)) for one in entry.layers)
        assert receiving.accept(bring(receiving, store, entry)).is_unchanged
    assert (store.root / "index.json").read_bytes() == before


def test_a_blob_that_is_missing_refuses_the_whole(
    workshop: Any, store: Store, other: Store
) -> None:
    entry = workshop.bundle()
    data = read(store, entry.digest)
    config = read_manifest(data, "it").config
    with (
        pytest.raises(RefusedError, match="missing"),
        receive(other, top_of(store, entry), "'it'") as receiving,
    ):
        receiving.fetch(config, lambda at: iter([read(store, config.digest)[at:]]))
        receiving.accept(receiving.put(data))
    assert other.list() == []
    assert leftovers(other) == []


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b"x" + b[1:]])
def test_other_bytes_are_refused_and_not_kept(
    workshop: Any, store: Store, other: Store, change: Callable[[bytes], bytes]
) -> None:
    entry = workshop.bundle()
    layer = entry.layers[0]
    blob = Blob(layer.digest, layer.size)
    wrong = change(read(store, layer.digest))
    with (
        pytest.raises(DigestMismatchError),
        receive(other, top_of(store, entry), "'it'") as receiving,
    ):
        receiving.fetch(blob, lambda at: iter([wrong[at:]]))
    assert leftovers(other) == []


def test_more_bytes_than_were_declared_are_not_written(
    workshop: Any, store: Store, other: Store
) -> None:
    entry = workshop.bundle()
    given = []

    def endless(_: int) -> Iterator[bytes]:
        while True:
            given.append(1)
            yield bytes(1000)

    with (
        pytest.raises(DigestMismatchError),
        receive(other, top_of(store, entry), "'it'") as receiving,
    ):
        receiving.fetch(Blob("sha256:" + "0" * 64, 5000), endless)
    assert len(given) == 6


def broken(data: bytes, at: int, end: int) -> Iterator[bytes]:
    yield data[at:end]
    raise UnreachableError("gone")


def test_what_was_broken_off_is_gone_on_with(workshop: Any, store: Store, other: Store) -> None:
    entry = workshop.bundle()
    layer = entry.layers[-1]
    blob, data = Blob(layer.digest, layer.size), read(store, layer.digest)
    with (
        pytest.raises(UnreachableError),
        receive(other, top_of(store, entry), "'it'") as receiving,
    ):
        receiving.fetch(blob, lambda at: broken(data, at, 700))
    assert [path.stat().st_size for path in leftovers(other)] == [700]
    assert [path.stat().st_mode & 0o777 for path in leftovers(other)] == [0o600]
    with receive(other, top_of(store, entry), "'it'") as receiving:
        assert receiving.fetch(blob, lambda at: iter([data[at:]])) == 700
        receiving.accept(bring(receiving, store, entry))
    other.verify(other.list()[0])


def test_a_wrong_beginning_is_fetched_again(workshop: Any, store: Store, other: Store) -> None:
    entry = workshop.bundle()
    layer = entry.layers[-1]
    blob, data = Blob(layer.digest, layer.size), read(store, layer.digest)
    with (
        pytest.raises(UnreachableError),
        receive(other, top_of(store, entry), "'it'") as receiving,
    ):
        receiving.fetch(blob, lambda at: broken(b"?" * 900, at, 700))
    with receive(other, top_of(store, entry), "'it'") as receiving:
        assert receiving.fetch(blob, lambda at: iter([data[at:]])) == 0


def test_what_nobody_came_back_for_is_removed(workshop: Any, store: Store, other: Store) -> None:
    first, second = workshop.bundle(), workshop.bundle(version="2", code=b"x = 2\n")
    with (
        pytest.raises(UnreachableError),
        receive(other, top_of(store, first), "'it'") as receiving,
    ):
        receiving.put(b"something")
        raise UnreachableError("gone")
    (left,) = (other.root / FOLDER).iterdir()
    old = time.time() - KEPT_S - 60
    os.utime(left, (old, old))
    with receive(other, top_of(store, second), "'it'"):
        assert not left.exists()


def test_a_version_with_other_content_is_a_conflict(
    workshop: Any, store: Store, tmp_path: Path
) -> None:
    from_there = Store(tmp_path / "there")
    theirs = type(workshop)(tmp_path / "theirs", from_there).bundle(version="1", code=b"y = 1\n")
    workshop.bundle(version="1")
    with (
        pytest.raises(ConflictError),
        receive(store, top_of(from_there, theirs), "'it'") as receiving,
    ):
        receiving.accept(bring(receiving, from_there, theirs))
    assert not (store.root / FOLDER).exists()


def test_a_statement_about_something_else_is_refused(
    workshop: Any, store: Store, other: Store
) -> None:
    entry, stranger = workshop.bundle(), workshop.bundle(version="2", code=b"x = 2\n")
    said = store.attach(stranger, artifact_type="t/t", media_type="t/t", data=b"evil")
    with (
        pytest.raises(RefusedError, match="is not about"),
        receive(other, top_of(store, entry), "'it'") as receiving,
    ):
        for blob in (said.config, said.blob):
            receiving.put(read(store, blob.digest))
        statement = receiving.put(read(store, said.digest))
        receiving.accept(bring(receiving, store, entry), None, [statement])
    assert other.list() == []


def test_a_blob_that_is_deleted_meanwhile_is_said(workshop: Any, store: Store) -> None:
    entry = workshop.bundle()
    with (
        pytest.raises(NotFoundError, match="deleted in the meantime"),
        receive(store, top_of(store, entry), "'it'") as receiving,
    ):
        top = bring(receiving, store, entry)
        (store.root / "blobs" / "sha256" / entry.layers[0].digest[7:]).unlink()
        receiving.accept(top)


def test_two_at_once_wait_for_each_other(workshop: Any, store: Store, other: Store) -> None:
    entry = workshop.bundle()
    first_is_in, second_began, order = threading.Event(), threading.Event(), []

    def first() -> None:
        with receive(other, top_of(store, entry), "'it'") as receiving:
            first_is_in.set()
            second_began.wait(10)
            receiving.accept(bring(receiving, store, entry))
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    first_is_in.wait(10)
    second_began.set()
    with receive(other, top_of(store, entry), "'it'") as receiving:
        order.append("second")
        assert receiving.accept(bring(receiving, store, entry)).is_unchanged
    thread.join()
    assert order == ["first", "second"]
    assert len(other.list()) == 1


KILLED = """
import sys, os
from pathlib import Path
from modelpack.store import Store
from modelpack.store.durable import Blob
from modelpack.store.receive import receive
data = Path(sys.argv[2]).read_bytes()
with receive(Store(Path(sys.argv[1])), Blob(sys.argv[3], 1), "'it'") as receiving:
    def chunks(at):
        yield data[at:at + 4000]
        print("half", flush=True)
        sys.stdin.read()
    receiving.fetch(Blob(sys.argv[4], len(data)), chunks)
"""


def test_a_process_that_is_killed_leaves_nothing_visible_and_can_be_gone_on_with(
    workshop: Any, store: Store, other: Store, tmp_path: Path
) -> None:
    entry = workshop.bundle()
    layer = entry.layers[-1]
    data = read(store, layer.digest)
    (tmp_path / "data").write_bytes(data)
    words = [sys.executable, "-c", KILLED, other.root, tmp_path / "data", entry.digest]
    process = subprocess.Popen(
        [*map(str, words), layer.digest], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert other.list() == []
    with receive(other, top_of(store, entry), "'it'") as receiving:
        blob = Blob(layer.digest, layer.size)
        assert receiving.fetch(blob, lambda at: iter([data[at:]])) == 4000
        receiving.accept(bring(receiving, store, entry))
    other.verify(other.list()[0])
    assert not (other.root / FOLDER).exists()
