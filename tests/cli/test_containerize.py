"""``modelpack containerize``: plan and Dockerfile without an engine, an image with one."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.store import Entry

Cli = Callable[..., Any]
NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


def test_plan_needs_no_engine_and_gives_the_reason_for_the_base(cli: Cli, bundle: Entry) -> None:
    done = cli("containerize", "hello", "--plan", env=NO_ENGINE)
    assert done.status == 0, done.err
    assert "needs a GPU" in done.out
    value = json.loads(cli("containerize", "hello", "--plan", "-o", "json", env=NO_ENGINE).out)
    assert value["tag"] == "hello:1"
    assert value["base"]["reason"]


def test_dockerfile_and_context_are_written_without_an_engine(
    cli: Cli, bundle: Entry, tmp_path: Path
) -> None:
    done = cli("containerize", "hello", "--dockerfile", "context", env=NO_ENGINE)
    assert done.status == 0, done.err
    assert Path(done.out.strip()) == tmp_path / "context"
    assert (tmp_path / "context" / "Dockerfile").read_text().startswith("#")
    assert (tmp_path / "context" / "code" / "service.py").is_file()
    cli("containerize", "hello", "--dockerfile", "context").failed_well(5, "conflict")


def test_base_of_the_flag_beats_that_of_the_bundle(
    cli: Cli, project: Path, relock: Callable[[Path], None]
) -> None:
    (project / "modelpack.yaml").write_text("name: hello\nimage: {base: 'debian:12'}\n")
    relock(project)
    assert cli("build", cwd=project).status == 0
    assert "base debian:12" in cli("containerize", "--plan", cwd=project).out
    flag = cli("containerize", "--plan", "--base", "debian:13", cwd=project)
    assert "base debian:13" in flag.out


def test_without_a_tag_the_last_build_of_the_project_is_taken(cli: Cli, project: Path) -> None:
    cli("build", "--version", "1", cwd=project)
    (project / "more.txt").write_text("more")
    cli("build", "--version", "2", cwd=project)
    value = json.loads(cli("containerize", "--plan", "-o", "json", cwd=project).out)
    assert value["tag"] == "hello:2"


def test_outside_of_a_project_the_tag_is_asked_for(cli: Cli, tmp_path: Path) -> None:
    done = cli("containerize", "--plan", cwd=tmp_path)
    done.failed_well(2, "usage")
    assert "no project in this folder" in done.err


@pytest.mark.engine
@pytest.mark.network
def test_image_is_built_and_named_on_standard_output(cli: Cli, project: Path) -> None:
    (project / "requirements.lock").unlink()
    tag = cli("build", "--name", "cli-containerize-test", cwd=project).out.strip()
    base = os.environ["ENGINE_BASE_IMAGE"]
    try:
        done = cli("containerize", tag, "--base", base, cwd=project)
        assert done.out == f"{tag}\n", done.err
        assert "Python packages (" in done.err
        listed = subprocess.run(
            ["docker", "image", "inspect", tag], capture_output=True, text=True, check=True
        )
        (image,) = json.loads(listed.stdout)
        assert image["Config"]["Labels"]["dev.modelpack.tag"] == tag
    finally:
        subprocess.run(["docker", "image", "rm", "-f", tag], capture_output=True, check=False)
