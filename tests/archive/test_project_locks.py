"""Locks that a project has already: read, never written, and only as far as they pin and hash."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import uv

from modelpack.archive.platforms import Platform
from modelpack.archive.project_locks import ProjectLock, read_project_lock
from modelpack.errors import BuildError, ModelpackError, RefusedError

AMD64 = Platform("x86_64")
ARM64 = Platform("aarch64")
HASH = "0a" * 32
OTHER = "0b" * 32


def read(root: Path, *platforms: Platform, python: str = "3.11") -> ProjectLock | None:
    return read_project_lock(root, python, platforms or (AMD64,), are_requirements=True)


def pinned(root: Path, platform: Platform = AMD64, **details: Any) -> dict[str, str]:
    """Return name and version of what the lock says for a platform."""
    lock = read(root, platform, **details)
    assert lock is not None
    return {one.name: one.version for one in lock.pins.packages[platform]}


def write_pylock(root: Path, *packages: str, head: str = "") -> None:
    text = f'lock-version = "1.0"\ncreated-by = "somebody"\n{head}\n' + "\n".join(packages)
    (root / "pylock.toml").write_text(text)


def package(name: str, version: str, tag: str = "py3-none-any", more: str = "") -> str:
    file = f"{name}-{version}-{tag}.whl"
    return f"""
[[packages]]
name = "{name}"
version = "{version}"
{more}
wheels = [{{ name = "{file}", url = "https://host.example/{file}", hashes = {{ sha256 = "{HASH}" }} }}]
"""


def test_a_project_without_one_has_none(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy>=2\n")
    assert read(tmp_path) is None


# pylock.toml


def test_a_pylock_gives_versions_and_hashes_and_no_url(tmp_path: Path) -> None:
    write_pylock(tmp_path, package("tiny", "1.0"))
    lock = read(tmp_path)
    assert lock is not None
    assert lock.pins.source == "pylock.toml"
    assert [one.hashes for one in lock.pins.packages[AMD64]] == [(f"sha256:{HASH}",)]
    assert "host.example" not in repr(lock)


def test_markers_are_those_of_the_target(tmp_path: Path) -> None:
    arm = """marker = 'platform_machine == "aarch64"'"""
    write_pylock(
        tmp_path,
        package("everywhere", "1.0"),
        package("arm", "1.0", more=arm),
        package("windows", "1.0", more="marker = 'sys_platform == \"win32\"'"),
        package("later", "1.0", more="marker = 'python_version >= \"3.13\"'"),
    )
    assert set(pinned(tmp_path)) == {"everywhere"}
    assert set(pinned(tmp_path, ARM64)) == {"everywhere", "arm"}
    assert set(pinned(tmp_path, python="3.13")) == {"everywhere", "later"}


def test_groups_and_extras_stay_out_unless_they_are_default(tmp_path: Path) -> None:
    write_pylock(
        tmp_path,
        package("tiny", "1.0"),
        package("train", "1.0", more="marker = \"'train' in dependency_groups\""),
        package("plot", "1.0", more="marker = \"'plot' in extras\""),
        head='extras = ["plot"]\ndependency-groups = ["train"]\ndefault-groups = []',
    )
    assert set(pinned(tmp_path)) == {"tiny"}


def test_a_lock_without_a_wheel_for_the_target_says_so(tmp_path: Path) -> None:
    write_pylock(tmp_path, package("tiny", "1.0", "cp311-cp311-manylinux_2_17_x86_64"))
    assert pinned(tmp_path) == {"tiny": "1.0"}
    with pytest.raises(BuildError, match=r"'pylock.toml' is not for Python 3.11 on linux/arm64"):
        read(tmp_path, ARM64)


def test_what_comes_from_a_repository_is_refused(tmp_path: Path) -> None:
    vcs = (
        '[[packages]]\nname = "tool"\n'
        f'vcs = {{ type = "git", url = "https://h.example/x", commit-id = "{HASH[:40]}" }}\n'
    )
    write_pylock(tmp_path, vcs)
    with pytest.raises(RefusedError, match="takes 'tool' from a URL or a repository"):
        read(tmp_path)


def test_what_lies_on_this_machine_comes_out_as_a_path(tmp_path: Path) -> None:
    write_pylock(
        tmp_path, '[[packages]]\nname = "lib"\ndirectory = { path = "libs/lib", editable = true }\n'
    )
    lock = read(tmp_path)
    assert lock is not None
    assert (lock.local, lock.pins.packages[AMD64]) == (("libs/lib",), ())


@pytest.mark.parametrize("text", ["", "lock-version = ", 'lock-version = "2.0"', "[[packages]]"])
def test_what_is_no_pylock_is_an_error_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "pylock.toml").write_text(text)
    with pytest.raises(BuildError, match=r"'pylock.toml' is not a lock") as caught:
        read(tmp_path)
    assert "\n" not in caught.value.message


# uv.lock


def test_a_real_uv_lock_is_read_without_a_network(
    index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "project"
    root.mkdir()
    index.add("trainer", "1.0")
    index.add("linter", "1.0")
    index.add("modelpack-cli", "1.0", requires=("toolchain",))
    index.add("toolchain", "1.0")
    (root / "pyproject.toml").write_text(
        '[project]\nname = "digits"\nversion = "1"\nrequires-python = ">=3.11"\n'
        'dependencies = ["tiny<1.1", "modelpack-cli"]\n'
        '[dependency-groups]\ndev = ["linter"]\ntrain = ["trainer"]\n'
    )
    command = [uv.find_uv_bin(), "lock", "--no-index", f"--find-links={index.folder}"]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    before = (root / "uv.lock").read_bytes()

    # Neither groups, nor modelpack with all that only building needs.
    assert pinned(root) == {"tiny": "1.0"}
    assert (root / "uv.lock").read_bytes() == before


def test_a_spoilt_uv_lock_is_an_error(index: Any, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "digits"\nversion = "1"\n')
    (tmp_path / "uv.lock").write_text("version = ")
    with pytest.raises(BuildError, match=r"cannot read 'uv.lock'"):
        read(tmp_path)


def test_a_uv_lock_counts_more_than_the_others(index: Any, tmp_path: Path) -> None:
    (tmp_path / "uv.lock").write_text("version = ")
    write_pylock(tmp_path, package("tiny", "1.0"))
    with pytest.raises(ModelpackError, match=r"uv\.lock"):
        read(tmp_path)


# requirements.txt with hashes


def test_hashed_requirements_are_a_lock(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(
        "# made by a tool\n"
        f"Tiny_Helper[extra]==2.5 ; python_version < '4' \\\n    --hash=sha256:{HASH} \\\n"
        f"    --hash=sha256:{OTHER}  # via tiny\n"
        f"pywin32==300 ; sys_platform == 'win32' --hash=sha256:{HASH}\n"
    )
    lock = read(tmp_path)
    assert lock is not None
    [only] = lock.pins.packages[AMD64]
    assert (only.name, only.version) == ("tiny-helper", "2.5")
    assert only.hashes == (f"sha256:{HASH}", f"sha256:{OTHER}")


@pytest.mark.parametrize(
    "line",
    [
        "numpy",
        "numpy==2.0",
        f"numpy>=2 --hash=sha256:{HASH}",
        f"numpy==2.* --hash=sha256:{HASH}",
        f"numpy==2,!=2.1 --hash=sha256:{HASH}",
        f"numpy==2 --hash=md5:{HASH}",
        f"numpy==2 --hash=sha256:{HASH} --index-url=https://evil.example",
        "--index-url https://user:hunter2@evil.example/simple",
        "--extra-index-url=https://evil.example",
        "-r other.txt",
        "-e .",
        f"tool @ https://evil.example/tool.whl --hash=sha256:{HASH}",
    ],
)
def test_a_line_that_smuggles_is_refused(tmp_path: Path, line: str) -> None:
    good = f"tiny==1.0 --hash=sha256:{HASH}\n"
    (tmp_path / "requirements.txt").write_text(f"{good}{line}\n")
    with pytest.raises(RefusedError, match="no pinned and hashed package") as caught:
        read(tmp_path)
    assert "hunter2" not in caught.value.message
