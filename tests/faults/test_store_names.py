"""F39, S5, S6, S20: names, links and modes in the store."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelpack.cli.main import main
from modelpack.errors import ModelpackError, RefusedError, StoreError, TagError
from modelpack.manifest import FileRecord, ModelRecord, canonical_json, sha256_digest
from modelpack.store import CODE_TYPE, Entry, Kind, Layer, Store, documents
from modelpack.store.base import KIND
from modelpack.store.durable import Blob
from modelpack.store.layout import index_bytes
from modelpack.store.system import Io
from modelpack.store.tar import Member, write_tar
from modelpack.tag import Tag

# --- F39 -----------------------------------------------------------------------------------------

ODD = {
    "ünïcödé/日本語/🎉.txt": b"letters",
    "new\nline": b"newline",
    "tab\tand\rreturn": b"control",
    "-rf": b"a leading dash",
    "--": b"two of them",
    "-/--help": b"a folder of that name",
    " space at both ends ": b"spaces",
    "quote'\"`$(echo)": b"quotes",
    "back\\slash": b"backslash",
    "star*?[a]": b"patterns",
    "n" * 255: b"255 bytes",
    "é" * 127 + "x": b"255 bytes of UTF-8",
    "/".join(["deep"] * 40): b"deep",
    "empty": b"",
    "a.b/.hidden": b"hidden",
    "e\u0301 decomposed": b"NFD",
}


@pytest.mark.parametrize("way", ["unpack", "archive"])
def test_f39_odd_names_empty_files_and_the_executable_bit_are_kept_exactly(
    way: str, shelf: Any, memory: Path
) -> None:
    folder, records = shelf.files(ODD | {"run": b"#!/bin/sh\n"})
    files = tuple(
        FileRecord(
            path=r.path, mode=0o755 if r.path == "run" else 0o644, size=r.size, sha256=r.sha256
        )
        for r in records
    )
    record = ModelRecord(name="odd", framework="onnx", files=files)
    store, entry = shelf.store, shelf.store.add_model(record, folder, version="1").entry
    store.verify(entry)
    if way == "archive":
        file = store.export(entry, memory / "odd.modelpack")
        store = Store(memory / "other")
        brought = store.import_(file)
        assert replace(brought, created=entry.created) == entry  # it is as old as its import
    top = store.unpack(entry, memory / "out") / "models" / "odd"
    found = {
        os.fsdecode(os.path.relpath(path, top)): path
        for path in top.rglob("*")
        if path.is_file() and path.name != "model.json"
    }
    assert found.keys() == {r.path for r in files}
    for one in files:
        assert hashlib.sha256(found[one.path].read_bytes()).hexdigest() == one.sha256
        assert stat.S_IMODE(found[one.path].stat().st_mode) == one.mode


# --- S5 ------------------------------------------------------------------------------------------

TRAVERSALS = [
    "../../etc/passwd",
    "..",
    ".",
    "/etc/passwd",
    "a/../b",
    "a\\..\\b",
    "name:../x",
    "name:..",
    "name:.",
    "name:a/b",
    "..:1",
    "models/../x:1",
    "name%2f..:1",
    "name\0:1",
    "name\n:1",
    ".hidden:1",
    "-name:1",
    "UPPER:1",
    "ｎame:1",
    "n" * 64 + ":1",
    "name:" + "v" * 129,
]
COMMANDS: dict[str, list[str]] = {
    "inspect": ["inspect"],
    "delete": ["delete"],
    "undelete": ["undelete"],
    "export": ["export"],
    "tag": ["tag", "--", "TAG", "production"],
    "verify": ["verify"],
    "models inspect": ["models", "inspect"],
    "models delete": ["models", "delete"],
    "models undelete": ["models", "undelete"],
}


@pytest.fixture
def home(memory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a folder of one's own for commands in this process."""
    monkeypatch.setenv("MODELPACK_HOME", str(memory))
    monkeypatch.setenv("MODELPACK_CACHE", str(memory / "cache"))
    (memory / "here").mkdir()
    monkeypatch.chdir(memory / "here")
    return memory


def test_s05_a_path_is_nothing_but_a_path_to_containerize(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It takes the TAG of a bundle or the path of a model, and never looks for one as the other."""
    codes = {2: ("error[bad-tag]", "error[usage]"), 3: ("error[not-found]",)}
    for name in TRAVERSALS:
        status = main(["containerize", "--", name])
        said = capfd.readouterr()
        assert said.err.startswith(codes[status]), (name, said.err)
        assert said.out == ""
    assert list((home / "here").iterdir()) == []
    assert not (home / "store").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_s05_a_name_that_is_a_path_is_refused_by_every_command(
    command: str, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in TRAVERSALS[:4] + TRAVERSALS[-4:-2]:
        words = COMMANDS[command]
        words = (
            [name if w == "TAG" else w for w in words] if "TAG" in words else [*words, "--", name]
        )
        assert main(words) == 2, name
        said = capfd.readouterr()
        assert "error[bad-tag]" in said.err, (name, said.err)
        assert said.out == ""
    assert list((home / "here").iterdir()) == []
    assert not (home / "store").exists()


@pytest.mark.parametrize("name", TRAVERSALS)
def test_s05_no_tag_of_that_form_exists(name: str) -> None:
    with pytest.raises(TagError):
        Tag.parse(name)


@pytest.mark.parametrize("part", ["name", "version"])
@pytest.mark.parametrize("value", ["../../escaped", "..", "/escaped", "a/b", "a\0b", ""])
def test_s05_an_archive_whose_config_names_a_path_is_refused(
    part: str, value: str, memory: Path
) -> None:
    layer_tar = memory / "layer"
    with layer_tar.open("wb") as out:
        write_tar(out, [Member.of_bytes("bundle/code/a.py", b"1")])
    layer = layer_tar.read_bytes()
    listed = [Layer(CODE_TYPE, sha256_digest(layer), len(layer), "bundle/code")]
    config = documents.config_bytes(Tag("digits", "1"), None, listed)
    before = b'"name":"digits"' if part == "name" else b'"version":"1"'
    config = config.replace(before, f'"{part}":{canonical_json(value).decode()}'.encode())
    manifest = documents.manifest_bytes(
        Blob(sha256_digest(config), len(config)), listed, {KIND: "bundle"}
    )
    top = Blob(sha256_digest(manifest), len(manifest))
    index = index_bytes([documents.descriptor(Kind.BUNDLE, Tag("digits", "1"), top)])
    blobs = {f"blobs/sha256/{sha256_digest(b)[7:]}": b for b in (layer, config, manifest)}
    with (memory / "bad.modelpack").open("wb") as out:
        files = {"oci-layout": documents.LAYOUT, "index.json": index, **blobs}
        write_tar(out, [Member.of_bytes(path, data) for path, data in files.items()])
    store = Store(memory / "other")
    with pytest.raises(RefusedError):
        store.import_(memory / "bad.modelpack")
    assert store.list() == []
    assert not [*memory.rglob("*escaped*")]


def test_s05_digests_are_no_paths(shelf: Any) -> None:
    shelf.model()
    for digest in (
        "sha256:../../index.json",
        "sha256:" + "A" * 64,
        "../index.json",
        "sha256:x",
        "",
    ):
        with pytest.raises(ModelpackError):
            shelf.store.open_blob(digest)


# --- S6 ------------------------------------------------------------------------------------------


def as_link(path: Path, elsewhere: Path) -> None:
    """Move something elsewhere and leave a link that leads there."""
    elsewhere.parent.mkdir(exist_ok=True)
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.parametrize("part", ["blob", "blobs", "index", "lock"])
def test_s06_a_link_in_the_store_is_not_followed(part: str, shelf: Any, memory: Path) -> None:
    entry: Entry = shelf.bundle()
    root = shelf.store.root
    places = {
        "blob": root / "blobs" / "sha256" / entry.layers[0].digest.removeprefix("sha256:"),
        "blobs": root / "blobs" / "sha256",
        "index": root / "index.json",
        "lock": root / ".lock",
    }
    as_link(places[part], memory / "elsewhere" / part)
    with pytest.raises((StoreError, RefusedError)):
        if part == "lock":
            shelf.store.delete(entry)
        else:
            shelf.store.verify(shelf.store.find(entry.tag, Kind.BUNDLE))


def test_s06_a_link_in_place_of_a_staging_folder_is_not_emptied(shelf: Any, memory: Path) -> None:
    """What it leads to is somebody's."""
    shelf.model()
    (memory / "precious").mkdir()
    (memory / "precious" / "file").write_text("kept")
    (shelf.store.root / ".staging" / "link").symlink_to(memory / "precious")
    shelf.model("next")
    shelf.store.gc()
    assert (memory / "precious" / "file").read_text() == "kept"


def test_s06_unpacking_goes_through_no_link_that_was_planted(shelf: Any, memory: Path) -> None:
    entry = shelf.bundle()
    (memory / "victim").mkdir()
    (memory / "out").mkdir()
    (memory / "out" / "bundle").symlink_to(memory / "victim")
    with pytest.raises(ModelpackError):
        shelf.store.unpack(entry, memory / "out")
    assert list((memory / "victim").iterdir()) == []


def test_s06_what_is_published_is_read_only_and_checked_when_it_is_read(shelf: Any) -> None:
    entry = shelf.bundle()
    for file in (shelf.store.root / "blobs" / "sha256").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o444
    path = shelf.store.root / "blobs" / "sha256" / entry.layers[0].digest[7:]
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + b"\1")
    with shelf.store.open_blob(entry.layers[0].digest) as blob, pytest.raises(RefusedError):
        blob.read()


# --- S20 -----------------------------------------------------------------------------------------


@pytest.fixture(params=[0o000, 0o077], ids=["umask 000", "umask 077"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def check_modes(home: Path) -> None:
    for path in [home / "store", *(home / "store").rglob("*")]:
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_dir():
            assert mode == 0o700, path
        else:
            assert mode in (0o444, 0o600), path
    assert list((home / "store" / ".staging").iterdir()) == []


def test_s20_files_are_private_and_gone_under_any_umask(
    umask: int, shelf: Any, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shelf.bundle(models=[shelf.model()])
    check_modes(home)
    commands: list[list[str]] = [
        ["tag", "digits:1", "production"],
        ["export", "digits:1", "digits.modelpack"],
        ["import", "digits.modelpack"],
        ["delete", "digits:1"],
        ["undelete", "digits:1"],
        ["verify", "--all"],
        ["delete", "digits:production"],
        ["gc"],
        ["import", "nowhere.modelpack"],
        ["import", "broken.modelpack"],
    ]
    (home / "here" / "broken.modelpack").write_bytes(b"\0" * 20480)
    for words in commands:
        status = main(words)
        assert (status == 0) == (words[-1] not in ("nowhere.modelpack", "broken.modelpack"))
        check_modes(home)
    assert sorted(path.name for path in (home / "here").iterdir()) == [
        "broken.modelpack",
        "digits.modelpack",
    ]
    capfd.readouterr()


class NotingIo(Io):
    """Takes note of the folders that are made."""

    def __init__(self) -> None:
        self.made: list[Path] = []

    def make_folder(self, path: Path) -> None:
        self.made.append(path)
        super().make_folder(path)


def test_s20_staging_has_names_that_nobody_can_guess(shelf: Any, memory: Path) -> None:
    io = NotingIo()
    other = type(shelf)(shelf.sources, Store(memory / "other", io=io))
    for number in range(3):
        other.model(f"m{number}")
    names = [path.name for path in io.made if path.parent.name == ".staging"]
    assert len(set(names)) == len(names) >= 3
    assert all(len(name) == 16 for name in names)
