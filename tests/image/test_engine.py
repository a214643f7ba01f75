from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelpack import paths
from modelpack.config.settings import ImageSettings
from modelpack.errors import DigestMismatchError, EngineError, ToolMissingError, UsageError
from modelpack.image import ImagePlan, PythonFrom, build_image, connect, engine, plan_image
from modelpack.image import instructions as dockerfile
from modelpack.image.dockerfile import instructions_of
from modelpack.store import Entry, Store

MakeBundle = Callable[..., Entry]
TEST_LABEL = {"dev.modelpack.test": "1"}


class Recorder:
    """Writes down what is said, and whether steps ended."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.begun: list[str] = []
        self.ended: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        self.begun.append(text)
        try:
            yield
        finally:
            self.ended.append(text)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test a cache of its own; what failed builds left in the engine is removed."""
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    for log in (tmp_path / "cache" / "logs").glob("*.log"):
        for image in reversed(re.findall(r"^ ---> ([0-9a-f]{12})$", log.read_text(), re.M)[1:]):
            _remove_image(image)


def _remove_image(image: str) -> None:
    from docker.errors import APIError

    # Gone with another one already, or another build is at it: either way not ours any more.
    with connect() as client, suppress(APIError):
        client.remove_image(image)


@pytest.fixture
def plan(store: Store, make_bundle: MakeBundle) -> ImagePlan:
    base = os.environ.get("ENGINE_BASE_IMAGE", "modelpack-base/python:3.11-slim")
    return plan_image(store, make_bundle("cpu"), ImageSettings(), base=base)


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1"])
def test_without_an_engine_the_way_out_is_named(
    plan: ImagePlan, store: Store, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)

    with pytest.raises(ToolMissingError, match="no container engine answers") as caught:
        build_image(plan, store)

    assert caught.value.exit_code == 6
    assert "--dockerfile DIR" in (caught.value.hint or "")


def test_a_name_that_no_registry_takes_is_refused_first(
    plan: ImagePlan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")

    with pytest.raises(UsageError, match=r"'Digits:1\+2' is not the name of an image"):
        build_image(plan, store, reference="Digits:1+2")


def test_the_docker_context_in_use_says_where_the_engine_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As Docker Desktop, colima and rootless engines set themselves up."""
    name = "mine"
    folder = tmp_path / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    host = "unix:///nowhere/of-the-context.sock"
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host}}}
    (folder / "meta.json").write_text(json.dumps(meta))
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": name}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)

    with pytest.raises(ToolMissingError, match=host), connect():
        pass

    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setenv("DOCKER_CONTEXT", name)
    with pytest.raises(ToolMissingError, match=host), connect():
        pass


# What the builder says, and what is made of it.


def follow(plan: ImagePlan, events: list[dict[str, Any]], progress: Recorder) -> str:
    """Read events as those of an engine; return the log."""
    with engine._log_file(plan) as (log, path):
        engine._follow(plan, iter(events), log, path, progress)
        log.flush()
        return path.read_text()


def steps(plan: ImagePlan) -> list[dict[str, Any]]:
    made = list(instructions_of(plan))
    return [
        {"stream": f"Step {number}/{len(made)} : {one.keyword} x\n"}
        for number, one in enumerate(made, start=1)
    ]


def test_progress_names_what_is_done_not_how(plan: ImagePlan, cache: Path) -> None:
    progress = Recorder()

    log = follow(plan, steps(plan), progress)

    assert progress.begun == [
        f"base {plan.base.image}",
        "what to install",
        "Python packages",
        "model digits-clf",
        "code",
        "settings",
    ]
    assert progress.ended == progress.begun
    assert log.count("Step ") == len(list(instructions_of(plan)))


def test_nothing_is_kept_of_a_build_that_went_well(plan: ImagePlan, cache: Path) -> None:
    follow(plan, steps(plan), Recorder())

    assert list((cache / "logs").iterdir()) == []


def failing(plan: ImagePlan, *said: str) -> list[dict[str, Any]]:
    made = [one.keyword for one in instructions_of(plan)]
    return [
        *steps(plan)[: made.index("RUN") + 1],
        *({"stream": f"{line}\n"} for line in said),
        {"error": "The command '/bin/sh -c ...' returned a non-zero code: 1"},
    ]


def test_a_failed_step_shows_its_last_words_in_four_lines(plan: ImagePlan, cache: Path) -> None:
    progress = Recorder()
    events = failing(
        plan,
        "Collecting x",
        "ERROR: Could not find a version that satisfies the requirement x==1",
        "\x1b[31mERROR: No matching distribution found for x==1\x1b[0m",
    )

    with pytest.raises(EngineError) as caught:
        follow(plan, events, progress)

    error = caught.value
    assert isinstance(error, engine.ImageBuildError)
    assert error.message.splitlines() == [
        "the image could not be built, at 'Python packages':",
        "  ERROR: Could not find a version that satisfies the requirement x==1",
        "  ERROR: No matching distribution found for x==1",
    ]
    assert error.hint == f"all that the builder said is in '{error.log}'"
    assert "Collecting x" in error.log.read_text()
    assert error.log_lines[0] == "Collecting x"
    assert stat.S_IMODE(error.log.stat().st_mode) == 0o600
    assert stat.S_IMODE(error.log.parent.stat().st_mode) == 0o700
    assert progress.ended == progress.begun


def test_a_failure_without_words_shows_what_the_engine_says(plan: ImagePlan, cache: Path) -> None:
    with pytest.raises(EngineError, match="returned a non-zero code: 1"):
        follow(plan, failing(plan), Recorder())


def test_a_base_without_the_python_of_the_lock_is_named(plan: ImagePlan, cache: Path) -> None:
    events = failing(plan, "/bin/sh: 1: python3.11: not found")

    with pytest.raises(EngineError, match=r"does not fit: it has no 'python3\.11'") as caught:
        follow(plan, events, Recorder())

    assert "name a base with python3.11" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("variables", "passed", "notes"),
    [
        ({}, {}, 0),
        (
            {"PIP_INDEX_URL": "https://mirror.example.com/simple"},
            {"PIP_INDEX_URL": "https://mirror.example.com/simple"},
            0,
        ),
        (
            {"PIP_EXTRA_INDEX_URL": "https://a.example.com/s http://b.example.com/s file:///c"},
            {"PIP_EXTRA_INDEX_URL": "https://a.example.com/s http://b.example.com/s"},
            0,
        ),
        ({"PIP_INDEX_URL": "https://me:hunter2@mirror.example.com/simple"}, {}, 1),
    ],
)
def test_indexes_are_named_to_the_build_but_never_their_passwords(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    passed: dict[str, str],
    notes: int,
) -> None:
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    progress = Recorder()

    assert engine._index_settings(progress) == passed
    assert len(progress.notes) == notes
    assert "hunter2" not in "".join(progress.notes)


# With a real engine.


@contextmanager
def removed_afterwards(reference: str) -> Iterator[None]:
    from docker.errors import ImageNotFound

    try:
        yield
    finally:
        with connect() as client, suppress(ImageNotFound):
            client.remove_image(client.inspect_image(reference)["Id"], force=True)


VALUES = {
    "QUOTES": "say \"hi\" and 'ho'",
    "VARIABLES": "$HOME ${PATH:-x} $(id) `id` \\$HOME",
    "BACKSLASHES": "\\ \\\\ \\n C:\\dir\\",
    "SIGNS": "a=b c=d # e; f && g | h > i {{ j }} %s @{k}",
    "SPACES": "  two  ",
    "EMPTY": "",
    "LETTERS": "Grüße ☃",
}


def build_by_sdk(text: str, reference: str) -> None:
    with connect() as client:
        said = client.build(
            fileobj=io.BytesIO(text.encode()),
            tag=reference,
            rm=True,
            forcerm=True,
            labels=TEST_LABEL,
            decode=True,
        )
        assert not [event for event in said if "error" in event]


def build_by_buildkit(text: str, reference: str) -> None:
    program = os.environ.get("ENGINE_DOCKER_CLI", "docker")
    label = "dev.modelpack.test=1"
    subprocess.run(
        [program, "build", "--quiet", "--label", label, "--tag", reference, "-"],
        input=text.encode(),
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
        check=True,
        capture_output=True,
    )


@pytest.mark.engine
@pytest.mark.parametrize("build", [build_by_sdk, build_by_buildkit])
def test_an_engine_reads_every_value_as_it_was_meant(build: Callable[[str, str], None]) -> None:
    """As in the parser's tests, but asked of the builders that count."""
    check = dockerfile.health_check(
        list(VALUES.values()), interval="5s", timeout="5s", start_period="5s", retries=1
    )
    text = dockerfile.render(
        [
            dockerfile.from_image(os.environ["ENGINE_BASE_IMAGE"]),
            dockerfile.env(VALUES),
            dockerfile.label({name.lower(): value for name, value in VALUES.items()}),
            dockerfile.run(["test", "$HOME `id`", "=", "$HOME `id`"]),
            dockerfile.entry_point(list(VALUES.values())),
            check,
        ],
        ["a test"],
    )
    reference = f"modelpack-test/values:{uuid.uuid4().hex}"

    with removed_afterwards(reference):
        build(text, reference)
        with connect() as client:
            config = client.inspect_image(reference)["Config"]

    found = dict(pair.split("=", 1) for pair in config["Env"])
    assert {name: found[name] for name in VALUES} == VALUES
    assert {name: config["Labels"][name.lower()] for name in VALUES} == VALUES
    assert config["Entrypoint"] == list(VALUES.values())
    assert config["Healthcheck"]["Test"] == ["CMD", *VALUES.values()]


@pytest.mark.engine
@pytest.mark.network
def test_the_steps_that_bring_python_to_a_base_without_it_work(plan: ImagePlan) -> None:
    """With Debian's names: an image of Ubuntu cannot be pulled here."""
    base = replace(
        plan.base,
        python_from=PythonFrom.COPY,
        python_image=os.environ["ENGINE_BASE_IMAGE"],
        system_packages=("ca-certificates", "libbz2-1.0", "libffi8", "libssl3", "zlib1g"),
    )
    whole = list(instructions_of(replace(plan, base=base, system_packages=("libgomp1",))))
    steps = whole[: next(n for n, one in enumerate(whole) if one.keyword == "ARG")]
    reference = f"modelpack-test/python:{uuid.uuid4().hex}"

    with removed_afterwards(reference):
        build_by_sdk(dockerfile.render(steps, ["a test"]), reference)

    assert [one.keyword for one in steps] == ["FROM", "FROM", "RUN", "COPY", "RUN", "RUN"]


@pytest.mark.engine
def test_a_base_that_cannot_be_had_is_named(plan: ImagePlan, store: Store) -> None:
    missing = f"127.0.0.1:1/{uuid.uuid4().hex}:1"
    plan = replace(plan, base=replace(plan.base, image=missing))

    with pytest.raises(EngineError, match=f"the base '{missing}' is not in the engine") as caught:
        build_image(plan, store)

    assert "--base" in (caught.value.hint or "")
    assert len(caught.value.message.splitlines()) == 1


@pytest.mark.engine
def test_a_base_with_another_python_fails_with_its_name(
    store: Store, make_bundle: MakeBundle, cache: Path
) -> None:
    base = os.environ["ENGINE_BASE_IMAGE"]
    other = plan_image(store, make_bundle("cpu", python="3.13"), ImageSettings(), base=base)

    with pytest.raises(EngineError, match=rf"the base '{base}' does not fit"):
        build_image(other, store, reference="modelpack-test/other-python:1", labels=TEST_LABEL)


@pytest.mark.engine
def test_a_base_that_says_its_python_is_refused_at_once(store: Store, plan: ImagePlan) -> None:
    reference = f"modelpack-test/python:{uuid.uuid4().hex}"
    text = dockerfile.render(
        [
            dockerfile.from_image(os.environ["ENGINE_BASE_IMAGE"]),
            dockerfile.env({"PYTHON_VERSION": "3.1.5"}),
        ],
        ["a test"],
    )
    with removed_afterwards(reference):
        build_by_sdk(text, reference)
        plan = replace(plan, base=replace(plan.base, image=reference))

        with pytest.raises(EngineError, match=r"it has Python 3\.1\.5, .* for Python 3\.11"):
            build_image(plan, store)


@pytest.mark.engine
def test_a_rotten_byte_ends_the_build(plan: ImagePlan, store: Store, cache: Path) -> None:
    weights = next(one for one in plan.entry.layers if one.path.endswith("model.onnx"))
    blob = store.root / "blobs" / "sha256" / weights.digest.removeprefix("sha256:")
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes().replace(b"weights", b"Weights", 1))

    with pytest.raises(DigestMismatchError):
        build_image(plan, store, reference="modelpack-test/rotten:1", labels=TEST_LABEL)


@pytest.mark.engine
@pytest.mark.network
def test_a_package_with_another_hash_is_never_installed(
    store: Store, make_bundle: MakeBundle, cache: Path, tmp_path: Path
) -> None:
    """The locks of these tests hold one hash a package, that of another platform's file."""
    base = os.environ["ENGINE_BASE_IMAGE"]
    plan = plan_image(store, make_bundle("cpu"), ImageSettings(), base=base)
    progress = Recorder()

    with pytest.raises(EngineError) as caught:
        build_image(
            plan,
            store,
            reference="modelpack-test/hash:1",
            progress=progress,
            labels=TEST_LABEL,
        )

    assert "MATCH THE HASHES" in caught.value.message
    assert "at 'Python packages'" in caught.value.message
    assert len(caught.value.message.splitlines()) <= 3
    assert progress.begun[-1] == "Python packages"
    assert progress.ended == progress.begun
    assert list((paths.cache_dir() / "logs").iterdir())
