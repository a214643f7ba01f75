from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from modelpack.provenance.git import public_url, revision_of

Git = Callable[..., str]


def test_a_clean_folder_is_of_its_commit(repository: Path, git: Git) -> None:
    found = revision_of(repository, ["a.py", "pkg/b.py"])
    assert found is not None
    assert found.commit == git(repository, "rev-parse", "HEAD")
    assert (found.branch, found.repository) == ("refs/heads/main", None)
    assert (found.changes, found.is_dirty) == ((), False)
    assert str(found) == found.commit[:12]


def test_what_the_commit_does_not_give_is_named(repository: Path, git: Git) -> None:
    (repository / "a.py").write_text("a = 2\n")
    (repository / "new.py").write_text("")
    (repository / ".gitignore").write_text("ignored.csv\n")
    (repository / "ignored.csv").write_text("1")
    found = revision_of(repository, ["a.py", "new.py", "ignored.csv", "pkg/b.py"])
    assert found is not None
    assert found.changes == ("a.py", "ignored.csv", "new.py")
    assert str(found).endswith(" with changes")


def test_a_staged_and_a_removed_file_are_changes(repository: Path, git: Git) -> None:
    (repository / "a.py").write_text("a = 2\n")
    git(repository, "add", "a.py")
    (repository / "pkg" / "b.py").unlink()
    found = revision_of(repository)
    assert found is not None
    assert found.changes == ("a.py", "pkg/b.py")


def test_only_the_folder_counts_and_paths_are_below_it(repository: Path) -> None:
    (repository / "a.py").write_text("a = 2\n")
    inner = revision_of(repository / "pkg", ["b.py"])
    assert inner is not None
    assert inner.changes == ()
    (repository / "pkg" / "b.py").write_text("b = 2\n")
    inner = revision_of(repository / "pkg", ["b.py"])
    assert inner is not None
    assert inner.changes == ("b.py",)


def test_at_most_twenty_changes_are_named(repository: Path) -> None:
    found = revision_of(repository, [f"{number}.py" for number in range(100)])
    assert found is not None
    assert len(found.changes) == 20


def test_a_folder_that_no_commit_has_is_of_no_revision(
    repository: Path, git: Git, tmp_path: Path
) -> None:
    """A project that lies ignored inside some other repository is not a part of it."""
    (repository / ".gitignore").write_text("scratch/\n")
    (repository / "scratch").mkdir()
    assert revision_of(repository / "scratch") is None
    (tmp_path / "fresh").mkdir()
    git(tmp_path / "fresh", "init", "--quiet")
    assert revision_of(tmp_path / "fresh") is None
    (tmp_path / "none").mkdir()
    assert revision_of(tmp_path / "none") is None


def test_without_git_there_is_no_revision(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert revision_of(repository) is None


def test_nothing_of_the_repository_is_run_or_written(
    repository: Path, git: Git, tmp_path: Path
) -> None:
    trace = tmp_path / "ran"
    program = tmp_path / "program.sh"
    program.write_text(f"#!/bin/sh\ntouch {trace}\n")
    program.chmod(0o755)
    for key in ("core.fsmonitor", "diff.external", "core.pager"):
        git(repository, "config", key, str(program))
    os.utime(repository / "a.py", (0, 0))  # a stat that git would like to write down
    before = (repository / ".git" / "index").read_bytes()
    assert revision_of(repository, ["a.py"]) is not None
    assert not trace.exists()
    assert (repository / ".git" / "index").read_bytes() == before


def test_the_remote_is_said_without_its_login(repository: Path, git: Git) -> None:
    url = "https://ada:ghp_0123456789@git.example:8443/team/digits.git?token=x#y"
    git(repository, "remote", "add", "origin", url)
    found = revision_of(repository)
    assert found is not None
    assert found.repository == "https://git.example:8443/team/digits.git"


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("git@git.example:team/digits.git", "ssh://git.example/team/digits.git"),
        ("ssh://git@git.example/team/digits.git", "ssh://git.example/team/digits.git"),
        ("git://git.example/digits.git", "git://git.example/digits.git"),
        ("/srv/git/digits.git", None),
        ("file:///srv/git/digits.git", None),
        ("../digits.git", None),
        ("https://git.example:port/x", None),
        ("", None),
    ],
)
def test_a_place_on_this_machine_is_not_said(remote: str, shown: str | None) -> None:
    assert public_url(remote) == shown
