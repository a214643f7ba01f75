"""Weights that are stored already are compared and linked, never trusted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import BuildError
from modelpack.manifest import ModelRecord
from modelpack.store import Entry, Kind, Store, entries, pack
from modelpack.store.layout import Layout
from modelpack.store.system import Io
from modelpack.tag import Tag

BlobPath = Callable[[Store, str], Path]


class CountingIo(Io):
    """Counts the bytes that are written."""

    written = 0

    def write(self, handle: int, data: bytes | memoryview) -> int:
        count = super().write(handle, data)
        self.written += count
        return count


@pytest.fixture
def io(workshop: Any, store: Store) -> CountingIo:
    io = CountingIo()
    workshop.store = Store(store.root, io=io)
    return io


def test_the_same_weights_under_another_version_are_not_written_again(
    workshop: Any, store: Store, io: CountingIo
) -> None:
    first = workshop.model(version="1", weights=b"w" * 3_000_000)
    assert io.written > 3_000_000
    io.written = 0
    second = workshop.model(version="2", weights=b"w" * 3_000_000)
    assert io.written < 100_000
    assert second.layers == first.layers
    store.verify(second)


def test_the_same_model_again_is_not_written_again(workshop: Any, io: CountingIo) -> None:
    first = workshop.model(weights=b"w" * 3_000_000)
    io.written = 0
    assert workshop.model(weights=b"w" * 3_000_000) == first
    assert io.written < 100_000


def test_a_changed_byte_is_written(workshop: Any, store: Store, io: CountingIo) -> None:
    weights = os.urandom(3_000_000)
    workshop.model(version="1", weights=weights)
    io.written = 0
    second = workshop.model(version="2", weights=weights[:-1] + bytes([weights[-1] ^ 1]))
    assert io.written > 3_000_000
    store.verify(second)


@pytest.mark.parametrize("place", [600, 2_000_000, -1])
def test_a_rotten_layer_is_not_taken_but_written_anew(
    place: int, workshop: Any, store: Store, blob_path: BlobPath
) -> None:
    first = workshop.model(weights=b"w" * 3_000_000)
    file = blob_path(store, first.layers[0].digest)
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    assert workshop.model(weights=b"w" * 3_000_000) == first
    store.verify(first)


def test_a_layer_that_is_gone_is_written_anew(
    workshop: Any, store: Store, blob_path: BlobPath
) -> None:
    first = workshop.model(weights=b"w" * 3_000_000)
    blob_path(store, first.layers[0].digest).unlink()
    assert workshop.model(weights=b"w" * 3_000_000) == first
    store.verify(first)


def test_a_record_that_lies_about_its_layer_gets_nothing_in(
    workshop: Any, store: Store, tmp_path: Path
) -> None:
    """An entry from elsewhere may claim that its weights are somebody else's."""
    evil, good = b"e" * 3_000_000, b"g" * 3_000_000
    taken: Entry = workshop.model("clf", "evil", weights=evil)
    honest: Entry = workshop.model("other", "1", weights=good)
    (file,) = (one for one in store.model_record(honest).files if one.path == "model.onnx")
    said = store.model_record(taken)
    lie = ModelRecord(
        name="clf",
        framework="onnx",
        files=tuple(file if one.path == "model.onnx" else one for one in said.files),
    )
    store.delete(taken)
    craft(store, workshop, lie, evil)
    saved = workshop.model("clf", "1", weights=good)
    store.verify(saved)
    folder = store.unpack(saved, tmp_path / "out")
    assert (folder / "models" / "clf" / "model.onnx").read_bytes() == good


def craft(store: Store, workshop: Any, lie: ModelRecord, evil: bytes) -> None:
    """Store a model whose record is not that of its weights, as only another tool would."""
    folder, files = workshop.lay_out({"model.onnx": evil, "labels.json": b"[0,1]"})
    truth = ModelRecord(name="clf", framework="onnx", files=files)
    layout = Layout(store.root)
    with layout.stage() as staging:
        weights, _ = pack.pack_model(staging, truth, folder)
        _, lying = pack.pack_model(staging, lie, folder, lambda *_: weights)
        facts = entries.Facts(Kind.MODEL, Tag("clf", "lie"), pack.model_content(lie), ("onnx",))
        entries.commit(layout, staging, facts, [weights, lying], "2026-01-01T00:00:00Z")


def test_a_file_that_is_not_what_its_record_says_stops_it(
    workshop: Any, store: Store, tmp_path: Path
) -> None:
    workshop.model(version="1", weights=b"w" * 3_000_000)
    folder, files = workshop.lay_out({"model.onnx": b"w" * 3_000_000, "labels.json": b"[0,1]"})
    (folder / "model.onnx").write_bytes(b"w" * 2_999_999 + b"x")
    with pytest.raises(BuildError, match="changed while it was packed"):
        store.add_model(ModelRecord(name="clf", framework="onnx", files=files), folder)
