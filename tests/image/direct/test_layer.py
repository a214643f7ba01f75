"""The tar of a layer: what may stand in it, and that others read it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from modelpack.errors import BuildError, RefusedError
from modelpack.image.direct.layer import LayerWriter, Part, write_parts
from modelpack.store.tar import Member, write_tar


def tar_of(*parts: Part) -> bytes:
    out = io.BytesIO()
    write_parts(out, parts)
    return out.getvalue()


def test_files_are_written_as_in_a_bundles_own_layers() -> None:
    data = {"bundle/a/b.txt": b"b" * 1000, "bundle/a.txt": b"", "bundle/" + "x" * 120: b"long"}
    own = io.BytesIO()
    write_tar(own, [Member.of_bytes(path, content) for path, content in data.items()])
    assert tar_of(*(Part.of_bytes(*one) for one in data.items())) == own.getvalue()


def test_a_link_is_read_by_others(tmp_path: Path) -> None:
    long = "bundle/" + "y" * 110
    data = tar_of(
        Part.of_link("bundle/python", "/usr/bin/python3.11"), Part.of_link(long, "/target")
    )
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        links = {one.name: one.linkname for one in tar if one.issym()}
    assert links == {"bundle/python": "/usr/bin/python3.11", long: "/target"}


@pytest.mark.parametrize(
    "path",
    [
        "etc/passwd",
        "bundle",
        "/bundle/x",
        "bundle/../x",
        "bundle/.wh.models",
        "bundle//x",
        "bundle/\0",
        "bundlex/y",
    ],
)
def test_nothing_outside_the_bundle_or_with_a_meaning_of_its_own(path: str) -> None:
    with pytest.raises(RefusedError):
        tar_of(Part.of_bytes(path, b""))


def test_a_path_is_there_once_and_is_one_thing() -> None:
    with pytest.raises(RefusedError, match="is there twice"):
        tar_of(Part.of_bytes("bundle/a", b""), Part.of_bytes("bundle/a", b""))
    with pytest.raises(RefusedError, match="a file and a folder"):
        tar_of(Part.of_bytes("bundle/a", b""), Part.of_bytes("bundle/a/b", b""))


@pytest.mark.parametrize("target", ["/" + "x" * 100, "/bär"])
def test_a_link_that_does_not_fit_is_refused(target: str) -> None:
    with pytest.raises(RefusedError):
        tar_of(Part.of_link("bundle/link", target))


@pytest.mark.parametrize("size", [10, 3 * 1024 * 1024])
def test_a_file_with_other_bytes_than_its_record_says_ends_it(tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(size))
    with pytest.raises(BuildError, match="is not what the record of its package says"):
        tar_of(Part("bundle/file", size, file, sha256="0" * 64))


def test_a_file_that_became_shorter_ends_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    with pytest.raises(BuildError):
        tar_of(Part("bundle/file", 4, tmp_path / "file"))


def test_a_piece_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "many").write_bytes(b"onetwothree")
    data = tar_of(Part("bundle/two", 3, tmp_path / "many", offset=3))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.extractfile("bundle/two").read() == b"two"  # type: ignore[union-attr]


def test_the_writer_counts_and_hashes_what_it_wrote(tmp_path: Path) -> None:
    import hashlib

    pieces = [b"small", b"x" * 1_500_000, b"", b"end" * 400_000]
    with LayerWriter(tmp_path / "layer") as out:
        for piece in pieces:
            out.write(piece)
        digest = out.digest()
    data = b"".join(pieces)
    assert (tmp_path / "layer").read_bytes() == data
    assert (out.size, digest) == (len(data), f"sha256:{hashlib.sha256(data).hexdigest()}")
