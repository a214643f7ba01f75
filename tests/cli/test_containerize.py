"""``modelpack containerize``: plans, sizes and Dockerfiles, which need no engine."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive.platforms import host_platform
from modelpack.store import Entry

Cli = Callable[..., Any]
NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
BOTH = "platforms: [linux/amd64, linux/arm64]\n"


@pytest.fixture
def both(inside: Cli, project: Path, relock: Callable[[Path], None]) -> str:
    """The tag of a bundle that is locked for two platforms."""
    (project / "modelpack.yaml").write_text(f"name: hello\n{BOTH}")
    relock(project)
    done = inside("build", "--version", "1", cwd=project)
    assert done.status == 0, done.err
    return "hello:1"


def test_plan_needs_no_engine_and_gives_the_reason_for_the_base(cli: Cli, bundle: Entry) -> None:
    done = cli("containerize", "hello", "--plan", env=NO_ENGINE)
    assert done.status == 0, done.err
    assert "needs a GPU" in done.out
    value = json.loads(cli("containerize", "hello", "--plan", "-o", "json", env=NO_ENGINE).out)
    assert value["tag"] == "hello:1"
    assert value["base"]["reason"]
    assert value["platform"] == host_platform().name


def test_plan_of_two_platforms_is_one_list(inside: Cli, both: str) -> None:
    names = "linux/amd64,linux/arm64"
    text = inside("containerize", both, "--plan", "--platform", names)
    value = json.loads(
        inside("containerize", both, "--plan", "--platform", names, "-o", "json").out
    )

    first, second = text.out.split("\n\n")
    assert first.splitlines()[0].endswith("for linux/arm64")
    assert second.splitlines()[0].endswith("for linux/amd64")
    assert [one["platform"] for one in value] == ["linux/arm64", "linux/amd64"]


def test_image_that_would_be_too_large_fails_after_its_plan_was_shown(
    inside: Cli, bundle: Entry
) -> None:
    """In a pipeline the plan is what one looks at when the step is red."""
    done = inside("containerize", "hello", "--plan", "--max-size", "20MB")

    assert done.status == 1
    assert done.out.startswith("image of hello:1")
    lines = done.err.splitlines()
    assert lines[0].startswith("error[too-large]: the image of 'hello:1' for linux/")
    assert "20.0 MB are allowed" in lines[0]
    assert lines[1].startswith("  its largest parts: base 126 MB")
    assert lines[2].startswith("  help: the base alone takes that much")
    assert len(lines) == 3


def test_limit_of_the_project_file_is_that_of_its_images(
    inside: Cli, project: Path, relock: Callable[[Path], None]
) -> None:
    (project / "modelpack.yaml").write_text("name: hello\nimage: {max_size: 20MB}\n")
    relock(project)
    assert inside("build", cwd=project).status == 0

    context = project.parent / "context"
    done = inside("containerize", "--dockerfile", context, cwd=project)
    done.failed_well(1, "too-large")
    assert not context.exists()
    assert inside("containerize", "--plan", "--max-size", "9GB", cwd=project).status == 0


def test_what_could_not_be_weighed_is_named(inside: Cli, bundle: Entry) -> None:
    done = inside("containerize", "hello", "--plan", "--base", "a:1", "--max-size", "1GB")

    assert done.status == 0
    assert "the size of a:1, numpy is not known before" in done.err


def test_dockerfile_and_context_are_written_without_an_engine(
    cli: Cli, bundle: Entry, tmp_path: Path
) -> None:
    done = cli("containerize", "hello", "--dockerfile", "context", env=NO_ENGINE)
    assert done.status == 0, done.err
    assert Path(done.out.strip()) == tmp_path / "context"
    assert (tmp_path / "context" / "Dockerfile").read_text().startswith("#")
    assert (tmp_path / "context" / "code" / "service.py").is_file()
    cli("containerize", "hello", "--dockerfile", "context").failed_well(5, "conflict")


def test_dockerfile_for_another_platform_says_how_it_is_built(
    inside: Cli, both: str, tmp_path: Path
) -> None:
    other = {"linux/amd64": "linux/arm64"}.get(host_platform().name, "linux/amd64")
    words = ("containerize", both, "--dockerfile", "out", "--platform", other, "-o", "json")

    done = inside(*words)

    assert json.loads(done.out) == {"context": str(tmp_path / "out"), "platform": other}
    assert f"docker build --platform {other} -t hello:1 out" in done.err


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


def test_the_folder_of_a_project_means_its_last_build(inside: Cli, bundle: Entry) -> None:
    value = json.loads(inside("containerize", "./hello", "--plan", "-o", "json").out)
    assert value["tag"] == "hello:1"


def test_a_bundle_comes_before_a_folder_of_its_name(
    inside: Cli, bundle: Entry, tmp_path: Path
) -> None:
    (tmp_path / "hello" / "modelpack.yaml").write_text("name: other\n")

    assert inside("containerize", "hello", "--plan").out.startswith("image of hello:1")
    inside("containerize", "./hello", "--plan").failed_well(3, "bundle-not-found")


def test_a_path_that_is_not_there_is_told(inside: Cli, bundle: Entry) -> None:
    inside("containerize", "./nope", "--plan").failed_well(3, "not-found")
    inside("containerize", "nope.onnx", "--plan").failed_well(3, "not-found")
    inside("containerize", "helo", "--plan").failed_well(3, "bundle-not-found")


def test_program_that_is_wrapped_needs_no_package(inside: Cli, tmp_path: Path) -> None:
    script = tmp_path / "server"
    script.write_text("#!/usr/bin/env python3\n")
    script.chmod(0o755)

    done = inside(
        *("containerize", "--wrap", "server", "--port", "8080", "--name", "mine", "--plan"),
        *("-o", "json", "--", "--threads", "2"),
    )

    assert done.status == 0, done.err
    value = json.loads(done.out)
    assert value["tag"].startswith("mine:")
    assert value["port"] == 8080
    assert value["entry_point"][-2:] == ["--threads", "2"]
    assert "packages" not in {layer["kind"] for layer in value["layers"]}


def test_outside_of_a_project_the_tag_is_asked_for(cli: Cli, tmp_path: Path) -> None:
    done = cli("containerize", "--plan", cwd=tmp_path)
    done.failed_well(2, "usage")
    assert "no project in this folder" in done.err


def test_what_is_written_beside_the_project_is_no_part_of_it(
    inside: Cli, project: Path, tmp_path: Path
) -> None:
    """The place of an image without --output: the next build leaves it out."""
    first = inside("build", cwd=project).out
    layout = project / "hello-1.oci"
    layout.mkdir()
    (layout / "index.json").write_text("{}")

    assert inside("build", cwd=project).out == first


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
