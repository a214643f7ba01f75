"""What of an installed folder gets into a layer, when the folder is not as uv leaves it."""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modelpack.errors import BuildError, ModelpackError, RefusedError
from modelpack.image.direct.layer import Part
from modelpack.image.direct.normalising import installed_parts

SITE = "lib/python3.11/site-packages"
Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Return a function that writes a prefix with one package, ``tiny``."""

    def make(files: dict[str, bytes], record: str | None = None) -> Path:
        root = tmp_path / "prefix"
        info = f"{SITE}/tiny-1.0.dist-info"
        everything = {f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"}
        everything |= {f"{SITE}/{path}": data for path, data in files.items()}
        lines = record or "".join(line(path, data) for path, data in files.items())
        everything[f"{info}/RECORD"] = (lines + "tiny-1.0.dist-info/RECORD,,\n").encode()
        for path, data in everything.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        return root

    return make


def line(path: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    return f"{path},sha256={digest},{len(data)}\n"


def never(name: str) -> Path:
    raise AssertionError(f"'{name}' was to be installed again")


def parts_of(root: Path, python: str = "3.11") -> dict[str, Part]:
    return {part.path: part for part in installed_parts(root, python, never)}


@pytest.mark.parametrize(
    "path", ["../../../../outside", "/etc/hostname", "../../../../prefix-2/x", "x/../../../../../y"]
)
def test_a_record_that_points_elsewhere_is_refused(tree: Tree, path: str) -> None:
    (tree({}).parent / "outside").write_bytes(b"not theirs")
    root = tree({}, record=f"{path},,\n")
    with pytest.raises(RefusedError, match="lies outside the environment"):
        parts_of(root)


def test_a_link_is_refused(tree: Tree) -> None:
    root = tree({"tiny.py": b""})
    (root / SITE / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(RefusedError, match="no plain file"):
        parts_of(root)


def test_a_link_to_a_folder_is_refused(tree: Tree) -> None:
    root = tree({"tiny.py": b""}, record="etc/hostname,,\n")
    (root / SITE / "etc").symlink_to("/etc")
    with pytest.raises(RefusedError, match="no plain file"):
        parts_of(root)


def test_a_file_that_is_missing_is_said(tree: Tree) -> None:
    with pytest.raises(BuildError, match=r"tiny\.py' was not installed") as caught:
        parts_of(tree({}, record="tiny.py,,\n"))
    assert caught.value.hint


@pytest.mark.parametrize(
    "record", ["tiny.py,sha256=nonsense,0\n", "tiny.py,md5=abc,0\n", "tiny.py\n"]
)
def test_a_record_without_a_digest_gets_one(tree: Tree, record: str) -> None:
    parts = parts_of(tree({"tiny.py": b"X = 1\n"}, record=record))
    written = parts["bundle/venv/lib/python3.11/site-packages/tiny-1.0.dist-info/RECORD"].source
    assert isinstance(written, bytes)
    assert line("tiny.py", b"X = 1\n").encode() in written


def test_files_that_no_record_names_are_kept_but_for_litter(tree: Tree) -> None:
    root = tree({"tiny.py": b""})
    for path in (
        "forgotten.py",
        "__pycache__/tiny.cpython-311.pyc",
        ".lock",
        "tiny-1.0.dist-info/X",
    ):
        (root / SITE / path).parent.mkdir(exist_ok=True)
        (root / SITE / path).write_bytes(b"")
    (root / ".lock").write_bytes(b"")
    names = {path.removeprefix(f"bundle/venv/{SITE}/") for path in parts_of(root)}
    assert names == {"tiny.py", "forgotten.py", "tiny-1.0.dist-info/RECORD"}


def test_how_it_was_installed_stays_out(tree: Tree) -> None:
    info = "tiny-1.0.dist-info"
    files = {
        f"{info}/{name}": b"x"
        for name in (
            "REQUESTED",
            "direct_url.json",
            "uv_cache.json",
            "provenance_url.json",
            "WHEEL",
        )
    }
    parts = parts_of(tree(files))
    assert {path.rpartition("/")[2] for path in parts} == {"RECORD", "WHEEL"}


def test_the_folder_is_that_of_the_images_python(tree: Tree) -> None:
    parts = parts_of(tree({"tiny.py": b""}), python="3.13")
    assert "bundle/venv/lib/python3.13/site-packages/tiny.py" in parts


def test_metadata_is_never_executable(tree: Tree) -> None:
    root = tree({"tiny-1.0.dist-info/WHEEL": b"", "tiny.so": b""})
    for name in ("tiny-1.0.dist-info/WHEEL", "tiny.so"):
        (root / SITE / name).chmod(0o777)
    modes = {path.rpartition("/")[2]: part.mode for path, part in parts_of(root).items()}
    assert (modes["WHEEL"], modes["tiny.so"]) == (0o644, 0o755)


LONG = b"#!/bin/sh\n'''exec' \"/a very long/path/python\" \"$0\" \"$@\"\n' '''\n"


@pytest.mark.parametrize(
    ("start", "wanted"),
    [
        (f"#!{sys.executable}\n".encode(), b"#!/bundle/venv/bin/python\n"),
        (b"#!/opt/x/bin/python3.11\n", b"#!/bundle/venv/bin/python\n"),
        (LONG, b"#!/bundle/venv/bin/python\n"),
        (b"#!/usr/bin/env python\n", b"#!/usr/bin/env python\n"),
        (b"#!/bin/bash\n", b"#!/bin/bash\n"),
        (b"\x7fELF", b"\x7fELF"),
    ],
)
def test_programs_start_with_the_images_python(tree: Tree, start: bytes, wanted: bytes) -> None:
    data = start + b"rest\n"
    root = tree({}, record=line("../../../bin/tool", data))
    (root / "bin").mkdir()
    (root / "bin/tool").write_bytes(data)
    part = parts_of(root)["bundle/venv/bin/tool"]
    found = part.source if isinstance(part.source, bytes) else part.source.read_bytes()
    assert found == wanted + b"rest\n"


def test_a_changed_program_is_found_before_it_is_rewritten(tree: Tree) -> None:
    root = tree({}, record=line("../../../bin/tool", b"#!/opt/python\nhonest\n"))
    (root / "bin").mkdir()
    (root / "bin/tool").write_bytes(b"#!/opt/python\nother!\n")
    with pytest.raises(BuildError, match="is not what the record of its package says"):
        parts_of(root)


def test_a_folder_that_uv_did_not_fill_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelpackError, match="where nobody looks"):
        parts_of(tmp_path)
