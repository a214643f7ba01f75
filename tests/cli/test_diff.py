"""``diff`` and ``history``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.store import Entry, Store

Cli = Callable[..., Any]


@pytest.fixture
def two(cli: Cli, project: Path) -> Path:
    """Two versions of the project in the store, the second with one api changed."""
    assert cli("build", project, "--version", "1").status == 0
    service = project / "service.py"
    service.write_text(service.read_text().replace("times: int = 1", "times: int"))
    assert cli("build", project, "--version", "2").status == 0
    return project


def test_diff_says_what_differs_and_what_breaks(cli: Cli, two: Path) -> None:
    done = cli("diff", "hello:1", "hello:2", "--text")
    assert done.status == 0
    lines = done.out.splitlines()
    assert lines[0] == "hello:1 → hello:2"
    assert any(line.startswith("  ~ code/service.py  ") for line in lines)
    assert "  /greet input/times: now required (breaking)" in lines
    assert "  -    def greet(self, name: str, times: int = 1) -> str:" in lines
    assert "  +    def greet(self, name: str, times: int) -> str:" in lines
    assert "warning: clients of the first may fail with the second" in done.err


def test_diff_as_json_is_complete(cli: Cli, two: Path) -> None:
    value = json.loads(cli("diff", "hello:1", "hello", "-o", "json").out)
    assert (value["a"]["tag"], value["b"]["tag"]) == ("hello:1", "hello:2")
    assert (value["is_different"], value["is_breaking"]) == (True, True)
    (file,) = value["files"]
    assert file["name"] == "code/service.py"
    assert file["old"]["sha256"] != file["new"]["sha256"]
    assert [(one["route"], one["where"]) for one in value["apis"]] == [("/greet", "input/times")]
    assert (value["packages"], value["models"], value["text"]) == ([], [], None)
    assert value["behaviour"] is None


def test_exit_status_says_whether_they_differ(cli: Cli, two: Path) -> None:
    assert cli("diff", "hello:1", "hello:2", "--exit-code").status == 10
    same = cli("diff", "hello:1", "hello:1", "--exit-code")
    assert (same.status, same.err) == (0, "the same bundle\n")
    cli("build", two, "--version", "3")
    renamed = cli("diff", "hello:2", "hello:3", "--exit-code")
    assert (renamed.status, renamed.err) == (0, "the same but for name and version\n")


def test_without_the_flag_no_code_runs(cli: Cli, two: Path, tmp_path: Path) -> None:
    """A bundle that would leave a trace as soon as it is imported is compared without one."""
    trace = tmp_path / "ran"
    (two / "service.py").write_text(
        f"open({str(trace)!r}, 'w').close()\n" + (two / "service.py").read_text()
    )
    cli("build", two, "--version", "3")
    trace.unlink()  # building imports the user's own project
    assert cli("diff", "hello:2", "hello:3", "--text").status == 0
    assert cli("history", "hello").status == 0
    assert cli("inspect", "hello:3").status == 0
    assert not trace.exists()


def test_diff_of_what_is_not_there_fails(cli: Cli, bundle: Entry, tmp_path: Path) -> None:
    cli("diff", "hello:1", "hello:2").failed_well(3, "bundle-not-found")
    samples = tmp_path / "gone.jsonl"
    cli("diff", "hello", "hello", "--behaviour", samples).failed_well(3, "not-found")


def test_history_has_a_line_a_version(cli: Cli, two: Path) -> None:
    cli("tag", "hello:1", "stable")
    lines = cli("history", "hello").out.splitlines()
    assert lines[0].split() == ["TAG", "CREATED", "COMMIT", "CHANGED"]
    assert lines[1].startswith("hello:1, stable  ")
    assert lines[1].endswith("  first")
    assert lines[2].endswith("  1 file, /greet breaking")
    value = json.loads(cli("history", "hello", "-o", "json").out)
    assert [(one["tag"], one["tags"]) for one in value] == [
        ("hello:1", ["stable"]),
        ("hello:2", []),
    ]
    assert value[1]["changed"] == "1 file, /greet breaking"
    assert value[1]["provenance"]["builder"]["modelpack"]


def test_history_of_nothing_is_not_found(cli: Cli) -> None:
    cli("history", "hello").failed_well(3, "bundle-not-found")
    cli("history", "Not A Name").failed_well(2, "bad-tag")


@pytest.mark.network
@pytest.mark.slow
def test_behaviour_is_what_both_answer_each_in_its_own_environment(
    cli: Cli, project: Path, tmp_path: Path
) -> None:
    (project / "requirements.lock").unlink()
    assert cli("build", project, "--version", "1").status == 0
    service = project / "service.py"
    service.write_text(service.read_text().replace('"hello " + name', "name.lower()"))
    assert cli("build", project, "--version", "2").status == 0
    samples = tmp_path / "samples.jsonl"
    samples.write_text('{"name": "ada"}\n{"name": 5}\n')
    done = cli("diff", "hello:1", "hello:2", "--behaviour", samples, "--exit-code", "-o", "json")
    assert done.status == 10, done.err
    found = json.loads(done.out)["behaviour"]
    assert (found["samples"], found["same"], found["different"]) == (2, 1, 1)
    assert found["changes"] == [{"line": 1, "route": "/greet", "what": '"hello ada" → "ada"'}]
    assert len(Store().list()) == 2
