"""F32, F33, S3, S4: archives from anywhere, changed, cut short, hostile, or bombs."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import RefusedError
from modelpack.manifest import ModelRecord, sha256_digest
from modelpack.store import Entry, Kind, Layer, Store, documents
from modelpack.store.base import CODE_TYPE, KIND
from modelpack.store.durable import Blob
from modelpack.store.layout import index_bytes
from modelpack.store.tar import Member, header, write_tar
from modelpack.tag import Tag

MAX_SMALL_BYTES = 20 * 1024


@pytest.fixture
def small(shelf: Any, memory: Path) -> tuple[bytes, Entry]:
    """The smallest archive: a model of one short file, which has one layer."""
    folder, files = shelf.files({"labels.json": b"[0,1]"})
    record = ModelRecord(name="digits", framework="onnx", files=files)
    entry: Entry = shelf.store.add_model(record, folder, version="1").entry
    data = shelf.store.export(entry, memory / "small.modelpack").read_bytes()
    assert len(data) <= MAX_SMALL_BYTES
    return data, entry


@pytest.fixture
def other(memory: Path) -> Store:
    """A store with nothing in it, to import into."""
    return Store(memory / "other")


def is_untouched(store: Store) -> bool:
    """Say whether nothing was stored, and nothing left."""
    blobs = store.root / "blobs" / "sha256"
    left = [*(store.root / ".staging").iterdir(), *blobs.iterdir()] if blobs.exists() else []
    return store.list() == [] and left == []


def import_all(
    store: Store, file: Path, archives: Iterable[bytes], entry: Entry
) -> tuple[int, int]:
    """Import every one of them; return how many were tried and how many of those were taken."""
    tried = taken = 0
    for data in archives:
        file.write_bytes(data)
        tried += 1
        try:
            found = store.import_(file)
        except RefusedError:  # exit status 4
            continue
        assert (found.tag, found.digest) == (entry.tag, entry.digest)
        store.delete(found)
        store.gc()
        taken += 1
    return tried, taken


def flipped(data: bytes, bits: Iterable[int]) -> Iterable[bytes]:
    for bit in bits:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def test_f32_a_flipped_bit_refuses_the_archive(
    small: tuple[bytes, Entry], other: Store, memory: Path
) -> None:
    """A bit here and there; the next test tries them all."""
    data, entry = small
    bits = range(3, len(data) * 8, 61)
    tried, taken = import_all(other, memory / "flipped", flipped(data, bits), entry)
    print(f"{tried} flips, {taken} taken")
    assert taken == 0
    assert is_untouched(other)


@pytest.mark.long
def test_f32_every_flipped_bit_refuses_the_archive(
    small: tuple[bytes, Entry], other: Store, memory: Path
) -> None:
    data, entry = small
    bits = range(len(data) * 8)
    tried, taken = import_all(other, memory / "flipped", flipped(data, bits), entry)
    print(f"{tried} flips, {taken} taken, which gave the same tag and digest")
    assert is_untouched(other)


def test_f32_a_changed_byte_is_said_with_its_place(
    small: tuple[bytes, Entry], other: Store, memory: Path
) -> None:
    data, entry = small
    layer = entry.layers[-1].digest.removeprefix("sha256:")
    changed = data.replace(b"[0,1]", b"[0,2]")
    (memory / "changed").write_bytes(changed)
    with pytest.raises(RefusedError, match=f"digest mismatch in 'changed': .*{layer}"):
        other.import_(memory / "changed")
    assert is_untouched(other)


def test_f33_an_archive_that_is_cut_short_is_refused(
    small: tuple[bytes, Entry], other: Store, memory: Path
) -> None:
    data, entry = small
    lengths = sorted({*range(0, len(data), 47), *range(0, len(data), 512), len(data) - 1})
    tried, taken = import_all(other, memory / "cut", (data[:one] for one in lengths), entry)
    print(f"{tried} lengths, {taken} taken")
    assert taken == 0
    assert is_untouched(other)


@pytest.mark.long
def test_f33_an_archive_that_is_cut_short_anywhere_is_refused(
    small: tuple[bytes, Entry], other: Store, memory: Path
) -> None:
    data, entry = small
    cut = (data[:length] for length in range(len(data)))
    tried, taken = import_all(other, memory / "cut", cut, entry)
    print(f"{tried} lengths, {taken} taken")
    assert taken == 0
    assert is_untouched(other)


# --- hostile layers and archives -----------------------------------------------------------------

Add = Callable[[tarfile.TarFile], None]


def member(name: str, data: bytes = b"x", kind: bytes = tarfile.REGTYPE, **fields: Any) -> Add:
    def add(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mode = kind, 0o644
        info.size = len(data) if kind == tarfile.REGTYPE else 0
        for field, value in fields.items():
            setattr(info, field, value)
        archive.addfile(info, io.BytesIO(data))

    return add


def link(name: str, target: str) -> Add:
    return member(name, kind=tarfile.SYMTYPE, linkname=target)


PLAIN = member("bundle/code/a.py")
HOSTILE: dict[str, list[Add]] = {
    "climbs": [member("bundle/../../escaped")],
    "absolute": [member("/tmp/modelpack-escaped")],
    "a link out": [link("bundle/code", "/tmp"), member("bundle/code/escaped")],
    "a link inside": [link("bundle/link", "code")],
    "a chain of links": [
        link("bundle/a", "."),
        link("bundle/a/b", ".."),
        link("bundle/a/b/c", ".."),
        member("bundle/a/b/c/escaped"),
    ],
    "links that only end outside when resolved": [
        *(link(f"bundle/{'d' * 200}{one}", "d" * 200) for one in "abcdefgh"),
        link("bundle/long", "/".join(["d" * 200] * 20) + "/../../../../.."),
        member("bundle/long/escaped"),
    ],
    "a link that is replaced by a folder": [
        link("bundle/x", "/tmp"),
        member("bundle/x", kind=tarfile.DIRTYPE),
        member("bundle/x/escaped"),
    ],
    "a hard link": [PLAIN, member("bundle/l", kind=tarfile.LNKTYPE, linkname="bundle/code/a.py")],
    "a hard link out": [member("bundle/l", kind=tarfile.LNKTYPE, linkname="/etc/passwd")],
    "a device": [member("bundle/dev", kind=tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "a block device": [member("bundle/dev", kind=tarfile.BLKTYPE, devmajor=8)],
    "a fifo": [member("bundle/fifo", kind=tarfile.FIFOTYPE)],
    "a sparse file": [member("bundle/sparse", kind=tarfile.GNUTYPE_SPARSE)],
    "twice": [PLAIN, PLAIN],
    "twice but for the case": [PLAIN, member("bundle/code/A.PY")],
    "twice but for the form": [member("bundle/\u00e9"), member("bundle/e\u0301")],
    "a file and a folder": [PLAIN, member("bundle/code")],
    "a NUL": [member("bundle/a", pax_headers={"path": "bundle/a\0b"})],
    "a name that is too long": [member("bundle/" + "n" * 256)],
    "setuid": [member("bundle/program", mode=0o4755)],
    "a whiteout": [member("bundle/code/.wh.a.py")],
    "beside the bundle": [member("etc/cron.d/escaped")],
    "a negative size": [member("bundle/a", pax_headers={"size": "-1"})],
    "a size of eight exbibytes": [member("bundle/a", pax_headers={"size": str(2**63)})],
}


def tar_of(adds: Iterable[Add]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for add in adds:
            add(archive)
    return buffer.getvalue()


def archive_of(layer: bytes) -> bytes:
    """Return an archive whose digests are all right, whatever its layer holds."""
    listed = [Layer(CODE_TYPE, sha256_digest(layer), len(layer), "bundle/code")]
    tag = Tag("digits", "1")
    config = documents.config_bytes(tag, None, listed)
    manifest = documents.manifest_bytes(
        Blob(sha256_digest(config), len(config)), listed, {KIND: "bundle"}
    )
    top = Blob(sha256_digest(manifest), len(manifest))
    index = index_bytes([documents.descriptor(Kind.BUNDLE, tag, top)])
    blobs = {f"blobs/sha256/{sha256_digest(one)[7:]}": one for one in (layer, config, manifest)}
    files = {"oci-layout": documents.LAYOUT, "index.json": index, **blobs}
    buffer = io.BytesIO()
    write_tar(buffer, [Member.of_bytes(path, data) for path, data in files.items()])
    return buffer.getvalue()


@pytest.mark.parametrize("what", HOSTILE)
def test_s03_a_hostile_layer_refuses_the_archive_as_a_whole(
    what: str, other: Store, memory: Path
) -> None:
    (memory / "hostile").write_bytes(archive_of(tar_of(HOSTILE[what])))
    with pytest.raises(RefusedError):
        other.import_(memory / "hostile")
    assert is_untouched(other)
    assert not Path("/tmp/modelpack-escaped").exists()
    assert not [*memory.rglob("escaped")]


@pytest.mark.parametrize("what", HOSTILE)
def test_s03_hostile_members_of_the_archive_itself_refuse_it(
    what: str, small: tuple[bytes, Entry], other: Store, memory: Path
) -> None:
    """Before and after what a whole archive holds."""
    members, hostile = small[0].rstrip(b"\0"), tar_of(HOSTILE[what])
    members += bytes(-len(members) % 512)
    for data in (hostile.rstrip(b"\0").ljust(512, b"\0") + small[0], members + hostile):
        (memory / "hostile").write_bytes(data)
        with pytest.raises(RefusedError):
            other.import_(memory / "hostile")
    assert is_untouched(other)


def test_s03_a_layer_that_is_right_is_taken(other: Store, memory: Path) -> None:
    """The refusals are for what the layers hold, not for how they were made."""
    (memory / "right").write_bytes(archive_of(tar_of([PLAIN])))
    assert str(other.import_(memory / "right").tag) == "digits:1"


# --- bombs ---------------------------------------------------------------------------------------

IMPORT = textwrap.dedent(
    """
    import re, sys
    from pathlib import Path
    from modelpack.errors import RefusedError
    from modelpack.store import Store
    before = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    try:
        Store(Path(sys.argv[2])).import_(Path(sys.argv[1]))
    except RefusedError as error:
        print(error.message, file=sys.stderr)
        after = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
        print(after - before)
    """
)


def refused_within(file: Path, store: Store) -> int:
    """Import in a process of its own; return the KiB that this took more than nothing at all."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, str(file), str(store.root)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},
    )
    return int(done.stdout)


def lying_header(size: int) -> bytes:
    return header("bundle/code/huge", 0o644, size, b"0") + b"only a little"


def many_paths() -> bytes:
    """Return a tar of deep folders that no two files share."""
    deep = "/".join("d" * 9 for _ in range(390))
    heads = (header(f"bundle/{one}/{deep}", 0o644, 0, b"0") for one in range(500))
    return b"".join(heads) + bytes(1024)


BOMBS: dict[str, Callable[[], bytes]] = {
    "a compressed archive": lambda: gzip.compress(bytes(300_000_000), 1),
    "a compressed layer": lambda: archive_of(gzip.compress(bytes(300_000_000), 1)),
    "a size that the file has not": lambda: lying_header(2**43),
    "a size that a layer has not": lambda: archive_of(lying_header(2**43)),
    "an index that is too long": lambda: header("index.json", 0o644, 2**27, b"0") + bytes(2**27),
    "paths that fill the memory": lambda: archive_of(many_paths()),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_s04_a_bomb_is_refused_while_memory_stays_flat(
    bomb: str, other: Store, memory: Path
) -> None:
    (memory / "bomb").write_bytes(BOMBS[bomb]())
    limit_kib = 160 * 1024 if bomb == "paths that fill the memory" else 16 * 1024
    assert refused_within(memory / "bomb", other) < limit_kib
    assert is_untouched(other)
