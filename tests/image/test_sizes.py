from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from modelpack.archive.lockfile import LockedPackage
from modelpack.archive.platforms import Platform
from modelpack.image.sizes import (
    BYTECODE_RATIO,
    SizedPackage,
    remember_sizes,
    runtime_size,
    sized_packages,
)

AMD64, ARM64 = Platform("x86_64"), Platform("aarch64")
HASH = "ab" * 32


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "cache"))


def install(
    place: Path, name: str, version: str, record: str, *, tag: str = "py3-none-any", **files: str
) -> None:
    info = place / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text(record)
    (info / "WHEEL").write_text(f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
    for file, text in files.items():
        (info / f"{file}.json").write_text(text)


def cache_wheel(file_name: str, files: dict[str, int], digest: str = HASH) -> Path:
    from modelpack import paths

    folder = paths.cache_dir() / "wheels" / digest
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / file_name, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, size in files.items():
            archive.writestr(name, bytes(size))
    return folder / file_name


def locked(name: str, version: str, digest: str = HASH) -> LockedPackage:
    return LockedPackage(name, version, None, (f"sha256:{digest}",))


def size_of(package: LockedPackage, platform: Platform = AMD64, python: str = "3.11") -> int | None:
    (found,) = sized_packages([package], platform, python)
    return found.size_bytes


def named(packages: Iterable[SizedPackage]) -> list[str]:
    return [one.name for one in packages]


def test_a_package_takes_what_its_record_says_and_its_bytecode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = "tiny_one/__init__.py,sha256=x,1000\ntiny_one/lib.so,,5000\ntiny_one/a.pyc,,\n"
    install(tmp_path, "tiny_one", "1.0", record)
    monkeypatch.syspath_prepend(str(tmp_path))

    assert size_of(locked("Tiny.One", "1.0")) == 6000 + 1000 * BYTECODE_RATIO


def test_another_version_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "tiny_two", "1.0", "tiny_two/__init__.py,,1000\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert size_of(locked("tiny-two", "1.1")) is None


@pytest.mark.parametrize(
    ("tag", "platform", "python", "is_known"),
    [
        ("py3-none-any", ARM64, "3.13", True),
        ("cp311-cp311-manylinux_2_27_x86_64", AMD64, "3.11", True),
        ("cp311-cp311-manylinux_2_27_x86_64", ARM64, "3.11", False),
        ("cp311-cp311-manylinux_2_27_x86_64", AMD64, "3.12", False),
        ("cp39-abi3-manylinux2014_aarch64", ARM64, "3.12", True),
        ("nonsense", AMD64, "3.11", False),
    ],
)
def test_what_is_installed_here_counts_only_where_its_wheel_fits(
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tag: str,
    platform: Platform,
    python: str,
    is_known: bool,
) -> None:
    """A binary package is other files on another processor, and under another Python."""
    install(tmp_path, "tiny_six", "1", "tiny_six/lib.so,,4096\n", tag=tag)
    monkeypatch.syspath_prepend(str(tmp_path))

    size = size_of(locked("tiny-six", "1"), platform, python)

    assert size == (4096 if is_known else None)


def test_a_package_that_is_not_here_is_unknown() -> None:
    assert size_of(locked("surely-not-installed", "1")) is None


def test_an_editable_install_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    editable = '{"dir_info": {"editable": true}, "url": "file:///x"}'
    install(tmp_path, "tiny_three", "1", "tiny_three.pth,,20\n", direct_url=editable)
    monkeypatch.syspath_prepend(str(tmp_path))

    assert size_of(locked("tiny-three", "1")) is None


def test_a_record_without_sizes_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "tiny_four", "1", "tiny_four/__init__.py,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert size_of(locked("tiny-four", "1")) is None


def test_cached_environments_are_looked_at_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "cache" / "envs" / "abc" / "lib" / "python3.11" / "site-packages"
    install(place, "tiny_five", "2", "tiny_five/data.bin,,4096\n")

    assert size_of(locked("tiny-five", "2")) == 4096


def test_the_very_wheel_of_the_lock_is_what_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "tiny_seven", "1", "tiny_seven/data.bin,,10\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    cache_wheel("tiny_seven-1-py3-none-any.whl", {"tiny_seven/a.py": 500, "tiny_seven/b.bin": 2000})

    assert size_of(locked("tiny-seven", "1")) == 2500 + 500 * BYTECODE_RATIO


def test_a_wheel_for_another_platform_does_not_count() -> None:
    cache_wheel("tiny_eight-1-cp311-cp311-manylinux_2_28_aarch64.whl", {"tiny_eight/x.so": 3000})

    assert size_of(locked("tiny-eight", "1"), ARM64) == 3000
    assert size_of(locked("tiny-eight", "1"), AMD64) is None


def test_a_wheel_that_is_none_says_nothing() -> None:
    cache_wheel("tiny_nine-1-py3-none-any.whl", {}).write_bytes(b"not a zip")

    assert size_of(locked("tiny-nine", "1")) is None


def test_the_largest_comes_first_and_what_nobody_knows_last() -> None:
    small, large = "01" * 32, "02" * 32
    cache_wheel("small-1-py3-none-any.whl", {"small/x": 10}, small)
    cache_wheel("large-1-py3-none-any.whl", {"large/x": 20}, large)
    packages = [locked("unknown", "1"), locked("small", "1", small), locked("large", "1", large)]

    assert named(sized_packages(packages, AMD64, "3.11")) == ["large", "small", "unknown"]


def test_the_server_is_weighed_as_it_is() -> None:
    size = runtime_size()

    assert size is not None
    assert 500_000 < size < 20_000_000


def test_what_was_installed_for_an_image_is_known_for_the_next_plan(tmp_path: Path) -> None:
    """For that platform and Python alone: another one gets other files."""
    site = tmp_path / "site"
    tag = "cp311-cp311-manylinux_2_28_aarch64"
    install(site, "tiny_ten", "3", "tiny_ten/x.so,,7000\ntiny_ten/a.py,,1000\n", tag=tag)

    remember_sizes(site, ARM64, "3.11")

    assert size_of(locked("tiny-ten", "3"), ARM64) == 8000 + 1000 * BYTECODE_RATIO
    assert size_of(locked("tiny-ten", "4"), ARM64) is None
    assert size_of(locked("tiny-ten", "3"), AMD64) is None
    assert size_of(locked("tiny-ten", "3"), ARM64, "3.12") is None


def test_what_is_remembered_of_one_image_stays_when_another_is_made(tmp_path: Path) -> None:
    install(tmp_path / "a", "first", "1", "first/x,,10\n")
    install(tmp_path / "b", "second", "1", "second/x,,20\n")

    for folder in ("a", "b"):
        remember_sizes(tmp_path / folder, ARM64, "3.11")

    assert [size_of(locked(name, "1"), ARM64) for name in ("first", "second")] == [10, 20]


@pytest.mark.parametrize("text", ["", "[]", '{"tiny-ten 3": "many"}', "not json"])
def test_a_damaged_note_says_nothing_and_is_written_anew(tmp_path: Path, text: str) -> None:
    site = tmp_path / "site"
    install(site, "tiny_ten", "3", "tiny_ten/x.so,,7000\n")
    remember_sizes(site, ARM64, "3.11")
    (note,) = (tmp_path / "cache" / "image" / "sizes").iterdir()
    note.write_text(text)

    assert size_of(locked("tiny-ten", "3"), ARM64) is None
    remember_sizes(site, ARM64, "3.11")
    assert size_of(locked("tiny-ten", "3"), ARM64) == 7000
