from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpack.archive.inputs import Inputs
from modelpack.archive.lock import ensure_lock, target_platform
from modelpack.archive.lockfile import LockedPackage, lock_text, read_lock
from modelpack.errors import BuildError, ConflictError, ToolMissingError
from modelpack.manifest import RUNTIME_REQUIREMENTS, sha256_digest

HASH = "sha256:" + "0a" * 32
INPUTS = Inputs(("tiny>=1",), "3.11", "x86_64-unknown-linux-gnu")
LOCK = f"{INPUTS.first_line}\nnumpy==2.0.0 \\\n    --hash={HASH}\n"

PACKAGES = st.lists(
    st.builds(
        LockedPackage,
        st.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True),
        st.from_regex(r"[0-9]{1,3}\.[0-9]{1,3}(\+cpu)?", fullmatch=True),
        st.none() | st.just('platform_machine == "x86_64"'),
        st.lists(st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True), min_size=1, max_size=3).map(
            lambda hashes: tuple(sorted(hashes))
        ),
    ),
    unique_by=lambda package: package.name,
)


@settings(max_examples=30)
@given(PACKAGES)
def test_a_lock_is_read_as_it_was_written(packages: list[LockedPackage]) -> None:
    text = lock_text(INPUTS.first_line, packages)
    assert sorted(read_lock(text), key=lambda p: p.name) == sorted(packages, key=lambda p: p.name)
    assert lock_text(INPUTS.first_line, list(reversed(packages))) == text


@pytest.mark.parametrize(
    "line",
    [
        "numpy==2.0.0",
        "numpy",
        f"numpy>=2 --hash={HASH}",
        "numpy==2.0.0 --hash=md5:00",
        f"numpy==2.0.0 --hash={HASH} --index-url=http://evil.example",
        f"numpy==2.0.0 --hash={HASH} --hash=sha256:short",
        "--index-url http://evil.example",
        "--find-links /tmp",
        f"thing @ http://evil.example/thing.whl --hash={HASH}",
        "-e .",
        "-r other.txt",
    ],
)
def test_a_line_that_is_not_pinned_and_hashed_is_refused(line: str) -> None:
    with pytest.raises(BuildError, match="no pinned and hashed package"):
        read_lock(f"{LOCK}{line}\n")


def test_inputs_are_told_apart_by_everything_that_matters() -> None:
    digests = {
        Inputs(("a",), "3.11", "x").digest,
        Inputs(("b",), "3.11", "x").digest,
        Inputs(("a",), "3.12", "x").digest,
        Inputs(("a",), "3.11", "y").digest,
    }
    assert len(digests) == 4


def test_a_lock_whose_inputs_are_unchanged_is_used_without_running_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "requirements.lock"
    file.write_text(LOCK)
    monkeypatch.setattr(
        "modelpack.archive.compiling.run_uv", lambda *_, **__: pytest.fail("uv ran")
    )
    assert ensure_lock(INPUTS, file) == (LOCK, True)


def test_uv_makes_a_lock_that_names_no_host_and_no_folder(index: Any, tmp_path: Path) -> None:
    file = tmp_path / "project" / "requirements.lock"
    text, reused = ensure_lock(INPUTS, file)
    assert not reused
    assert file.read_text() == text
    assert text.splitlines()[0] == INPUTS.first_line
    found = [(package.name, package.version) for package in read_lock(text)]
    assert found == [("tiny", "1.1"), ("tiny-helper", "2.5")]
    assert str(index.folder) not in text
    assert "://" not in text


def test_the_hashes_are_those_of_the_files(index: Any, tmp_path: Path) -> None:
    text, _ = ensure_lock(INPUTS, tmp_path / "requirements.lock")
    wheel = index.folder / "tiny_helper-2.5-py3-none-any.whl"
    assert read_lock(text)[1].hashes == (sha256_digest(wheel.read_bytes()),)


def test_a_newer_package_comes_in_only_on_demand(index: Any, tmp_path: Path) -> None:
    file = tmp_path / "requirements.lock"
    first, _ = ensure_lock(INPUTS, file)
    index.add("tiny", "1.2")
    assert ensure_lock(INPUTS, file) == (first, True)
    again, reused = ensure_lock(INPUTS, file, relock=True)
    assert not reused
    assert "tiny==1.2" in again
    assert file.read_text() == again


def test_changed_inputs_are_locked_anew(index: Any, tmp_path: Path) -> None:
    file = tmp_path / "requirements.lock"
    ensure_lock(INPUTS, file)
    other = Inputs(("tiny==1.0",), INPUTS.python, INPUTS.target)
    text, reused = ensure_lock(other, file)
    assert not reused
    assert [package.version for package in read_lock(text)] == ["1.0"]


def test_a_lock_that_was_spoilt_is_made_anew(index: Any, tmp_path: Path) -> None:
    file = tmp_path / "requirements.lock"
    file.write_text(f"{INPUTS.first_line}\ntiny==1.0\n")
    text, reused = ensure_lock(INPUTS, file)
    assert not reused
    assert "--hash=" in text


@pytest.mark.parametrize("text", ["", "numpy==2.0.0\n", "# somebody else's lock\n"])
def test_a_file_of_somebody_else_is_never_overwritten(tmp_path: Path, text: str) -> None:
    file = tmp_path / "requirements.lock"
    file.write_text(text)
    for relock in (False, True):
        with pytest.raises(ConflictError, match="is not a lock of modelpack"):
            ensure_lock(INPUTS, file, relock=relock)
    assert file.read_text() == text


def test_a_lock_that_cannot_be_made_leaves_the_old_one(index: Any, tmp_path: Path) -> None:
    file = tmp_path / "requirements.lock"
    text, _ = ensure_lock(INPUTS, file)
    with pytest.raises(BuildError):
        ensure_lock(Inputs(("tiny==7",), INPUTS.python, INPUTS.target), file)
    assert file.read_text() == text
    assert [path.name for path in tmp_path.glob(".requirements*")] == []


@pytest.mark.parametrize(
    ("requirements", "message", "hint"),
    [
        (("tiny==1.0", "tiny>=1.1"), "you require tiny==1.0 and tiny>=1.1", "fit together"),
        (("no-such-thing",), "no-such-thing was not found", "name is right"),
        (("only-source",), "only-source", "wheels"),
    ],
)
def test_what_cannot_be_resolved_is_said_in_one_line(
    index: Any, tmp_path: Path, requirements: tuple[str, ...], message: str, hint: str
) -> None:
    (index.folder / "only-source-1.0.tar.gz").write_bytes(b"")
    with pytest.raises(BuildError) as caught:
        ensure_lock(Inputs(requirements, "3.11", INPUTS.target), tmp_path / "requirements.lock")
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 600


def test_without_a_network_it_says_so_and_shows_no_login(
    index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:hunter2@127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(BuildError, match="cannot be reached") as caught:
        ensure_lock(Inputs(("elsewhere",), "3.11", INPUTS.target), tmp_path / "requirements.lock")
    assert "needs the network" in (caught.value.hint or "")
    assert "hunter2" not in f"{caught.value.message}{caught.value.hint}"


def test_a_higher_version_in_another_index_does_not_replace_a_private_one(
    index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a stranger publishes under the name of a package of one's own is not taken."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", index.simple("public", ("corp-lib", "99.0")))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", index.simple("private", ("corp-lib", "1.0")))
    text, _ = ensure_lock(Inputs(("corp-lib",), "3.11", INPUTS.target), tmp_path / "a.lock")
    assert read_lock(text)[0].version == "1.0"
    # Who asks for the other version by its number gets it, as with pip.
    text, _ = ensure_lock(Inputs(("corp-lib==99.0",), "3.11", INPUTS.target), tmp_path / "b.lock")
    assert read_lock(text)[0].version == "99.0"


def test_the_python_of_the_lock_decides_not_the_running_one(index: Any, tmp_path: Path) -> None:
    index.add("tiny", "2.0", tag="cp312-cp312-manylinux_2_17_x86_64")
    index.add("tiny", "2.1", tag="cp312-cp312-macosx_11_0_arm64")
    versions = {}
    for python in ("3.11", "3.12"):
        inputs = Inputs(("tiny",), python, "x86_64-unknown-linux-gnu")
        text, _ = ensure_lock(inputs, tmp_path / python)
        versions[python] = read_lock(text)[0].version
    assert versions == {"3.11": "1.1", "3.12": "2.0"}


def test_without_uv_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        raise FileNotFoundError

    monkeypatch.setattr("uv.find_uv_bin", missing)
    with pytest.raises(ToolMissingError, match="uv") as caught:
        ensure_lock(INPUTS, tmp_path / "requirements.lock")
    assert caught.value.exit_code == 6


def test_the_target_is_linux_with_this_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for machine, target in (("x86_64", "x86_64"), ("AMD64", "x86_64"), ("arm64", "aarch64")):
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        assert target_platform() == f"{target}-unknown-linux-gnu"


@pytest.mark.network
def test_a_real_index_gives_a_lock_with_hashes_for_every_package(tmp_path: Path) -> None:
    inputs = Inputs(tuple(sorted(RUNTIME_REQUIREMENTS)), "3.11", target_platform())
    text, _ = ensure_lock(inputs, tmp_path / "requirements.lock")
    names = {package.name for package in read_lock(text)}
    assert {"numpy", "starlette", "uvicorn", "uvloop", "httptools", "orjson"} <= names
    assert "://" not in text
    assert ensure_lock(inputs, tmp_path / "other.lock")[0] == text
