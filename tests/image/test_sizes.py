from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.image.sizes import BYTECODE_RATIO, installed_sizes


def install(place: Path, name: str, version: str, record: str, **files: str) -> None:
    info = place / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text(record)
    for file, text in files.items():
        (info / f"{file}.json").write_text(text)


def test_a_package_takes_what_its_record_says_and_its_bytecode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = "tiny_one/__init__.py,sha256=x,1000\ntiny_one/lib.so,,5000\ntiny_one/a.pyc,,\n"
    install(tmp_path, "tiny_one", "1.0", record)
    monkeypatch.syspath_prepend(str(tmp_path))

    assert installed_sizes({"tiny-one": "1.0"}) == {"tiny-one": 6000 + 1000 * BYTECODE_RATIO}


def test_another_version_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "tiny_two", "1.0", "tiny_two/__init__.py,,1000\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert installed_sizes({"tiny-two": "1.1"}) == {"tiny-two": None}


def test_a_package_that_is_not_here_is_unknown() -> None:
    assert installed_sizes({"surely-not-installed": "1"}) == {"surely-not-installed": None}


def test_an_editable_install_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    editable = '{"dir_info": {"editable": true}, "url": "file:///x"}'
    install(tmp_path, "tiny_three", "1", "tiny_three.pth,,20\n", direct_url=editable)
    monkeypatch.syspath_prepend(str(tmp_path))

    assert installed_sizes({"tiny-three": "1"}) == {"tiny-three": None}


def test_a_record_without_sizes_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "tiny_four", "1", "tiny_four/__init__.py,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert installed_sizes({"tiny-four": "1"}) == {"tiny-four": None}


def test_cached_environments_are_looked_at_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path))
    place = tmp_path / "envs" / "abc" / "lib" / "python3.11" / "site-packages"
    install(place, "tiny_five", "2", "tiny_five/data.bin,,4096\n")

    assert installed_sizes({"tiny-five": "2"}) == {"tiny-five": 4096}
