"""``modelpack containerize`` with an engine, without one, and where none answers.

The program that is wrapped brings no packages, so that each image takes a second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

pytestmark = pytest.mark.engine

Cli = Callable[..., Any]
NO_ENGINE = {
    "DOCKER_HOST": "unix:///nowhere/docker.sock",
    "PATH": str(Path(sys.executable).parent),  # podman and buildah would do, too
}


@pytest.fixture
def program(tmp_path: Path) -> tuple[str, ...]:
    """The words that wrap a small program."""
    script = tmp_path / "hello"
    script.write_text("#!/usr/bin/env python3\nimport http.server\n")
    script.chmod(0o755)
    return ("containerize", "--wrap", "hello", "--port", "8080")


@pytest.fixture
def name() -> Iterator[str]:
    """A name for an image in the engine, where it is taken away afterwards."""
    name = f"cli-containerize-{uuid4().hex[:12]}:1"
    yield name
    subprocess.run(["docker", "image", "rm", "-f", name], capture_output=True, check=False)


@pytest.fixture
def base() -> str:
    return os.environ["ENGINE_BASE_IMAGE"]


def in_engine(name: str) -> dict[str, Any]:
    done = subprocess.run(
        ["docker", "image", "inspect", name], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found


@pytest.mark.parametrize("engine", ["auto", "docker"])
def test_engine_gives_the_image_the_name_that_was_asked_for(
    cli: Cli, program: tuple[str, ...], base: str, name: str, engine: str
) -> None:
    words = ("--engine", engine, "--base", base, "--reference", name, "-o", "json")

    done = cli(*program, *words)

    assert done.status == 0, done.err
    made = json.loads(done.out)
    assert made["reference"] == name
    found = in_engine(name)
    assert made["id"] == found["Id"]
    assert made["size_bytes"] == found["Size"]


def test_without_a_place_the_image_gets_a_folder_of_its_own(
    cli: Cli, program: tuple[str, ...], base: str, tmp_path: Path
) -> None:
    done = cli(*program, "--engine", "none", "--base", f"engine:{base}")

    assert done.status == 0, done.err
    (layout,) = tmp_path.glob("hello-*.oci")
    assert done.out.startswith(f"oci:{layout.name}:hello:")
    assert (layout / "oci-layout").is_file()
    assert len(json.loads((layout / "index.json").read_bytes())["manifests"]) >= 1


def test_outputs_are_written_one_after_the_other_and_named(
    cli: Cli, program: tuple[str, ...], base: str, name: str, tmp_path: Path
) -> None:
    places = (
        "--output",
        "oci:layout",
        "--output",
        "docker-archive:image.tar",
        "--output",
        "engine",
    )

    done = cli(*program, *places, "--base", f"engine:{base}", "--reference", name)

    assert done.status == 0, done.err
    assert "made without an engine, which '--output' needs" in done.err
    assert done.out.splitlines() == [f"oci:layout:{name}", f"docker-archive:image.tar:{name}", name]
    assert (tmp_path / "image.tar").is_file()
    assert in_engine(name)["Config"]["ExposedPorts"] == {"8080/tcp": {}}


def test_where_no_engine_answers_the_image_is_made_without_one(
    cli: Cli, program: tuple[str, ...], base: str, tmp_path: Path
) -> None:
    """The base is an image in a registry, which is there with or without an engine."""
    place = f"{os.environ['ENGINE_REGISTRY']}/cli-containerize/base:1"
    pushed = cli(*program, "--base", f"engine:{base}", "--output", place)
    assert pushed.out == f"{place}\n", pushed.err

    done = cli(*program, "--base", place, "-o", "json", env=NO_ENGINE)

    assert done.status == 0, done.err
    assert "the image is made without an engine" in done.err
    (output,) = json.loads(done.out)["outputs"]
    assert (tmp_path / output["output"].split(":")[1] / "index.json").is_file()


def test_an_image_of_unknown_size_is_weighed_when_it_is_there(
    cli: Cli, program: tuple[str, ...], base: str, name: str
) -> None:
    words = ("--base", base, "--reference", name, "--max-size", "50MB")

    done = cli(*program, *words)

    done.failed_well(1, "too-large")
    assert f"the image '{name}' takes " in done.err
    assert "it was made" in done.err
    assert in_engine(name)["Size"] > 50_000_000


def test_an_engine_that_was_asked_for_is_not_replaced(
    cli: Cli, program: tuple[str, ...], base: str, tmp_path: Path
) -> None:
    cli(*program, "--engine", "docker", "--base", base, env=NO_ENGINE).failed_well(
        6, "tool-missing"
    )
    assert not list(tmp_path.glob("*.oci"))
