"""A real bundle, deployed for real: clean environment, real server, real image."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelpack.archive import build_bundle
from modelpack.config.settings import DeploySettings, ImageSettings, Project, ServerSettings
from modelpack.deploy import SILENT, State, catalog, rollout, survey
from modelpack.deploy.bundles import find_bundle, image_maker
from modelpack.deploy.launch import service_env
from modelpack.deploy.local import LocalTarget
from modelpack.deploy.ports import check_port_is_free, free_port
from modelpack.errors import (
    BundleNotFoundError,
    ConflictError,
    DeployError,
    TooLargeError,
)
from modelpack.sdk.loading import load_import_string
from modelpack.store import Entry, Store

SERVICE = '''
import os
from collections.abc import Iterator
from pathlib import Path

import modelpack


@modelpack.service
class Greeter:
    """Greets."""

    @modelpack.api
    def greet(self, name: str) -> dict[str, str]:
        {body}
        return {{
            "text": f"{{os.environ.get('GREETING', 'hello')}} {{name}}",
            "place": Path("bundle.json").resolve().name if Path("bundle.json").exists() else "",
        }}

    @modelpack.api
    def spell(self, word: str) -> Iterator[str]:
        yield from word
'''


@pytest.fixture
def build(tmp_path: Path, monkeypatch) -> Callable[..., Entry]:
    """Build a bundle of a small service into the store of the test."""
    count = iter(range(100))

    def make(body: str = "pass", **settings) -> Entry:
        module = f"greeter_{os.getpid()}_{next(count)}"
        root = tmp_path / module
        root.mkdir()
        (root / f"{module}.py").write_text(SERVICE.format(body=body))
        service = f"{module}:Greeter"
        project = Project(root=root, name="greeter", service=service, **settings)
        monkeypatch.syspath_prepend(str(root))
        try:
            return build_bundle(project, load_import_string(service, root), store=Store()).entry
        finally:
            sys.modules.pop(module, None)
            importlib.invalidate_caches()

    return make


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    target = LocalTarget()
    for status in target.list():
        target.destroy(status.name)


def deploy(entry: Entry, target="local", *, ensure_image=None, name=None, **settings):
    place = catalog.target(target)
    settings = DeploySettings(**{"port": 0, "ready_timeout_s": 60.0, **settings})
    plan = rollout.plan_deployment(place, rollout.spec_for(entry, settings, name=name))
    return rollout.apply_plan(place, plan, ensure_image=ensure_image)


def post(url: str, body: object) -> object:
    request = urllib.request.Request(
        url, data=json.dumps(body).encode(), headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


@pytest.mark.network
def test_a_bundle_runs_locally_in_its_clean_environment(build) -> None:
    status = deploy(build(), env={"GREETING": "good day"})

    answer = post(f"{status.url}/greet", {"name": "Ada"})

    assert answer == {"text": "good day Ada", "place": "bundle.json"}
    assert status.state is State.RUNNING
    # The toolchain is not in the environment that serves.
    environ = Path(f"/proc/{_child('greeter')}/environ").read_text().split("\0")
    assert not any(pair.startswith(("PYTHONPATH=", "VIRTUAL_ENV=")) for pair in environ)
    survey.destroy("greeter")


@pytest.mark.network
def test_a_service_that_fails_its_own_example_gives_way_to_the_former_one(build) -> None:
    good = build()
    deploy(good)
    bad = build("raise RuntimeError('no weights')")

    with pytest.raises(DeployError, match="HTTP 500: RuntimeError: no weights") as caught:
        deploy(bad)

    assert f"({good.tag}) runs as before" in caught.value.hint
    status = survey.find("greeter").status("greeter")
    assert status.bundle == str(good.tag)
    assert post(f"{status.url}/greet", {"name": "Ada"})["text"] == "hello Ada"


@pytest.mark.network
def test_it_stops_quickly_and_leaves_its_port_free(build) -> None:
    port = free_port("127.0.0.1")
    deploy(build(), port=port)
    began = time.monotonic()

    survey.destroy("greeter")

    assert time.monotonic() - began < 5
    check_port_is_free("127.0.0.1", port)


@pytest.mark.network
@pytest.mark.engine
@pytest.mark.slow
def test_a_bundle_runs_in_a_container_whose_image_is_built_on_the_way(build) -> None:
    from modelpack.image import connect

    ensure_image = image_maker(Store(), base=os.environ["ENGINE_BASE_IMAGE"])
    entry = build(image=ImageSettings(env={"GREETING": "good evening"}))
    try:
        status = deploy(entry, "docker", ensure_image=ensure_image, name="test-greeter")
        answer = post(f"{status.url}/greet", {"name": "Ada"})
        again = deploy(entry, "docker", name="test-greeter")
        bad = build("raise RuntimeError('no weights')")
        with pytest.raises(DeployError, match="no weights"):
            deploy(bad, "docker", ensure_image=ensure_image, name="test-greeter")
        survivor = catalog.target("docker").status("test-greeter")
    finally:
        target = catalog.target("docker")
        if target.status("test-greeter").state is not State.ABSENT:
            survey.destroy("test-greeter")
        with connect() as engine:
            for image in engine.images(name="greeter", quiet=True):
                engine.remove_image(image, force=True)

    assert answer == {"text": "good evening Ada", "place": "bundle.json"}
    assert again.since == status.since
    assert survivor.bundle == str(entry.tag)


@pytest.mark.network
def test_an_image_that_is_larger_than_its_project_allows_is_not_built_on_the_way(build) -> None:
    entry = build(image=ImageSettings(max_size_bytes=1_000_000))
    spec = rollout.spec_for(entry, DeploySettings())

    with pytest.raises(TooLargeError, match=r"1.0 MB are allowed"):
        image_maker(Store())(spec, SILENT)


@pytest.mark.network
def test_a_tag_that_was_moved_is_not_deployed(build) -> None:
    entry = build()
    spec = rollout.spec_for(entry, DeploySettings())
    assert find_bundle(Store(), spec) == entry

    from dataclasses import replace

    with pytest.raises(ConflictError, match="is not the one that was planned with"):
        find_bundle(Store(), replace(spec, digest="sha256:" + "0" * 64))
    with pytest.raises(BundleNotFoundError):
        find_bundle(Store(), replace(spec, bundle="greeter:0"))


@pytest.mark.network
def test_the_grace_of_the_bundle_and_of_the_deployment_is_heeded(build, tmp_path) -> None:
    from modelpack.deploy.launch import prepare_bundle

    entry = build(server=ServerSettings(grace_s=7))
    spec = rollout.spec_for(entry, DeploySettings())
    own = rollout.spec_for(entry, DeploySettings(env={"MODELPACK_GRACE_S": "2"}))

    assert prepare_bundle(spec, 3000, tmp_path, SILENT).grace_s == 12
    assert prepare_bundle(own, 3000, tmp_path, SILENT).grace_s == 7


@pytest.mark.network
def test_what_several_processes_share_and_what_one_alone_can_have(build, tmp_path) -> None:
    from modelpack.deploy.launch import prepare_bundle

    def prepare(**env: str):
        settings = DeploySettings(env={f"MODELPACK_{key}": one for key, one in env.items()})
        return prepare_bundle(rollout.spec_for(entry, settings), 3000, tmp_path, SILENT)

    entry = build()
    plain = prepare()
    assert plain.alone == ""
    assert "MODELPACK_TASKS_STORE" not in plain.env
    tasks = prepare(TASKS="true")
    assert tasks.env["MODELPACK_TASKS_STORE"] == str(tmp_path / "tasks.sqlite")
    own = prepare(TASKS="true", TASKS_STORE="/mine.sqlite")
    assert own.env["MODELPACK_TASKS_STORE"] == "/mine.sqlite"
    ports = prepare(METRICS_PORT="3999")
    assert ports.alone == "metrics_port 3999"
    assert prepare(METRICS_PORT="0").alone == ""


def test_the_environment_of_a_service_is_made_and_not_inherited(
    make_spec, monkeypatch, tmp_path
) -> None:
    for name in ("PATH", "HOME"):
        monkeypatch.setenv(name, f"/{name}")
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setenv("MODELPACK_LOG_LEVEL", "debug")

    env = service_env(make_spec(PATH="/mine"), 3000, tmp_path)

    assert env["PATH"] == "/mine"
    assert env["HOME"] == "/HOME"
    assert not {"OPENAI_API_KEY", "MODELPACK_LOG_LEVEL", "MODELPACK_HOME"} & env.keys()


def _child(name: str) -> int:
    from modelpack.deploy.command import folder_of
    from modelpack.deploy.report import read_report

    [group] = read_report(folder_of(name)).groups
    return group.replicas[0].child
