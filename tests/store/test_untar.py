from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import DigestMismatchError, RefusedError
from modelpack.store.durable import open_folder
from modelpack.store.names import PathGuard
from modelpack.store.tar import Member, write_tar
from modelpack.store.untar import extract, read_tar


def unpack(data: bytes, into: Path) -> None:
    """Do what the store does with a layer."""
    guard = PathGuard("the archive", top="bundle")
    with open_folder(into) as top:
        for found, content in read_tar(io.BytesIO(data), "the archive"):
            guard.add(found.path, is_folder=found.is_folder)
            extract(found, content, top)


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    write_tar(buffer, [Member.of_bytes(f"bundle/{path}", data) for path, data in files.items()])
    return buffer.getvalue()


def contents(data: bytes) -> dict[str, bytes]:
    return {
        found.path: b"".join(content.chunks())
        for found, content in read_tar(io.BytesIO(data), "the archive")
        if not found.is_folder
    }


def test_a_hostile_archive_is_refused_and_nothing_escapes(
    hostile_tar: bytes, tmp_path: Path
) -> None:
    into = tmp_path / "outer" / "inner"
    into.mkdir(parents=True)
    with pytest.raises(RefusedError):
        unpack(hostile_tar, into)
    assert [p.name for p in tmp_path.iterdir()] == ["outer"]
    assert [p.name for p in (tmp_path / "outer").iterdir()] == ["inner"]
    assert {p.name for p in into.iterdir()} <= {"bundle"}
    assert not Path("/tmp/modelpack-escaped").exists()


NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=60
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh."))


@given(st.dictionaries(NAMES, st.binary(max_size=2000), max_size=5))
def test_what_was_written_is_read_again(files: dict[str, bytes]) -> None:
    try:
        data = packed(files)
    except RefusedError:
        return
    assert contents(data) == {f"bundle/{path}": content for path, content in files.items()}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_of_other_tools_are_read(form: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        info = tarfile.TarInfo("bundle/code/service.py")
        info.size, info.mtime, info.uid, info.uname = 3, 1_700_000_000, 1000, "somebody"
        archive.addfile(info, io.BytesIO(b"x=1"))
    assert contents(buffer.getvalue()) == {"bundle/code/service.py": b"x=1"}


def test_modes_are_normal_whatever_the_header_and_the_umask_say(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, mode in (("bundle/program", 0o777), ("bundle/open", 0o666), ("bundle/shut", 0)):
            info = tarfile.TarInfo(name)
            info.mode = mode
            archive.addfile(info)
    before = os.umask(0o077)
    try:
        unpack(buffer.getvalue(), tmp_path)
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "bundle").iterdir()}
    assert modes == {"program": 0o755, "open": 0o644, "shut": 0o644}
    assert stat.S_IMODE((tmp_path / "bundle").stat().st_mode) == 0o755


def test_nothing_is_written_through_a_link_that_is_there(tmp_path: Path) -> None:
    """Somebody who may write into the folder cannot lead the extractor out of it."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (inside / "bundle").symlink_to(outside)
    with pytest.raises(OSError):
        unpack(packed({"a": b"1"}), inside)
    assert list(outside.iterdir()) == []


def test_nothing_that_is_there_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "a").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        unpack(packed({"a": b"yours"}), tmp_path)
    assert (tmp_path / "bundle" / "a").read_bytes() == b"mine"


def test_an_archive_that_is_cut_short_is_refused() -> None:
    data = packed({"a": b"1" * 700, "b": b"2"})
    end = data.rstrip(b"\0")
    for length in (*range(0, len(end), 97), len(end), len(end) + 511):
        with pytest.raises(DigestMismatchError):
            contents(data[:length])


def test_a_changed_header_is_refused() -> None:
    data = packed({"a": b"1"})
    for place in range(512):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(RefusedError):
            contents(bytes(changed))


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(DigestMismatchError, match="after its end"):
        contents(packed({"a": b"1"}) + b"x".ljust(512, b"\0"))


def test_a_size_that_lies_is_noticed(tmp_path: Path) -> None:
    info = tarfile.TarInfo("bundle/a")
    info.size = 2**40
    with pytest.raises(DigestMismatchError, match="ends too early"):
        unpack(info.tobuf() + b"few bytes".ljust(512, b"\0"), tmp_path)


def test_an_enormous_extended_header_is_refused_before_it_is_read() -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 2**32
    with pytest.raises(RefusedError, match="a header of"):
        contents(info.tobuf(tarfile.USTAR_FORMAT).ljust(4096, b"\0"))
