from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import (
    ConflictError,
    DigestMismatchError,
    NotFoundError,
    RefusedError,
    StoreError,
)
from modelpack.manifest import canonical_json, sha256_digest
from modelpack.store import CODE_TYPE, Kind, Store, documents
from modelpack.store.base import KIND, Layer
from modelpack.store.durable import Blob
from modelpack.store.layout import index_bytes
from modelpack.store.tar import Member, write_tar
from modelpack.tag import Tag

Tree = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def archive(workshop: Any, store: Store, tmp_path: Path) -> Path:
    """A small archive: a model of two files, a bundle of three."""
    return store.export(workshop.bundle(models=(workshop.model(),)), tmp_path / "a.modelpack")


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(tmp_path / "other" / "store")


def is_untouched(store: Store) -> bool:
    """Say whether a store has no entry, no blob and no leftovers."""
    files = [path for path in store.root.rglob("*") if path.is_file()]
    names = {path.relative_to(store.root).as_posix() for path in files}
    return store.list() == [] and names <= {"oci-layout", "index.json", ".lock"}


# The way of one archive


def test_an_archive_brings_the_same_entry_to_another_store(
    workshop: Any, store: Store, other: Store, tree: Tree, tmp_path: Path
) -> None:
    for entry in (workshop.model(), workshop.bundle(models=(workshop.model(),))):
        brought = other.import_(store.export(entry, tmp_path))
        assert (brought.kind, brought.tag, brought.digest) == (entry.kind, entry.tag, entry.digest)
        assert brought.layers == entry.layers
        name = entry.tag.name
        assert tree(other.unpack(brought, tmp_path / "there" / name)) == tree(
            store.unpack(entry, tmp_path / "here" / name)
        )


def test_the_archive_is_the_same_bytes_from_any_store_at_any_time(
    workshop: Any, store: Store, other: Store, archive: Path, tmp_path: Path
) -> None:
    workshop.bundle("another")
    again = other.export(other.import_(archive), tmp_path / "b.modelpack")
    assert again.read_bytes() == archive.read_bytes()


def test_importing_again_changes_nothing(
    workshop: Any, store: Store, archive: Path, tmp_path: Path
) -> None:
    first = store.find(Tag("digits"), Kind.BUNDLE)
    newest = workshop.bundle(code=b"newer")
    before = (store.root / "index.json").read_bytes()
    assert store.import_(archive) == first
    assert (store.root / "index.json").read_bytes() == before
    assert store.find(Tag("digits"), Kind.BUNDLE) == newest


def test_other_content_under_the_same_version_is_a_conflict(
    workshop: Any, store: Store, other: Store, tmp_path: Path
) -> None:
    file = store.export(workshop.bundle(version="1"), tmp_path)
    shop = type(workshop)(tmp_path / "more", other)
    kept = shop.bundle(version="1", code=b"mine")
    with pytest.raises(ConflictError):
        other.import_(file)
    assert other.list() == [kept]
    assert len(list((other.root / "blobs" / "sha256").iterdir())) == 2 + len(kept.layers)


def test_an_extra_tag_is_exported_under_the_tag_it_was_built_with(
    workshop: Any, store: Store, other: Store, tmp_path: Path
) -> None:
    entry = workshop.bundle()
    file = store.export(store.tag(entry, "prod"), tmp_path)
    assert file.name == "digits-prod.modelpack"
    assert other.import_(file).tag == entry.tag


def test_a_file_that_is_there_is_replaced_only_by_a_whole_one(
    workshop: Any, store: Store, archive: Path, tmp_path: Path
) -> None:
    before = archive.read_bytes()
    entry = workshop.bundle(code=b"will rot")
    blob = store.root / "blobs" / "sha256" / entry.layers[-1].digest.removeprefix("sha256:")
    blob.chmod(0o644)
    blob.write_bytes(b"rotten")
    with pytest.raises(DigestMismatchError):
        store.export(entry, archive)
    assert archive.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.modelpack", "home", "sources"]


def test_a_file_that_is_not_there_is_not_found(other: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no file"):
        other.import_(tmp_path / "none.modelpack")
    assert not other.root.exists()


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04".ljust(4096, b"x"), bytes(10_240)])
def test_a_file_that_is_no_archive_is_told_so(other: Store, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "notes.txt").write_bytes(data)
    with pytest.raises(RefusedError, match=r"'notes\.txt' is not an archive"):
        other.import_(tmp_path / "notes.txt")
    assert not other.root.exists()


def test_a_pipe_is_told_from_a_file(other: Store, archive: Path) -> None:
    """As from a shell's <(...): it cannot be read twice."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as out:
        out.write(archive.read_bytes()[:4096])
    with pytest.raises(StoreError, match="is not a file"):
        other.import_(Path(f"/dev/fd/{reader}"))
    os.close(reader)
    with pytest.raises(StoreError, match="cannot read"):
        other.import_(archive.parent)


# What is refused


def test_any_changed_byte_is_noticed(archive: Path, other: Store, tmp_path: Path) -> None:
    """Every byte of headers and documents, and samples of every block of data and padding."""
    data = archive.read_bytes()
    changed = tmp_path / "changed.modelpack"
    places = {*range(0, len(data), 509), *range(1024), *range(len(data) - 64, len(data))}
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            places |= set(range(member.offset, member.offset + 512, 7))
            if member.name in ("index.json", "oci-layout"):
                start = member.offset_data
                places |= set(range(start, start + member.size + 8))
    for place in sorted(places):
        for flip in (1, 0x20):
            bad = bytearray(data)
            bad[place] ^= flip
            changed.write_bytes(bad)
            with pytest.raises(RefusedError) as caught:
                other.import_(changed)
            assert caught.value.exit_code == 4, place
    assert is_untouched(other)


def test_a_changed_blob_is_named(archive: Path, other: Store) -> None:
    data = bytearray(archive.read_bytes())
    place = data.index(b"class Digits")
    data[place] ^= 1
    archive.write_bytes(data)
    with pytest.raises(DigestMismatchError, match=r"digest mismatch in 'a.modelpack': 'blobs/sha"):
        other.import_(archive)


def test_an_archive_that_is_cut_short_anywhere_is_refused(archive: Path, other: Store) -> None:
    data = archive.read_bytes()
    for length in [*range(0, len(data), 2560), *range(len(data) - 1030, len(data), 103)]:
        archive.write_bytes(data[:length])
        with pytest.raises(RefusedError):
            other.import_(archive)
    assert is_untouched(other)


def test_bytes_after_the_end_are_refused(archive: Path, other: Store) -> None:
    with archive.open("ab") as out:
        out.write(b"x" * 512)
    with pytest.raises(DigestMismatchError, match="after its end"):
        other.import_(archive)


def read(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        members = {m.name: tar.extractfile(m) for m in tar.getmembers() if m.isfile()}
        return {name: file.read() for name, file in members.items() if file is not None}


def rewrite(archive: Path, files: dict[str, bytes]) -> None:
    with archive.open("wb") as out:
        write_tar(out, [Member.of_bytes(path, data) for path, data in files.items()])


def craft(archive: Path, tars: list[bytes], **manifest_changes: Any) -> None:
    """Write an archive whose digests are all right, whatever its layers hold."""
    blobs = {sha256_digest(one): one for one in tars}
    listed = [Layer(CODE_TYPE, sha256_digest(one), len(one), "bundle/code") for one in tars]
    config = documents.config_bytes(Tag("digits", "1"), None, listed)
    blobs[sha256_digest(config)] = config
    manifest = documents.manifest_bytes(
        Blob(sha256_digest(config), len(config)), listed, {KIND: "bundle"}
    )
    manifest = canonical_json({**json.loads(manifest), **manifest_changes})
    blobs[sha256_digest(manifest)] = manifest
    top = Blob(sha256_digest(manifest), len(manifest))
    files = {
        "oci-layout": documents.LAYOUT,
        "index.json": index_bytes([documents.descriptor(Kind.BUNDLE, Tag("digits", "1"), top)]),
    }
    rewrite(
        archive,
        files
        | {f"blobs/sha256/{one.removeprefix('sha256:')}": data for one, data in blobs.items()},
    )


def layer(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    write_tar(buffer, [Member.of_bytes(path, data) for path, data in files.items()])
    return buffer.getvalue()


def test_a_crafted_archive_that_is_right_is_taken(archive: Path, other: Store) -> None:
    """The refusals below are for what they say, not for being crafted."""
    craft(archive, [layer({"bundle/code/a": b"1"}), layer({"bundle/code/b": b"2"})])
    assert str(other.import_(archive).tag) == "digits:1"


def test_a_hostile_layer_refuses_the_archive(
    hostile_tar: bytes, archive: Path, other: Store
) -> None:
    craft(archive, [hostile_tar])
    with pytest.raises(RefusedError):
        other.import_(archive)
    assert is_untouched(other)


def test_a_hostile_archive_is_refused(hostile_tar: bytes, archive: Path, other: Store) -> None:
    archive.write_bytes(hostile_tar)
    with pytest.raises(RefusedError):
        other.import_(archive)
    assert is_untouched(other)


def test_layers_that_cannot_stand_together_refuse_the_archive(archive: Path, other: Store) -> None:
    craft(archive, [layer({"bundle/code/a": b"1"}), layer({"bundle/code/A": b"2"})])
    with pytest.raises(RefusedError, match="only in the case"):
        other.import_(archive)


def test_a_layer_that_is_no_tar_refuses_the_archive(archive: Path, other: Store) -> None:
    craft(archive, [b"not a tar" * 100])
    with pytest.raises(RefusedError):
        other.import_(archive)


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {"mediaType": documents.CONFIG_TYPE, "digest": "sha256:" + "0" * 64, "size": 2}},
        {"layers": []},
        {"annotations": {KIND: "model"}},
        {"mediaType": "application/vnd.oci.image.index.v1+json"},
    ],
)
def test_documents_that_do_not_fit_refuse_the_archive(
    archive: Path, other: Store, changes: dict[str, Any]
) -> None:
    craft(archive, [layer({"bundle/code/a": b"1"})], **changes)
    with pytest.raises(RefusedError):
        other.import_(archive)
    assert is_untouched(other)


def test_blobs_that_are_missing_added_or_misnamed_refuse_the_archive(
    archive: Path, other: Store
) -> None:
    files = read(archive)
    blob = next(name for name in files if name.startswith("blobs/") and b"weights" in files[name])
    extra = b"an extra file"
    for changed in (
        {name: data for name, data in files.items() if name != blob},
        files | {f"blobs/sha256/{sha256_digest(extra)[7:]}": extra},
        files | {blob: extra},
        files | {"blobs/sha256/short": extra},
        files | {"service.py": extra},
        files | {"manifest.json": b"[]"},
        files | {"oci-layout": b"{}"},
        {name: data for name, data in files.items() if name != "oci-layout"},
        {name: data for name, data in files.items() if name != "index.json"},
        {},
    ):
        rewrite(archive, changed)
        with pytest.raises(RefusedError):
            other.import_(archive)
    assert is_untouched(other)


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index["manifests"][0]["annotations"].update(
            {"org.opencontainers.image.ref.name": "evil:1"}
        ),
        lambda index: index["manifests"][0]["annotations"].update({"dev.modelpack.alias": "true"}),
        lambda index: index["manifests"].append(index["manifests"][0]),
        lambda index: index["manifests"].clear(),
        lambda index: index["manifests"][0].update(size=True),
        lambda index: index["manifests"][0].update(urls=["http://elsewhere"]),
        lambda index: index.update(manifests=5),
        lambda index: index.update(schemaVersion=2.0),
    ],
)
def test_an_index_that_says_anything_else_refuses_the_archive(
    archive: Path, other: Store, change: Callable[[Any], None]
) -> None:
    files = read(archive)
    index = json.loads(files["index.json"])
    change(index)
    rewrite(archive, files | {"index.json": canonical_json(index)})
    with pytest.raises(RefusedError):
        other.import_(archive)
    assert is_untouched(other)


def test_the_largest_files_take_constant_memory(store: Store, other: Store, tmp_path: Path) -> None:
    """Build, export, import and unpack 300 MB with less than that to spare."""
    code = textwrap.dedent(
        """
        import hashlib, re, sys
        from pathlib import Path
        from modelpack.manifest import FileRecord, ModelRecord
        from modelpack.store import Store
        here, there, folder = map(Path, sys.argv[1:])
        size, digest = 300 * 2**20, hashlib.sha256()
        with (folder / "w.bin").open("wb") as out:
            out.truncate(size)
        with (folder / "w.bin").open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        record = FileRecord(path="w.bin", mode=0o644, size=size, sha256=digest)
        model = ModelRecord(name="big", framework="onnx", files=(record,))
        entry = Store(here).add_model(model, folder).entry
        file = Store(here).export(entry, folder)
        brought = Store(there).import_(file)
        Store(there).unpack(brought, folder / "out")
        # Not ru_maxrss: that one counts what the process was before it became this program.
        print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(store.root), str(other.root), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 100 * 1024
    shutil.rmtree(tmp_path / "out")


# Other people's tools

needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")


def skopeo(*arguments: str) -> bytes:
    done = subprocess.run(["skopeo", *arguments], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@needs_skopeo
def test_skopeo_reads_the_store_in_place(workshop: Any, store: Store) -> None:
    model = workshop.model()
    for entry, ref in (
        (workshop.bundle(models=(model,)), "digits"),
        (model, "models/clf"),
    ):
        raw = skopeo("inspect", "--raw", f"oci:{store.root}:{ref}:{entry.tag.version}")
        assert sha256_digest(raw) == entry.digest


@needs_skopeo
def test_skopeo_reads_and_writes_archives(
    workshop: Any, archive: Path, store: Store, other: Store, tmp_path: Path
) -> None:
    entry = store.find(Tag("digits"), Kind.BUNDLE)
    assert sha256_digest(skopeo("inspect", "--raw", f"oci-archive:{archive}")) == entry.digest
    copied = tmp_path / "copied.tar"
    skopeo("copy", f"oci:{store.root}:{entry.tag}", f"oci-archive:{copied}:{entry.tag}")
    assert other.import_(copied).digest == entry.digest


@needs_skopeo
def test_an_entry_that_skopeo_copied_into_the_store_is_one_of_ours(
    workshop: Any, store: Store, other: Store, tmp_path: Path
) -> None:
    entry = workshop.bundle(models=(workshop.model(),))
    mine = type(workshop)(tmp_path / "more", other).bundle("mine")
    skopeo("copy", f"oci:{store.root}:{entry.tag}", f"oci:{other.root}:{entry.tag}")
    assert [found.digest for found in other.list()] == [mine.digest, entry.digest]
    assert other.bundle_manifest(other.find(entry.tag, Kind.BUNDLE)).service == "service:Digits"
    assert other.find(mine.tag, Kind.BUNDLE).kind is Kind.BUNDLE


@pytest.mark.engine
@needs_skopeo
def test_a_registry_keeps_the_digest_of_an_entry(
    workshop: Any, store: Store, other: Store, tmp_path: Path
) -> None:
    registry = os.environ["ENGINE_REGISTRY"]
    entry = workshop.bundle(models=(workshop.model(),))
    place = f"docker://{registry}/modelpack-tests/store:{entry.tag.version}"
    skopeo("copy", "--dest-tls-verify=false", f"oci:{store.root}:{entry.tag}", place)
    raw = skopeo("inspect", "--raw", "--tls-verify=false", place)
    assert sha256_digest(raw) == entry.digest
    back = tmp_path / "back.tar"
    skopeo("copy", "--src-tls-verify=false", place, f"oci-archive:{back}")
    assert other.import_(back).digest == entry.digest
