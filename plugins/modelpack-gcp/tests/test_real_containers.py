"""A bundle that goes all the way at a small Google: pushed, pulled by digest, started, asked.

Google is the stand-in, its machines a real engine (``google_engine``): what answers is the service.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from modelpack_gcp.session import Session
from modelpack_gcp.target import CloudRunTarget, GcpTarget, VertexTarget

from modelpack.config.settings import Project
from modelpack.deploy import DeploymentSpec, DeploySettings, Status, rollout
from modelpack.errors import DeployError
from modelpack.store import Store
from modelpack.testing import Hours

from .fake_google import PROJECT, REGION
from .google_engine import RealGoogle

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.slow]

MODULE = f"real_google_{uuid.uuid4().hex[:8]}"
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


@dataclass(frozen=True)
class World:
    """A Google whose containers run, and bundles to put there."""

    google: RealGoogle
    bundles: dict[str, DeploymentSpec]
    home: Path

    def target(self, kind: type[GcpTarget]) -> GcpTarget:
        session = Session(
            project_id=PROJECT,
            region_name=REGION,
            endpoint=self.google.url,
            credentials="none",
            clock=Hours().clock(),
        )
        return kind(google=session, given={"base": f"engine:{os.environ['ENGINE_BASE_IMAGE']}"})

    def deploy(self, target: GcpTarget, word: str, **settings: Any) -> Status:
        one = self.bundles[word]
        spec = DeploymentSpec(
            name=target.allowed[0],
            bundle=one.bundle,
            digest=one.digest,
            image=one.image,
            settings=DeploySettings(env={"FROM": "Ada"}, **settings),
        )
        return rollout.apply_plan(target, rollout.plan_deployment(target, spec))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        root, home = tmp_path_factory.mktemp("real"), tmp_path_factory.mktemp("home")
        patch.setenv("MODELPACK_HOME", str(home))
        bundles = {word: built(root / word, word) for word in ("hello", "welcome", "broken")}
        google = RealGoogle()
        try:
            yield World(google, bundles, home)
        finally:
            google.close()


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
    (folder / f"{MODULE}.py").write_text(SERVICE.format(word=word, fails=word == "broken"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        sys.modules.pop(MODULE, None)
        service = load_import_string(f"{MODULE}:Greeter", folder)
        made = build_bundle(Project(root=folder, name="greeter"), service, store=Store())
    return rollout.spec_for(made.entry, DeploySettings(), name="greeter")


def asked(url: str, body: Any) -> Any:
    head = {"content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), head)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_cloud_run_starts_what_was_pushed_and_goes_back_from_what_does_not_start(
    world: World,
) -> None:
    target = world.target(CloudRunTarget)
    url = str(world.deploy(target, "hello", public=True).url)
    assert asked(f"{url}/greet", {"name": "you"}) == "hello you, Ada"

    world.deploy(target, "welcome", public=True)
    assert asked(f"{url}/greet", {"name": "you"}) == "welcome you, Ada"

    with pytest.raises(DeployError, match="failed the configured startup probe") as caught:
        world.deploy(target, "broken", public=True, ready_timeout_s=20.0)
    assert any("the words are missing" in line for line in caught.value.log_lines), (
        caught.value.log_lines
    )
    assert asked(f"{url}/greet", {"name": "you"}) == "welcome you, Ada"

    rollout.apply_plan(target, rollout.plan_rollback(target, "cloud-run"))
    assert asked(f"{url}/greet", {"name": "you"}) == "hello you, Ada"
    target.destroy("cloud-run")
    assert world.google.resources() == []


def test_vertex_ai_sends_instances_to_what_was_pushed(world: World) -> None:
    target = world.target(VertexTarget)
    url = str(world.deploy(target, "hello").url)
    assert asked(url, {"instances": [{"name": "you"}]}) == {"predictions": ["hello you, Ada"]}

    world.deploy(target, "welcome", canary_percent=30, bake_s=20.0)
    assert asked(url, {"instances": ["you"]}) == {"predictions": ["welcome you, Ada"]}
    target.destroy("vertex")
    assert world.google.resources() == []
