"""Packages that no index has: where they are found, and that they are the same each time."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive.local_wheels import local_wheels, normal_wheel, wheel_of
from modelpack.errors import BuildError, NotFoundError

BACKEND = """
import pathlib, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "lib-0.3-py3-none-any.whl"
    info = "lib-0.3.dist-info"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: lib\\nVersion: 0.3\\n")
        wheel.write("lib.py")
        wheel.writestr(f"{info}/RECORD", "")
    pathlib.Path("litter.txt").write_text("left by the backend")
    return name
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "lib"
version = "0.3"
"""


@pytest.fixture
def package(tmp_path: Path, index: Any) -> Path:
    """A package with a build backend of its own, so that building it needs no index."""
    folder = tmp_path / "libs" / "lib"
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "lib.py").write_text("X = 1\n")
    return folder


def test_wheels_of_the_folder_are_there_to_be_taken(index: Any, tmp_path: Path) -> None:
    root = tmp_path / "project"
    file = index.beside(root / "wheels", "corp-lib", "1.0")
    [wheel] = local_wheels(root, [])
    assert (wheel.name, wheel.version, wheel.is_required) == ("corp-lib", "1.0", False)
    assert wheel.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert wheel.path == file


def test_a_wheel_that_is_named_is_required(index: Any, tmp_path: Path) -> None:
    index.beside(tmp_path / "wheels", "corp-lib", "1.0")
    [wheel] = local_wheels(tmp_path, ["wheels/corp_lib-1.0-py3-none-any.whl"])
    assert wheel.is_required


def test_a_project_without_any_has_none(tmp_path: Path) -> None:
    assert local_wheels(tmp_path, []) == ()


@pytest.mark.parametrize("path", ["./nowhere", "wheels/gone-1.0-py3-none-any.whl"])
def test_what_is_not_there_is_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(NotFoundError, match="is not there"):
        local_wheels(tmp_path, [path])


def test_two_versions_of_a_package_are_refused(index: Any, tmp_path: Path) -> None:
    for version in ("1.0", "1.1"):
        index.beside(tmp_path / "wheels", "corp-lib", version)
    with pytest.raises(BuildError, match="two versions of one package"):
        local_wheels(tmp_path, [])


def test_two_files_of_one_name_are_refused(index: Any, tmp_path: Path) -> None:
    index.beside(tmp_path / "wheels", "corp-lib", "1.0")
    index.beside(tmp_path / "other", "corp-lib", "1.0", requires=("tiny",))
    with pytest.raises(BuildError, match="with other content"):
        local_wheels(tmp_path, ["./other/corp_lib-1.0-py3-none-any.whl"])


@pytest.mark.parametrize("name", ["corp.whl", "corp-1.0.whl", "corp_lib-1.0-py3-none-any.whl"])
def test_what_is_no_wheel_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"not a zip file")
    with pytest.raises(BuildError, match="wheel"):
        wheel_of(file)


def test_a_folder_that_is_no_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    with pytest.raises(BuildError, match="is not a package"):
        local_wheels(tmp_path, ["./code"])


def test_a_package_is_built_once_and_leaves_nothing_in_its_folder(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(path.name for path in package.iterdir())
    [wheel] = local_wheels(tmp_path, ["./libs/lib"])
    assert (wheel.name, wheel.version, wheel.is_required) == ("lib", "0.3", True)
    assert sorted(path.name for path in package.iterdir()) == before

    monkeypatch.setattr(
        "modelpack.archive.local_wheels.run_uv", lambda *_, **__: pytest.fail("ran")
    )
    assert local_wheels(tmp_path, ["./libs/lib"]) == (wheel,)


def test_changed_sources_are_built_again(package: Path, tmp_path: Path) -> None:
    [before] = local_wheels(tmp_path, ["./libs/lib"])
    (package / "lib.py").write_text("X = 2\n")
    [after] = local_wheels(tmp_path, ["./libs/lib"])
    assert before.sha256 != after.sha256


def test_the_same_sources_give_the_same_wheel_at_any_time_and_in_any_folder(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [first] = local_wheels(tmp_path, ["./libs/lib"])
    moved = package.rename(tmp_path / "moved")
    os.utime(moved / "lib.py", (time.time() - 86_400 * 400,) * 2)
    (moved / "lib.py").chmod(0o600)
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "another-cache"))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    [second] = local_wheels(tmp_path, ["./moved"])
    assert (first.sha256, first.file_name) == (second.sha256, second.file_name)


def test_a_package_that_cannot_be_built_says_which(package: Path, tmp_path: Path) -> None:
    (package / "backend.py").write_text("raise RuntimeError('broken backend')\n")
    with pytest.raises(BuildError, match=r"cannot build a wheel of './libs/lib'"):
        local_wheels(tmp_path, ["./libs/lib"])


def test_a_normal_wheel_keeps_every_file_and_who_may_run_it() -> None:
    def wheel(order: tuple[str, ...], mode: int) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in order:
                entry = zipfile.ZipInfo(name, (2026, 5, 4, 3, 2, 0))
                entry.external_attr = (stat.S_IFREG | (mode if name == "tool" else 0o640)) << 16
                archive.writestr(entry, name * 100)
        return buffer.getvalue()

    first = normal_wheel(wheel(("tool", "a.dist-info/RECORD", "a.py"), 0o700))
    assert first == normal_wheel(wheel(("a.py", "a.dist-info/RECORD", "tool"), 0o755))
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        modes = {one.filename: one.external_attr >> 16 & 0o777 for one in archive.infolist()}
        assert modes == {"a.py": 0o644, "tool": 0o755, "a.dist-info/RECORD": 0o644}
        assert list(modes)[-1] == "a.dist-info/RECORD"
        assert archive.read("tool") == b"tool" * 100
