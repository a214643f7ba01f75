"""What is installed fits together on the platform that it is for, which need not be this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.archive.lockfile import LockedPackage
from modelpack.archive.platforms import Platform
from modelpack.errors import BuildError
from modelpack.image.direct.requirements import check_installed, check_runtime
from modelpack.manifest import RUNTIME_REQUIREMENTS

AMD64, ARM64 = Platform("x86_64"), Platform("aarch64")


def site_with(tmp_path: Path, **packages: tuple[str, list[str]]) -> Path:
    """Return a folder with the metadata of packages: version, and what they need."""
    for name, (version, needs) in packages.items():
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        lines = "".join(f"Requires-Dist: {need}\n" for need in needs)
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}"
        (folder / "METADATA").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "need",
    [
        "other>=1",
        "Other.Pkg",
        "other>=1; python_version >= '3.11'",
        "missing; extra == 'more'",
        "missing; platform_machine == 'aarch64'",
        "missing; sys_platform == 'win32'",
        "missing; python_version < '3.11'",
        "early>=2.0a1",
        "early",
        "not a requirement at all !!",
    ],
)
def test_what_is_met_or_does_not_apply_passes(tmp_path: Path, need: str) -> None:
    site = site_with(
        tmp_path, tiny=("1.0", [need]), other=("1.5", []), other_pkg=("1", []), early=("2.0rc1", [])
    )
    check_installed(site, AMD64, "3.11")


@pytest.mark.parametrize(
    ("need", "has"),
    [
        ("missing", "none"),
        ("other>=2", "1.5"),
        ("other==1.5.1", "1.5"),
        ("missing; platform_machine == 'aarch64'", "none"),
        ("missing; python_version >= '3.11'", "none"),
    ],
)
def test_what_is_not_met_is_named(tmp_path: Path, need: str, has: str) -> None:
    site = site_with(tmp_path, tiny=("1.0", [need]), other=("1.5", []))
    wanted = need.partition(";")[0]
    with pytest.raises(BuildError) as caught:
        check_installed(site, ARM64, "3.11")
    assert caught.value.message == f"'tiny' needs '{wanted}', and the lock has {has}"
    assert "--relock" in str(caught.value.hint)


def test_every_requirement_of_the_server_counts() -> None:
    from packaging.requirements import Requirement

    needed = [Requirement(text) for text in RUNTIME_REQUIREMENTS]
    versions = [
        next(one.version for one in need.specifier if one.operator == ">=") for need in needed
    ]
    whole = [
        LockedPackage(need.name, version, None, ())
        for need, version in zip(needed, versions, strict=True)
    ]
    check_runtime(whole, AMD64, "3.11")
    for number, need in enumerate(needed):
        with pytest.raises(BuildError, match=f"the server needs '{need.name}"):
            check_runtime(whole[:number] + whole[number + 1 :], AMD64, "3.11")
