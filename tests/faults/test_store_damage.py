"""F34, F36: bytes that rot in the store, and disks that are full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelpack.cli.main import main
from modelpack.errors import DigestMismatchError, StoreError
from modelpack.store import Entry, Store


def blob_file(store: Store, digest: str) -> Path:
    return store.root / "blobs" / "sha256" / digest.removeprefix("sha256:")


def rot(file: Path, wanted: bytes | int) -> None:
    """Change one bit, at a place or where some bytes are."""
    data = bytearray(file.read_bytes())
    data[wanted if isinstance(wanted, int) else data.index(wanted)] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    file.chmod(0o444)


@pytest.fixture
def home(shelf: Any, memory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store of the commands is the one of the shelf, the cache a fresh one."""
    monkeypatch.setenv("MODELPACK_HOME", str(memory))
    monkeypatch.setenv("MODELPACK_CACHE", str(memory / "cache"))
    monkeypatch.chdir(memory)
    return memory


@pytest.fixture
def entry(shelf: Any, home: Path) -> Entry:
    found: Entry = shelf.bundle(
        files={"data/table.bin": b"0123456789" * 50}, models=[shelf.model()]
    )
    return found


COMMANDS: dict[str, list[str]] = {
    "verify": ["verify", "digits:1"],
    "serve": ["serve", "digits:1"],
    "export": ["export", "digits:1", "out.modelpack"],
    "containerize": ["containerize", "digits:1", "--base", "python:3.11", "--dockerfile", "out"],
}
ROTTEN = {
    "bundle/models/clf/model.onnx": (0, b"w" * 100),
    "bundle/models/clf/labels.json": (1, b"[0,1]"),
    "bundle/bundle.json": (-1, b"service:Digits"),
    "bundle/requirements.lock": (-2, b"numpy==2"),
    "bundle/code/data/table.bin": (-1, b"0123456789"),
    "bundle/code/service.py": (-1, b"class Digits"),
}


@pytest.mark.parametrize("path", ROTTEN)
def test_f34_verify_names_the_file_that_has_rotted(path: str, entry: Entry, shelf: Any) -> None:
    layer, wanted = ROTTEN[path]
    rot(blob_file(shelf.store, entry.layers[layer].digest), wanted)
    with pytest.raises(DigestMismatchError, match=f"'digits:1': '{path}'") as caught:
        shelf.store.verify(entry)
    assert entry.layers[layer].digest in caught.value.message


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("path", ["bundle/models/clf/model.onnx", "bundle/code/data/table.bin"])
def test_f34_what_would_use_a_rotten_byte_refuses_by_name(
    command: str, path: str, entry: Entry, shelf: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    home = shelf.store.root.parent
    layer, wanted = ROTTEN[path]
    rot(blob_file(shelf.store, entry.layers[layer].digest), wanted)
    assert main(COMMANDS[command]) == 4
    said = capfd.readouterr()
    assert "error[digest-mismatch]" in said.err
    assert f"'digits:1': '{path}' has other bytes" in said.err
    assert "Traceback" not in said.err
    assert not (home / "out.modelpack").exists()
    assert not (home / "out").exists()
    assert not [*home.glob("cache/**/model.onnx")]


def test_f34_every_place_of_every_blob_is_read(entry: Entry, shelf: Any) -> None:
    """Headers, padding, documents and statements as well: nothing of an entry may rot unseen."""
    shelf.store.attach(entry, artifact_type="application/x", media_type="text/plain", data=b"said")
    blobs = list((shelf.store.root / "blobs" / "sha256").iterdir())
    model = {shelf.store.list()[0].digest}  # the manifest of the model is not part of the bundle
    tried = 0
    for file in blobs:
        whole = file.read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 40)):
            rot(file, place)
            try:
                shelf.store.verify(entry)
                is_of_model = f"sha256:{file.name}" in model or b'"name":"clf"' in whole
                assert is_of_model, f"{file.name} at {place}"
            except DigestMismatchError:
                tried += 1
            file.chmod(0o644)
            file.write_bytes(whole)
    assert tried > 150
    shelf.store.verify(entry)


def test_f34_building_the_same_again_heals(entry: Entry, shelf: Any) -> None:
    rot(blob_file(shelf.store, entry.layers[0].digest), 600)
    rot(blob_file(shelf.store, entry.layers[-1].digest), 600)
    model = shelf.model()
    again = shelf.bundle(files={"data/table.bin": b"0123456789" * 50}, models=[model])
    assert again == entry
    assert shelf.store.verify(entry).files == 7


# --- full disks ----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where this may be had."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "modelpack-test", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of one megabyte cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def build(shelf: Any, _archive: Path) -> object:
    return shelf.bundle("big", files={"big.bin": os.urandom(1_000_000)})


def save(shelf: Any, _archive: Path) -> object:
    return shelf.model("big", weights=os.urandom(1_000_000))


def bring(shelf: Any, archive: Path) -> object:
    return shelf.store.import_(archive)


def export(shelf: Any, _archive: Path) -> object:
    return shelf.store.export(shelf.store.list()[-1], shelf.store.root.parent / "x.modelpack")


@pytest.mark.parametrize("action", [build, save, bring, export])
def test_f36_a_full_disk_leaves_no_entry_and_nothing_staged(
    action: Callable[[Any, Path], object], shelf: Any, small_disk: Path, memory: Path
) -> None:
    archive = shelf.store.export(shelf.model("more", weights=os.urandom(700_000)), memory)
    full = type(shelf)(shelf.sources, Store(small_disk / "store"))
    kept = full.model("kept", weights=os.urandom(600_000))
    with pytest.raises(StoreError, match="no space left") as caught:
        action(full, archive)
    assert caught.value.exit_code == 1
    assert full.store.list() == [kept]
    assert list((full.store.root / ".staging").iterdir()) == []
    assert [path.name for path in small_disk.iterdir()] == ["store"]
    assert full.store.plan_gc().items == ()
    full.store.verify(kept)


def test_f36_gc_makes_room_on_a_full_disk(shelf: Any, small_disk: Path) -> None:
    """Deleting and gc write an index, which must not need more room than there is."""
    full = type(shelf)(shelf.sources, Store(small_disk / "store"))
    entry = full.model("big", weights=os.urandom(800_000))
    left = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(bytes(left.f_bfree * left.f_bsize - 16 * 1024))
    with pytest.raises(StoreError, match="no space left"):
        full.model("next", weights=os.urandom(100_000))
    full.store.delete(entry)
    full.store.gc()
    assert full.model("next", weights=os.urandom(700_000))
