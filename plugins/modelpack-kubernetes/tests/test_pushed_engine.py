"""A bundle that goes all the way: pushed to a real registry, pulled from there, run as its pods say.

The API server is the stand-in, its node a real engine (``docker_node``): what answers is the service.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from clustered import connect_to
from docker_node import DockerNode
from modelpack_kubernetes.target import KubernetesTarget
from stand_in import Item, StandIn

from modelpack.config.settings import Project
from modelpack.deploy import DeploymentSpec, DeploySettings, State, rollout
from modelpack.errors import DeployError
from modelpack.image import connect
from modelpack.store import Store

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.slow]

RUN = uuid.uuid4().hex[:8]
MODULE = f"pushed_{RUN}"
SERVICE = """
import os

import modelpack


@modelpack.service
class Greeter:
    def __init__(self):
        if {fails}:
            raise RuntimeError("the words are missing")

    @modelpack.api(example={{"name": "you"}})
    def greet(self, name: str) -> str:
        return "{word} " + name + ", " + os.environ.get("FROM", "")
"""
WORDS = ("hello", "welcome", "broken")


@dataclass(frozen=True)
class World:
    """A cluster whose pods run, and bundles to put there."""

    cluster: StandIn
    node: DockerNode
    target: KubernetesTarget
    bundles: dict[str, DeploymentSpec]
    home: Path

    def spec(self, word: str, name: str, **settings: object) -> DeploymentSpec:
        one = self.bundles[word]
        return DeploymentSpec(
            name=name,
            bundle=one.bundle,
            digest=one.digest,
            image=one.image,
            settings=DeploySettings(ready_timeout_s=120.0, **settings),  # type: ignore[arg-type]
        )

    def deploy(self, spec: DeploymentSpec) -> State:
        plan = rollout.plan_deployment(self.target, spec)
        return rollout.apply_plan(self.target, plan).state

    def ask(self, name: str, whom: str) -> str:
        url = f"http://{name}.default.svc/greet"
        body = json.dumps({"name": whom}).encode()
        answer = self.target.fetch(url, body=body, timeout_s=60)
        assert answer.status == 200, answer.body
        return str(json.loads(answer.body))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch, DockerNode() as node:
        root, home = tmp_path_factory.mktemp("pushed"), tmp_path_factory.mktemp("home")
        patch.setenv("MODELPACK_HOME", str(home))
        bundles = {word: built(root / word, word) for word in WORDS}
        options = {
            "registry": f"{os.environ['ENGINE_REGISTRY']}/modelpack-test/kube-{RUN}",
            "base": f"engine:{os.environ['ENGINE_BASE_IMAGE']}",
        }
        with StandIn(node=node) as cluster:
            target = KubernetesTarget(connect=connect_to(cluster), given=options)
            yield World(cluster, node, target, bundles, home)
    with connect() as engine:
        for image in engine.images(filters={"reference": f"*/modelpack-test/kube-{RUN}/*"}):
            engine.remove_image(image["Id"], force=True)


@pytest.fixture(autouse=True)
def _home_of_the_world(
    _own_surroundings: None, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELPACK_HOME", str(world.home))


def built(folder: Path, word: str) -> DeploymentSpec:
    """Build one version of the service."""
    from modelpack.archive import build_bundle
    from modelpack.sdk.loading import load_import_string

    folder.mkdir()
    text = SERVICE.format(word=word, fails=word == "broken")
    (folder / f"{MODULE}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        sys.modules.pop(MODULE, None)
        service = load_import_string(f"{MODULE}:Greeter", folder)
        made = build_bundle(Project(root=folder, name="greeter"), service, store=Store())
    return rollout.spec_for(made.entry, DeploySettings(), name="greeter")


def pods_of(world: World, name: str) -> list[Item]:
    with world.cluster.store.changed:
        pods = world.cluster.store.list(world.cluster.store.named("Pod"))
    return [one for one in pods if one.name.startswith(f"{name}-")]


def test_pods_run_exactly_what_was_pushed_and_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHO_SENDS", "Ada")
    wanted = world.spec("hello", "first", secrets={"FROM": "env:WHO_SENDS"}, memory_bytes=2**28)
    assert world.deploy(wanted) is State.RUNNING
    assert world.ask("first", "you") == "hello you, Ada"

    [pod] = pods_of(world, "first")
    image = pod.value["spec"]["containers"][0]["image"]
    reference, _, digest = image.partition("@")
    host, _, place = reference.partition("/")
    repository = place.partition(":")[0]
    assert in_registry(f"http://{host}/v2/{repository}/manifests/{digest}") == digest
    with connect() as engine:
        runs = engine.inspect_container(world.node.container_of(pod.name))
    assert runs["Config"]["Image"] == image
    assert runs["Config"]["User"] == "65532:65532"
    limits = runs["HostConfig"]
    assert (limits["ReadonlyRootfs"], limits["CapDrop"]) == (True, ["ALL"])
    assert limits["Memory"] == 2**28
    assert any("ready" in line for line in world.target.logs("first"))


def in_registry(url: str) -> str:
    """Return the digest that a registry has there."""
    kinds = "application/vnd.oci.image.manifest.v1+json"
    request = urllib.request.Request(url, headers={"Accept": kinds}, method="HEAD")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as answer:
        return str(answer.headers["Docker-Content-Digest"])


def test_no_request_fails_while_the_pods_are_replaced(world: World) -> None:
    """And none on the way back; what ends answers until routers know of it."""
    world.deploy(world.spec("hello", "second"))
    said: list[str] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            try:
                said.append(world.ask("second", "x"))
            except Exception as cause:
                said.append(f"failed: {cause}")

    caller = threading.Thread(target=ask)
    caller.start()
    try:
        world.deploy(world.spec("welcome", "second"))
        back = rollout.plan_rollback(world.target, "second")
        rollout.apply_plan(world.target, back)
        world.ask("second", "x")
    finally:
        is_over.set()
        caller.join()
    assert set(said) == {"hello x, ", "welcome x, "}, said
    assert len(said) > 20


def test_a_service_that_cannot_start_says_why_and_the_former_answers_on(world: World) -> None:
    world.deploy(world.spec("hello", "third"))
    with pytest.raises(DeployError, match=r"keeps ending.*the words are missing") as failed:
        world.deploy(world.spec("broken", "third"))
    assert "runs as before" in str(failed.value.hint)
    assert world.ask("third", "you") == "hello you, "
    world.target.destroy("third")
    assert pods_of(world, "third") == []
