"""A real service in real images, and load on it, for the tests with an engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from modelpack.config.settings import DeploySettings, ImageSettings, Project, ServerSettings
from modelpack.deploy import DeploymentSpec, State, rollout
from modelpack.deploy.docker import DockerTarget
from modelpack.image import plan_image
from modelpack.image.direct.build import build_direct
from modelpack.store import Store

SERVICE = """
import asyncio

import modelpack


@modelpack.service
class Traffic:
    @modelpack.api(batch=True)
    def add(self, x: list[int]) -> list[int]:
        return [n + {plus} for n in x]

    @modelpack.api
    async def nap(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds
"""

REPOSITORY = f"modelpack-test/traffic-{uuid4().hex[:8]}"
Make = Callable[..., DeploymentSpec]


class TrafficImages:
    """Images of the service, which differ in what is added."""

    def __init__(self, folder: Path, *, server: ServerSettings | None = None) -> None:
        """``server``: settings that the bundles carry."""
        self._folder = folder
        self._server = server or ServerSettings()
        self._store = Store(folder / "store")
        self._made: dict[int, tuple[Any, str]] = {}

    def spec(self, plus: int, name: str, **settings: Any) -> DeploymentSpec:
        """Return a spec of the service that adds ``plus``; its image is in the engine."""
        if plus not in self._made:
            self._made[plus] = self._make(plus)
        entry, reference = self._made[plus]
        chosen = DeploySettings(**{"port": 0, **settings})
        return rollout.spec_for(entry, chosen, name=name, image=reference)

    def _make(self, plus: int) -> tuple[Any, str]:
        from modelpack.archive import build_bundle
        from modelpack.sdk.loading import load_import_string

        root = self._folder / f"plus-{plus}"
        root.mkdir()
        (root / f"traffic_{plus}.py").write_text(SERVICE.format(plus=plus))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "path", list(sys.path))
            service = load_import_string(f"traffic_{plus}:Traffic", root)
            project = Project(root=root, name="traffic", server=self._server)
            entry = build_bundle(project, service, store=self._store).entry
        base = os.environ["ENGINE_BASE_IMAGE"]
        plan = plan_image(self._store, entry, ImageSettings(), base=base)
        reference = f"{REPOSITORY}:{plus}"
        build_direct(
            [plan], self._store, base=f"engine:{base}", outputs=["engine"], reference=reference
        )
        return entry, reference

    def remove(self) -> None:
        """Take the images out of the engine."""
        from modelpack.image import connect

        with connect() as engine:
            for _, reference in self._made.values():
                engine.remove_image(reference, force=True)


def deploy(target: DockerTarget, spec: DeploymentSpec) -> str:
    """Bring up what the spec says; return its URL."""
    status = rollout.apply_plan(target, rollout.plan_deployment(target, spec))
    assert status.state is State.RUNNING
    assert status.url is not None
    return status.url


def held(name: str) -> list[str]:
    """Return the containers and volumes that the engine holds for a deployment."""
    from modelpack.image import connect

    label = {"label": f"dev.modelpack.deployment={name}"}
    with connect() as client:
        containers = client.containers(all=True, filters=label)
        volumes = client.volumes(filters=label)["Volumes"] or []
    return [*(one["Names"][0] for one in containers), *(one["Name"] for one in volumes)]


def ask(url: str, route: str = "add", body: bytes = b'{"x":[1]}') -> Any:
    """Return the answer of the service."""
    request = urllib.request.Request(f"{url}/{route}", body, method="POST")
    request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@contextmanager
def load(
    url: str, report: Path, *, rate: float = 100, more: tuple[str, ...] = ()
) -> Iterator[None]:
    """Keep an open loop going, which asks at its times whatever happens."""
    argv = [sys.executable, "-m", "modelpack", "bench", url, "--rate", str(rate), *more]
    argv += ["--duration", "300s", "--warmup", "0s", "--timeout", "30s", "-o", "json"]
    with report.open("w") as out:
        bench = subprocess.Popen(argv, stdout=out, stderr=subprocess.DEVNULL)
    try:
        time.sleep(1.5)
        yield
        time.sleep(1.0)
    finally:
        bench.send_signal(signal.SIGINT)
        bench.wait(60)


def came_of(report: Path) -> tuple[int, int, dict[str, Any]]:
    """Return how many requests of a load were good and failed, and why."""
    [run] = json.loads(report.read_text())["runs"]
    requests = run["requests"]
    assert run["statuses"] == {"200": requests["good"]}
    return requests["good"], requests["failed"] + requests["refused"], run["errors"]
