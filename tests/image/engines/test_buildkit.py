"""What the docker program says of a build, and which docker program can build at all.

The lines are those of Docker 20.10.24.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive.platforms import Platform
from modelpack.errors import EngineError, ToolMissingError
from modelpack.image import ImagePlan, PythonFrom
from modelpack.image.dockerfile import NO_MOUNTS, Mounts
from modelpack.image.engines.buildkit import arguments, find_buildkit, read_plain, secret_variables
from modelpack.image.engines.following import Said, follow, log_file
from modelpack.image.engines.orders import Order
from modelpack.store import Store

BUILD = """\
#1 [internal] load build definition from Dockerfile
#1 sha256:6c9afa45
#1 transferring dockerfile: 2.65kB done
#1 DONE 0.0s

#4 [stage-0 1/9] FROM docker.io/modelpack-base/python:3.11-slim
#4 sha256:86b6ad67
#4 CACHED

#5 [internal] load build context
#5 sha256:a5658764
#5 transferring context: 2.91MB 0.1s done
#5 DONE 0.2s

#6 [stage-0 2/9] COPY [requirements.lock, /bundle/]
#6 sha256:4eda0333
#6 DONE 0.1s

#7 [stage-0 3/9] COPY [modelpack_runtime-0.1.0-py3-none-any.whl, /tmp/wheels/]
#7 sha256:ebfa7fae
#7 DONE 0.0s

#8 [stage-0 4/9] RUN --mount=type=cache,id=modelpack-pip,target=/root/.cache/pip python3.11 -m venv
#8 sha256:40a6d08f
#8 2.344 Collecting anyio==4.15.1
#8 7.746 No broken requirements found.
#8 DONE 9.5s

#9 [stage-0 5/9] COPY [models/digits-clf, /bundle/models/digits-clf/]
#9 sha256:547ea64c
#9 DONE 0.1s

#10 [stage-0 6/9] COPY [bundle.json, /bundle/]
#10 sha256:fc4aee57
#10 DONE 0.0s

#11 [stage-0 9/9] WORKDIR /bundle
#11 sha256:c2507c3f
#11 DONE 0.0s

#12 exporting to image
#12 sha256:e8c613e0
#12 exporting layers 0.4s done
#12 DONE 0.5s
"""


def hear(plan: ImagePlan, said: str, progress: Any, mounts: Mounts = NO_MOUNTS) -> None:
    with log_file(plan) as (log, path):
        follow(plan, read_plain(plan, mounts, said.splitlines()), log, path, progress)


STEPS = ["what to install", "Python packages", "model digits-clf", "code", "settings"]


@pytest.mark.parametrize(
    "label",
    ["stage-0 ", "", " ", "linux/arm64 stage-0  "],
    ids=["Docker 20.10", "buildx", "ten steps and more", "another platform"],
)
def test_progress_names_what_is_done_in_its_order(
    plan: ImagePlan, cache: Path, progress: Any, label: str
) -> None:
    hear(plan, BUILD.replace("[stage-0 ", f"[{label}"), progress)

    assert progress.begun == progress.ended == [*STEPS, "write the image"]


def test_what_was_built_before_is_no_step_but_for_the_packages(
    plan: ImagePlan, cache: Path, progress: Any
) -> None:
    """BuildKit lists it in any order; here the code changed."""
    cached = []
    for block in BUILD.split("\n\n"):
        is_kept = any(f"[stage-0 {n}/9]" in block for n in (1, 2, 3, 4, 5))
        head = "\n".join(block.splitlines()[:2])
        cached.append(f"{head}\n#{block.split()[0][1:]} CACHED" if is_kept else block)

    hear(plan, "\n\n".join(reversed(cached[:-1])) + "\n\n" + cached[-1], progress)

    assert progress.begun == ["settings", "code", "Python packages", "write the image"]


def test_stages_that_run_side_by_side_are_told_apart(
    plan: ImagePlan, cache: Path, progress: Any
) -> None:
    plan = replace(plan, base=replace(plan.base, python_from=PythonFrom.COPY, python_image="a/b"))
    said = [
        "#4 [python 1/1] FROM docker.io/a/b",
        "#4 DONE 0.1s",
        "#5 [stage-1  2/11] COPY --from=python [/usr/local/, /usr/local/]",
        "#5 DONE 1.0s",
        "#6 [stage-1  3/11] RUN ldconfig",
        "#6 0.2 all there",
        "#5 resolving again",
        "#6 DONE 0.3s",
    ]

    hear(plan, "\n".join(said), progress)

    assert progress.begun == [
        "Python 3.11 comes from here",
        "Python 3.11, built for an older glibc than the base has",
        "make its libraries known, and see that all of them are there",
    ]


def test_a_failed_step_shows_its_last_words_once(
    plan: ImagePlan, cache: Path, progress: Any
) -> None:
    failed = BUILD.partition("#8 7.746")[0] + (
        "#8 3.1 ERROR: No matching distribution found for x==1\n"
        "#8 ERROR: executor failed running [/bin/sh -c …]: exit code: 1\n"
        "------\n > [stage-0 4/9] RUN …:\n"
        "#8 3.1 ERROR: No matching distribution found for x==1\n------\n"
        "executor failed running [/bin/sh -c …]: exit code: 1\n"
    )

    with pytest.raises(EngineError) as caught, log_file(plan) as (log, path):
        said = [*read_plain(plan, NO_MOUNTS, failed.splitlines()), Said(error="exit code: 1")]
        follow(plan, said, log, path, progress)

    assert caught.value.message.splitlines() == [
        "the image could not be built, at 'Python packages':",
        "  ERROR: No matching distribution found for x==1",
    ]


# Which program builds.


class FakeEngine:
    """Says what an engine says of itself."""

    def __init__(self, **said: Any) -> None:
        self._said = {"ApiVersion": "1.41", "Os": "linux", "Version": "20.10.24", **said}

    def version(self, api_version: bool = True) -> dict[str, Any]:
        return self._said


Programs = Callable[..., None]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Return a function that puts docker programs on PATH, each by what it answers."""

    def put(*programs: tuple[str, str | None]) -> None:
        folders = []
        for number, (version, buildx) in enumerate(programs):
            folder = tmp_path / f"bin{number}"
            folder.mkdir()
            (folder / "docker").write_text(
                "#!/bin/sh\n"
                f'if [ "$1" = --version ]; then echo "Docker version {version}, build x"; exit 0; fi\n'
                + (f"echo 'github.com/docker/buildx v{buildx} 1234'\n" if buildx else "exit 1\n")
            )
            (folder / "docker").chmod(0o755)
            folders.append(str(folder))
        monkeypatch.setenv("PATH", ":".join(folders) or str(tmp_path))

    return put


@pytest.mark.parametrize(
    ("installed", "command", "version"),
    [
        ([("20.10.24+dfsg1", None)], ["build"], "20.10.24+dfsg1"),
        ([("18.09.1", None)], ["build"], "18.09.1"),
        ([("28.2.2", "0.24.0")], ["buildx", "build", "--load", "--provenance=false"], "0.24.0"),
        ([("23.0.1", "0.9.1")], ["buildx", "build", "--load"], "0.9.1"),
        ([("28.2.2", None), ("20.10.24", None)], ["build"], "20.10.24"),
    ],
)
def test_the_first_docker_program_that_can_is_taken(
    programs: Programs, installed: Any, command: list[str], version: str
) -> None:
    programs(*installed)

    found = find_buildkit(FakeEngine())  # type: ignore[arg-type]

    assert [*found.command[1:]] == command
    assert found.version == version


@pytest.mark.parametrize(
    ("engine", "installed", "why"),
    [
        (FakeEngine(), [("28.2.2", None)], "has no buildx plugin"),
        (FakeEngine(), [], "there is no 'docker' program on PATH"),
        (FakeEngine(ApiVersion="1.38"), [("28.2.2", "0.24.0")], "has no BuildKit"),
        (FakeEngine(Os="windows"), [("28.2.2", "0.24.0")], "has no BuildKit"),
        (
            FakeEngine(Components=[{"Name": "Podman Engine"}]),
            [("28.2.2", "0.24.0")],
            "this engine is podman",
        ),
    ],
)
def test_why_there_is_no_buildkit_is_said(
    programs: Programs, engine: Any, installed: Any, why: str
) -> None:
    programs(*installed)

    with pytest.raises(ToolMissingError, match=why) as caught:
        find_buildkit(engine)

    assert "--engine" in (caught.value.hint or "")


def test_a_secret_is_never_on_the_command_line(plan: ImagePlan, store: Store) -> None:
    """Everybody on a machine sees the words of a command; its variables only its user."""
    order = Order(
        plan=plan,
        store=store,
        name="digits:1",
        labels={"a": "b c"},
        build_args={"PIP_INDEX_URL": "https://mirror.example/simple"},
        secrets={"pip.conf": b"hunter2", "netrc": b"hunter3"},
        use_cache=False,
        network="host",
    )

    words = arguments(order)

    assert words == [
        "--tag", "digits:1", "--file", "Dockerfile", "--label", "a=b c",
        "--build-arg", "PIP_INDEX_URL=https://mirror.example/simple",
        "--secret", "id=netrc,env=BUILD_SECRET_0", "--secret", "id=pip.conf,env=BUILD_SECRET_1",
        "--no-cache", "--network=host",
    ]  # fmt: skip
    assert secret_variables(order.secrets) == {
        "BUILD_SECRET_0": "hunter3",
        "BUILD_SECRET_1": "hunter2",
    }
    assert "hunter" not in repr(order)


def test_another_platform_is_asked_for_by_name(plan: ImagePlan, store: Store) -> None:
    foreign = replace(plan, platform=Platform("riscv64"))

    assert arguments(Order(plan=foreign, store=store, name="a:1"))[-1] == "--platform=linux/riscv64"
