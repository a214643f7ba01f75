"""``modelpack build``: the tag alone on standard output."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.store import Kind, Store
from modelpack.tag import Tag

Cli = Callable[..., Any]


def test_tag_of_the_bundle_is_all_that_is_printed(cli: Cli, project: Path) -> None:
    done = cli("build", cwd=project)

    assert done.status == 0, done.err
    assert re.fullmatch(r"hello:[0-9a-f]{12}\n", done.out)
    assert Store().find(Tag.parse(done.out.strip()), Kind.BUNDLE).tag.name == "hello"
    assert "2 files" not in done.err
    assert "1 file, " in done.err
    assert "dependencies as in requirements.lock" in done.err
    assert "left out, ignored: modelpack.yaml\n" in done.err


def test_second_build_of_the_same_says_unchanged(cli: Cli, project: Path) -> None:
    first, second = cli("build", cwd=project), cli("build", cwd=project)
    assert first.out == second.out
    assert "unchanged" not in first.err
    assert "unchanged: this bundle is in the store already" in second.err


def test_project_is_named_by_its_folder_from_anywhere(
    cli: Cli, project: Path, tmp_path: Path
) -> None:
    assert cli("build", project, cwd=tmp_path).out == cli("build", cwd=project).out


def test_name_and_version_can_be_given(cli: Cli, project: Path) -> None:
    done = cli("build", "--name", "other", "--version", "1.0", cwd=project)
    assert done.out == "other:1.0\n"


def test_facts_can_be_had_as_json(cli: Cli, project: Path) -> None:
    value = json.loads(cli("build", "-o", "json", "--version", "1", cwd=project).out)
    assert (value["tag"], value["is_unchanged"], value["kind"]) == ("hello:1", False, "bundle")
    assert value["digest"].startswith("sha256:")


def test_other_content_under_the_same_version_is_a_conflict(cli: Cli, project: Path) -> None:
    cli("build", "--version", "1", cwd=project)
    (project / "more.txt").write_text("more")
    cli("build", "--version", "1", cwd=project).failed_well(5, "conflict")


def test_secret_in_the_project_is_refused_by_its_path(cli: Cli, project: Path) -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow==\n-----END RSA PRIVATE KEY-----\n"
    (project / "notes.txt").write_text(key)
    done = cli("build", cwd=project)
    done.failed_well(4, "secret-found")
    assert "notes.txt" in done.err


def test_many_files_that_were_left_out_stay_one_line(cli: Cli, project: Path) -> None:
    (project / "modelpack.yaml").write_text("name: hello\nexclude: ['*.txt']\n")
    for number in range(20):
        (project / f"n{number:02}.txt").touch()
    done = cli("build", cwd=project)
    (line,) = [line for line in done.err.splitlines() if line.startswith("left out")]
    assert line.endswith("and 13 more")


@pytest.mark.network
def test_bare_model_is_built_as_it_is(cli: Cli, tmp_path: Path, onnx_file: Path) -> None:
    first = cli("build", onnx_file, "--name", "double", cwd=tmp_path)
    assert re.fullmatch(r"double:[0-9a-f]{12}\n", first.out), first.err
    second = cli("build", onnx_file, "--name", "double", cwd=tmp_path)
    assert second.out == first.out
    assert "unchanged" in second.err
    assert cli("inspect", "double", cwd=tmp_path).out.count("POST /predict  {x}") == 1
