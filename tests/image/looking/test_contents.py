from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelpack import paths
from modelpack.errors import DigestMismatchError, RefusedError
from modelpack.image.looking import contents
from modelpack.image.looking.contents import LayerContents, scan
from modelpack.image.looking.remembered import contents_of
from modelpack.image.reading import Kind, ReadLayer
from modelpack.store.durable import Blob


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "cache"))


def layer_of(data: bytes, diff_id: str | None = None) -> ReadLayer:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"

    def chunks() -> Iterator[bytes]:
        return (data[at : at + 1000] for at in range(0, len(data), 1000))

    return ReadLayer(Blob(digest, len(data)), "tar", diff_id or digest, chunks)


def test_every_path_is_known_with_its_facts(made: Any) -> None:
    member, data = made.file("./etc/name", b"me", mode=0o755)
    member.uid, member.gid = 7, 8

    found = scan(layer_of(made.tar(made.folder("./etc/"), (member, data), made.link("l", "etc"))))

    assert list(found.files) == ["etc", "etc/name", "l"]
    name = found.files["etc/name"]
    assert (name.kind, name.size, name.mode, name.user, name.group) == (Kind.FILE, 2, 0o755, 7, 8)
    assert name.sha256 == hashlib.sha256(b"me").hexdigest()
    assert (found.files["l"].kind, found.files["l"].link) == (Kind.SYMLINK, "etc")
    assert found.file_bytes == 2
    assert (found.whiteouts, found.opaque, found.odd) == ([], [], [])


def test_whiteouts_are_no_files(made: Any) -> None:
    found = scan(
        layer_of(
            made.tar(
                made.file("a/.wh.gone"),
                made.file("b/.wh..wh..opq"),
                made.file(".wh..wh.plnk/1.2"),
                made.file("c/.wh."),
            )
        )
    )

    assert found.whiteouts == ["a/gone"]
    assert found.opaque == ["b"]
    assert list(found.files) == [".wh..wh.plnk/1.2"]


@pytest.mark.parametrize("path", ["../../etc/passwd", "a/../../b", "x/..", "a" * 5000])
def test_a_path_that_climbs_out_is_odd_and_left_out(made: Any, path: str) -> None:
    found = scan(layer_of(made.tar(made.file(path, b"x"), made.file("good", b"y"))))

    assert list(found.files) == ["good"]
    assert len(found.odd) == 1
    assert "leads out of the image" in found.odd[0]


def test_absolute_paths_mean_the_root_of_the_image(made: Any) -> None:
    assert list(scan(layer_of(made.tar(made.file("/etc/x", b"")))).files) == ["etc/x"]


def test_what_no_bundle_holds_is_odd(made: Any) -> None:
    found = scan(
        layer_of(
            made.tar(
                made.file("bundle/venv/bin/sudo", b"x", mode=0o4755),
                made.device("bundle/sda"),
                made.hardlink("bundle/passwd", "../../etc/passwd"),
            )
        )
    )

    assert [one.partition("' ")[2] for one in found.odd] == [
        "runs with the rights of its owner (setuid)",
        "is a device",
        "is a link to a place outside of the image",
    ]


def test_names_cannot_steer_a_terminal(made: Any) -> None:
    found = scan(layer_of(made.tar(made.file("../\x1b[2J\n", b""))))

    assert found.odd[0].isprintable()


def test_a_bomb_of_names_ends(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = made.tar(*(made.file(f"f{n}") for n in range(50)))
    monkeypatch.setattr(contents, "MAX_NAME_BYTES", 5000)

    with pytest.raises(RefusedError, match="more names than any image has"):
        scan(layer_of(data))


def test_only_short_lists_are_kept_in_memory(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MAX_TEXT_BYTES", 100)
    monkeypatch.setattr(contents, "MAX_TEXTS_BYTES", 150)
    paths = [f"p/{name}-1.dist-info/RECORD" for name in ("a", "b", "long")]
    sizes = dict(zip(paths, (100, 100, 101), strict=True))

    found = scan(layer_of(made.tar(*(made.file(p, b"x" * n) for p, n in sizes.items()))))

    assert found.texts == {paths[0]: b"x" * 100}
    assert list(found.files) == paths


def test_a_layer_with_other_bytes_is_refused_and_not_remembered(made: Any) -> None:
    layer = layer_of(made.tar(made.file("a", b"x")), diff_id="sha256:" + "0" * 64)

    for _ in range(2):
        with pytest.raises(DigestMismatchError):
            contents_of(layer)


# What is remembered.


def never(layer: ReadLayer) -> LayerContents:
    pytest.fail("it was read again")


def test_a_layer_is_read_once(made: Any) -> None:
    layer = layer_of(
        made.tar(
            made.file("a/x-1.dist-info/RECORD", b"x.py,,\n\xff"),
            made.link("l", "a"),
            made.file("b/.wh.c"),
            made.file("d/.wh..wh..opq"),
            made.file("../odd"),
        )
    )
    first = contents_of(layer)

    assert contents_of(layer, never) == first == scan(layer)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"form": 1}', b'{"form": 0}', b"null"])
def test_a_memory_that_is_damaged_is_made_again(made: Any, damage: bytes) -> None:
    layer = layer_of(made.tar(made.file("a", b"x")))
    first = contents_of(layer)
    (kept,) = (paths.cache_dir() / "image/contents").iterdir()
    kept.write_bytes(damage)

    assert contents_of(layer) == first
    assert contents_of(layer, never) == first


def test_what_was_found_in_another_layer_is_not_believed(made: Any) -> None:
    layers = [layer_of(made.tar(made.file(name, b"x"))) for name in ("a", "b")]
    files = []
    for layer in layers:
        contents_of(layer)
        files.append(paths.cache_dir() / "image/contents" / f"{layer.diff_id[7:]}.json")
    files[1].write_bytes(files[0].read_bytes())

    assert list(contents_of(layers[1]).files) == ["b"]


def test_only_so_much_is_remembered(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelpack.image.looking import remembered

    monkeypatch.setattr(remembered, "MAX_LAYERS", 3)
    for number in range(6):
        contents_of(layer_of(made.tar(made.file(f"{number}", b"x"))))

    assert len(list((paths.cache_dir() / "image/contents").iterdir())) == 3


def test_a_cache_that_cannot_be_written_is_done_without(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "file"))

    assert list(contents_of(layer_of(made.tar(made.file("a", b"x")))).files) == ["a"]
