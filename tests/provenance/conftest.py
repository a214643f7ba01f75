"""A store with one model in it, a repository to look at, and a builder that is always the same."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from modelpack.manifest import FileRecord, ModelRecord
from modelpack.store import Entry, Store

CI_VARIABLES = ("MODELPACK_BUILDER", "CI_JOB_URL", "BUILD_URL", "GITHUB_RUN_ID")
Git = Callable[..., str]


@pytest.fixture(autouse=True)
def nowhere_in_particular(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Build as a user on a machine of their own, whatever runs these tests."""
    for name in (*CI_VARIABLES, "SOURCE_DATE_EPOCH", "GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    monkeypatch.setenv("LOGNAME", "ada")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home" / "store")


@pytest.fixture
def model(store: Store, tmp_path: Path) -> Entry:
    """A stored model of one file."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.onnx").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    file = FileRecord(path="model.onnx", mode=0o644, size=7, sha256=digest)
    record = ModelRecord(name="clf", framework="onnx", files=(file,))
    return store.add_model(record, tmp_path / "model", version="1").entry


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit of ``a.py`` and ``pkg/b.py``."""
    folder = tmp_path / "repository"
    (folder / "pkg").mkdir(parents=True)
    (folder / "a.py").write_text("a = 1\n")
    (folder / "pkg" / "b.py").write_text("b = 1\n")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=first")
    return folder


@pytest.fixture(name="git")
def run_git() -> Git:
    """Run git in a folder and return what it says."""
    return git


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=ada", "-c", "user.email=ada@example.com")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
