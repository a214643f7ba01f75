from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from modelpack.config.settings import ImageSettings
from modelpack.errors import ConflictError, DigestMismatchError, RefusedError
from modelpack.image import plan_image, render_dockerfile, write_context
from modelpack.image.context import stream_context
from modelpack.store import Entry, Layer, Store
from modelpack.store.tar import Member, write_tar

MakeBundle = Callable[..., Entry]


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_context_has_all_that_its_dockerfile_copies(
    store: Store, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    entry = make_bundle("cpu")
    plan = plan_image(store, entry, ImageSettings())

    folder = write_context(plan, store, tmp_path / "context")

    found = files_below(folder)
    assert found.pop(plan.runtime_wheel)[:2] == b"PK"
    assert found.pop("bundle.json")
    assert found.pop("models/digits-clf/model.json")
    assert found == {
        "Dockerfile": render_dockerfile(plan).encode(),
        "code/service.py": b"class Digits: ...\n",
        "doc/README.md": b"# Digits\n",
        "models/digits-clf/model.onnx": b"weights" * 100,
        "requirements.lock": store.lock_text(entry).encode(),
    }


def test_modes_are_the_same_under_any_umask(
    store: Store, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    plan = plan_image(store, make_bundle("cpu"), ImageSettings())

    old = os.umask(0o077)
    try:
        folder = write_context(plan, store, tmp_path / "context")
    finally:
        os.umask(old)

    modes = {path.stat().st_mode & 0o7777 for path in folder.rglob("*") if path.is_file()}
    folders = {
        path.stat().st_mode & 0o7777 for path in [folder, *folder.rglob("*")] if path.is_dir()
    }
    assert modes == {0o644}
    assert folders == {0o755}


def test_the_stream_holds_the_same_files_as_the_folder(
    store: Store, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    plan = plan_image(store, make_bundle("cpu"), ImageSettings())
    folder = write_context(plan, store, tmp_path / "context")

    data = b"".join(stream_context(plan, store))

    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        streamed = {
            member.name: (tar.extractfile(member) or io.BytesIO()).read()
            for member in tar
            if member.isfile()
        }
        assert [member.name for member in tar if member.isdir()] == [
            "models",
            "models/digits-clf",
            "doc",
            "code",
        ]
    assert streamed == files_below(folder)


def test_the_same_plan_gives_the_same_bytes(store: Store, make_bundle: MakeBundle) -> None:
    plan = plan_image(store, make_bundle("cpu"), ImageSettings())

    assert b"".join(stream_context(plan, store)) == b"".join(stream_context(plan, store))


def test_a_folder_with_something_in_it_is_left_alone(
    store: Store, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    plan = plan_image(store, make_bundle("cpu"), ImageSettings())
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")

    with pytest.raises(ConflictError, match="is not an empty folder"):
        write_context(plan, store, taken)

    assert files_below(taken) == {"mine.txt": b"mine"}


def test_an_empty_folder_may_be_used(store: Store, make_bundle: MakeBundle, tmp_path: Path) -> None:
    plan = plan_image(store, make_bundle("cpu"), ImageSettings())
    (tmp_path / "empty").mkdir()

    assert "Dockerfile" in files_below(write_context(plan, store, tmp_path / "empty"))


def test_a_rotten_byte_stops_it_and_leaves_nothing(
    store: Store, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    entry = make_bundle("cpu")
    plan = plan_image(store, entry, ImageSettings())
    weights = next(layer for layer in entry.layers if layer.path.endswith("model.onnx"))
    blob = store.root / "blobs" / "sha256" / weights.digest.removeprefix("sha256:")
    blob.chmod(0o644)
    data = bytearray(blob.read_bytes())
    data[600] ^= 1
    blob.write_bytes(data)

    with pytest.raises(DigestMismatchError):
        write_context(plan, store, tmp_path / "out" / "context")
    assert list((tmp_path / "out").iterdir()) == []

    with pytest.raises(DigestMismatchError):
        for _ in stream_context(plan, store):
            pass


@pytest.mark.parametrize(
    "path", ["bundle/Dockerfile", "bundle/.dockerignore", "bundle/venv/bin/python", "other/x"]
)
def test_a_bundle_cannot_bring_files_of_the_builder(
    store: Store, make_bundle: MakeBundle, path: str
) -> None:
    """A foreign bundle with a Dockerfile of its own is refused, not built."""
    plan = plan_image(store, make_bundle("cpu"), ImageSettings())
    hostile = StoreWithExtraLayer(store, path, b"FROM evil\n")
    plan = replace(plan, entry=replace(plan.entry, layers=(*plan.entry.layers, hostile.layer)))

    with pytest.raises(RefusedError):
        for _ in stream_context(plan, hostile):
            pass


def test_a_large_model_is_streamed_piece_by_piece(store: Store, make_bundle: MakeBundle) -> None:
    """Pieces have a size of their own, whatever the file's, so memory stays flat."""
    plan = plan_image(store, make_bundle("cpu"), ImageSettings())
    big = StoreWithExtraLayer(store, "bundle/models/digits-clf/big.bin", bytes(32 * 1024 * 1024))
    plan = replace(plan, entry=replace(plan.entry, layers=(*plan.entry.layers, big.layer)))

    sizes = [len(chunk) for chunk in stream_context(plan, big)]

    assert sum(sizes) > 32 * 1024 * 1024
    assert max(sizes) < 4 * 1024 * 1024


class StoreWithExtraLayer(Store):
    """A store that holds one layer more, with whatever path somebody put in it."""

    def __init__(self, store: Store, path: str, data: bytes) -> None:
        super().__init__(store.root)
        out = io.BytesIO()
        write_tar(out, [Member.of_bytes(path, data)])
        self._tar = out.getvalue()
        digest = "sha256:" + hashlib.sha256(self._tar).hexdigest()
        self.layer = Layer("application/vnd.cncf.model.code.v1.tar", digest, len(self._tar), path)

    def open_blob(self, digest: str) -> io.BytesIO:  # type: ignore[override]
        if digest == self.layer.digest:
            return io.BytesIO(self._tar)
        return super().open_blob(digest)
