"""Foreign archives: what is written, and what refuses them as a whole."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from modelpack.errors import RefusedError
from modelpack.importers import unpacking


def tar_with(path: Path, *members: tarfile.TarInfo, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as out:  # type: ignore[call-overload]
        for member in members:
            out.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(
    name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0
) -> tarfile.TarInfo:
    one = tarfile.TarInfo(name)
    one.type, one.linkname, one.size = kind, target, size
    return one


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_is_unpacked_however_it_is_packed(tmp_path: Path, mode: str) -> None:
    path = tar_with(
        tmp_path / "a", member("./d/f", size=5), member("./", tarfile.DIRTYPE), mode=mode
    )
    unpacking.unpack(path, tmp_path / "into")

    assert (tmp_path / "into" / "d" / "f").read_bytes() == b"xxxxx"


@pytest.mark.parametrize(
    "hostile",
    [
        member("../out"),
        member("/abs"),
        member("a/../../out"),
        member("link", tarfile.SYMTYPE, "/etc"),
        member("link", tarfile.LNKTYPE, "other"),
        member("fifo", tarfile.FIFOTYPE),
        member("dev", tarfile.CHRTYPE),
        member("a\\..\\..\\out/.."),
    ],
    ids=lambda one: one.name,
)
def test_a_hostile_tar_is_refused(tmp_path: Path, hostile: tarfile.TarInfo) -> None:
    path = tar_with(tmp_path / "a.tar", hostile)
    before = set(tmp_path.rglob("*"))

    with pytest.raises(RefusedError):
        unpacking.unpack(path, tmp_path / "into")
    assert {one for one in tmp_path.rglob("*") if one.is_file()} <= before


def test_two_names_that_differ_only_in_case_are_refused(tmp_path: Path) -> None:
    path = tar_with(tmp_path / "a.tar", member("Model"), member("model"))

    with pytest.raises(RefusedError):
        unpacking.unpack(path, tmp_path / "into")


@pytest.mark.parametrize("name", ["../out", "/abs", "a/../../out"])
def test_a_hostile_zip_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")

    with pytest.raises(RefusedError):
        unpacking.unpack(path, tmp_path / "into")
    assert not (tmp_path / "out").exists()


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, b"/etc/passwd")

    with pytest.raises(RefusedError, match="not a regular file"):
        unpacking.unpack(path, tmp_path / "into")


def test_an_archive_that_swells_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_BYTES", 10 * 1024 * 1024)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(64 * 1024 * 1024))
    assert path.stat().st_size < 100_000

    with pytest.raises(RefusedError, match="more than"):
        unpacking.unpack(path, tmp_path / "into")
    assert (tmp_path / "into" / "zeros").stat().st_size <= 11 * 1024 * 1024


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 3)

    with pytest.raises(RefusedError, match="members"):
        unpacking.unpack(tar_with(tmp_path / "a", *map(member, "abcd")), tmp_path / "into")


@pytest.mark.parametrize("cut", [30, 200, 600])
def test_a_cut_archive_is_refused(tmp_path: Path, cut: int) -> None:
    path = tar_with(tmp_path / "a.tar", member("f", size=2000), mode="w:gz")
    path.write_bytes(path.read_bytes()[:-cut] if cut < path.stat().st_size else b"\x1f\x8b")

    with pytest.raises(RefusedError):
        unpacking.unpack(path, tmp_path / "into")
