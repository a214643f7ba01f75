"""``modelpack deploy`` and ``deployments``: plan, consent, apply, look, destroy."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sysconfig
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.deploy import records
from modelpack.store import Entry

PROGRAM = Path(sysconfig.get_path("scripts")) / "modelpack"
Cli = Callable[..., Any]


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs in the engine of this machine is none of these tests' business."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")


def test_plan_shows_what_would_change_and_changes_nothing(cli: Cli, bundle: Entry) -> None:
    done = cli("deploy", "hello", "-t", "local", "--plan")

    assert done.status == 0, done.err
    assert "deployment 'hello' at target 'local': 1 to create" in done.out
    assert "+ process/hello" in done.out
    assert cli("deployments", "list").out == ""


def test_plan_with_changes_can_be_told_by_the_exit_status(cli: Cli, bundle: Entry) -> None:
    assert cli("deploy", "hello", "-t", "local", "--plan", "--exit-code").status == 10


def test_plan_can_be_had_as_json(cli: Cli, bundle: Entry) -> None:
    done = cli("deploy", "hello", "-t", "local", "--plan", "-o", "json", "--port", "0")
    plan = json.loads(done.out)
    assert (plan["target"], plan["is_empty"]) == ("local", False)
    assert plan["spec"]["bundle"] == "hello:1"
    assert plan["spec"]["settings"]["port"] == 0
    assert plan["digest"].startswith("sha256:")


def test_nothing_is_done_without_consent_and_without_a_terminal(cli: Cli, bundle: Entry) -> None:
    done = cli("deploy", "hello", "-t", "local")
    assert done.status == 2
    assert done.out == ""
    assert "1 to create" in done.err
    assert "error[usage]: deploy needs consent" in done.err
    assert "'--yes'" in done.err
    assert cli("deployments", "list", "-o", "json").out == "[]\n"


def test_no_at_the_terminal_changes_nothing(bundle: Entry, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, "deploy", "hello", "-t", "local"], cwd=tmp_path, stdin=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    while b"[y/N]" not in seen:
        seen += os.read(ours, 4096)
    os.write(ours, b"n\n")
    while b"nothing was changed" not in seen:
        seen += os.read(ours, 4096)
    assert process.wait(timeout=30) == 1
    os.close(ours)


def test_settings_come_from_the_project_and_flags_beat_them(cli: Cli, project: Path) -> None:
    (project / "modelpack.yaml").write_text(
        "name: hello\ndeploy:\n  target: local\n  port: 8100\n  env: {COLOUR: red}\n"
    )
    assert cli("build", cwd=project).status == 0

    plan = json.loads(cli("deploy", "--plan", "-o", "json", "--port", "8200", cwd=project).out)

    assert plan["target"] == "local"
    assert plan["spec"]["settings"]["port"] == 8200
    assert plan["spec"]["settings"]["env"] == {"COLOUR": "red"}


def test_another_file_of_settings_can_be_named(cli: Cli, project: Path) -> None:
    (project / "production.yaml").write_text("name: hello\ndeploy: {target: local, port: 8300}\n")
    assert cli("build", cwd=project).status == 0
    done = cli("deploy", "-f", "production.yaml", "--plan", "-o", "json", cwd=project)
    assert json.loads(done.out)["spec"]["settings"]["port"] == 8300


def test_option_must_be_a_key_and_a_value_that_the_target_knows(cli: Cli, bundle: Entry) -> None:
    cli("deploy", "hello", "-t", "local", "--option", "x").failed_well(2, "usage")
    done = cli("deploy", "hello", "-t", "local", "--option", "colour=red")
    done.failed_well(2, "usage")
    assert "'colour'" in done.err


def test_bad_port_is_told_by_its_flag(cli: Cli, bundle: Entry) -> None:
    done = cli("deploy", "hello", "-t", "local", "--port", "70000")
    done.failed_well(2, "usage")
    assert "--port: must be from 0 to 65535" in done.err
    assert "help: leave it out for 3000" in done.err


def test_no_deployments_is_said_and_prints_nothing(cli: Cli) -> None:
    done = cli("deployments", "list")
    assert (done.status, done.out) == (0, "")
    assert "no deployments yet" in done.err


@pytest.mark.network
def test_deployment_is_made_looked_at_and_destroyed(cli: Cli, project: Path) -> None:
    (project / "requirements.lock").unlink()
    tag = cli("build", cwd=project).out.strip()

    done = cli("deploy", "-t", "local", "--port", "0", "--name", "greeter", "--yes", cwd=project)
    try:
        assert done.status == 0, done.err
        url = done.out.strip()
        request = urllib.request.Request(
            f"{url}/greet", b'{"name": "Ada"}', {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer) == "hello Ada"

        assert cli("deployments", "list").out.splitlines()[1].split() == [
            "greeter",
            "local",
            "running",
            tag,
            url,
        ]
        assert f"url       {url}" in cli("deployments", "status", "greeter").out
        assert '"event":"ready"' in cli("deployments", "logs", "greeter", "--tail", "5").out

        again = cli("deploy", "-t", "local", "--port", "0", "--name", "greeter", cwd=project)
        assert (again.status, again.out) == (0, f"{url}\n")
        assert "nothing to change" in again.err
    finally:
        gone = cli("deployments", "destroy", "greeter", "--yes")
    assert gone.status == 0
    cli("deployments", "status", "greeter").failed_well(3, "deployment-not-found")


def test_what_is_kept_of_a_target_that_is_gone_for_good_can_be_forgotten(cli: Cli) -> None:
    records.write(records.Record(name="greeter", target="docker"))

    asked = cli("deployments", "destroy", "greeter", "--yes")
    asked.failed_well(6, "tool-missing")
    assert "'--forget' drops what is kept of it here" in asked.err

    gone = cli("deployments", "destroy", "greeter", "--forget", "--yes")
    assert (gone.status, gone.out) == (0, "")
    assert "forgotten: 'greeter' at target 'docker'" in gone.err
    cli("deployments", "destroy", "greeter", "--forget", "--yes").failed_well(
        3, "deployment-not-found"
    )
