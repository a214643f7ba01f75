"""Docker: where the engine is, what its builders understand, and what they refuse."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from modelpack import paths
from modelpack.archive.platforms import Platform
from modelpack.config.settings import ImageSettings
from modelpack.errors import (
    DigestMismatchError,
    EngineError,
    RefusedError,
    ToolMissingError,
    UsageError,
)
from modelpack.image import ImagePlan, PythonFrom, build_image, connect, plan_image
from modelpack.image import instructions as dockerfile
from modelpack.image.dockerfile import instructions_of
from modelpack.store import Entry, Store

MakeBundle = Callable[..., Entry]
TEST_LABEL = {"dev.modelpack.test": "1"}
BUILDERS = pytest.mark.parametrize("builder", ["docker", "buildkit"])


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1"])
def test_without_an_engine_the_way_out_is_named(
    plan: ImagePlan, store: Store, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    monkeypatch.setenv("PATH", "/nowhere")

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
@BUILDERS
def test_a_base_with_another_python_fails_with_its_name(
    store: Store, make_bundle: MakeBundle, cache: Path, builder: str
) -> None:
    base = os.environ["ENGINE_BASE_IMAGE"]
    other = plan_image(store, make_bundle("cpu", python="3.13"), ImageSettings(), base=base)

    with pytest.raises(EngineError, match=rf"the base '{base}' does not fit"):
        build_image(
            other,
            store,
            reference="modelpack-test/other-python:1",
            engine=builder,
            labels=TEST_LABEL,
        )


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
@BUILDERS
def test_a_rotten_byte_ends_the_build(
    plan: ImagePlan, store: Store, cache: Path, builder: str
) -> None:
    weights = next(one for one in plan.entry.layers if one.path.endswith("model.onnx"))
    blob = store.root / "blobs" / "sha256" / weights.digest.removeprefix("sha256:")
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes().replace(b"weights", b"Weights", 1))

    with pytest.raises(DigestMismatchError):
        build_image(
            plan, store, reference="modelpack-test/rotten:1", engine=builder, labels=TEST_LABEL
        )


@pytest.mark.engine
@pytest.mark.network
@BUILDERS
def test_a_package_with_another_hash_is_never_installed(
    plan: ImagePlan, store: Store, *, cache: Path, progress: Any, builder: str
) -> None:
    """The locks of these tests hold one hash a package, that of another platform's file."""
    with pytest.raises(EngineError) as caught:
        build_image(
            plan,
            store,
            reference="modelpack-test/hash:1",
            engine=builder,
            progress=progress,
            labels=TEST_LABEL,
        )

    assert "MATCH THE HASHES" in caught.value.message
    assert "at 'Python packages'" in caught.value.message
    assert len(caught.value.message.splitlines()) <= 3
    assert progress.begun[-1] == "Python packages"
    assert progress.ended == progress.begun
    assert list((paths.cache_dir() / "logs").iterdir())


@pytest.mark.engine
def test_the_classic_builder_makes_images_for_this_machine_alone(
    plan: ImagePlan, store: Store
) -> None:
    foreign = replace(plan, platform=Platform("riscv64"))

    with pytest.raises(RefusedError, match="makes no image for linux/riscv64 here") as caught:
        build_image(foreign, store, engine="docker")

    assert "--engine none" in (caught.value.hint or "")
