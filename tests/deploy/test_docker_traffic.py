"""An update and a rollback under load, with a real engine and real images: no request is lost."""

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

from modelpack.config.settings import DeploySettings, ImageSettings, Project
from modelpack.deploy import DeploymentSpec, State, rollout
from modelpack.deploy.docker import DockerTarget
from modelpack.deploy.engine import DockerEngine
from modelpack.errors import DeployError
from modelpack.image import plan_image
from modelpack.image.direct.build import build_direct
from modelpack.store import Store

pytestmark = pytest.mark.engine

NAME = f"traffic-{uuid4().hex[:8]}"

SERVICE = """
import modelpack

@modelpack.service
class Traffic:
    @modelpack.api(batch=True)
    def add(self, x: list[int]) -> list[int]:
        return [n + {plus} for n in x]
"""

RATE = 100
MakeSpec = Callable[..., DeploymentSpec]


@pytest.fixture(scope="module")
def make_traffic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeSpec]:
    """Make specs of the service that adds ``plus``, with its image in the engine."""
    from modelpack.archive import build_bundle
    from modelpack.sdk.loading import load_import_string

    store = Store(tmp_path_factory.mktemp("traffic") / "store")
    made: dict[int, tuple[Any, str]] = {}

    def make(plus: int, **settings: Any) -> DeploymentSpec:
        if plus not in made:
            root = tmp_path_factory.mktemp(f"plus-{plus}")
            (root / f"traffic_{plus}.py").write_text(SERVICE.format(plus=plus))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "path", list(sys.path))
                service = load_import_string(f"traffic_{plus}:Traffic", root)
                entry = build_bundle(Project(root=root, name="traffic"), service, store=store).entry
            base = os.environ["ENGINE_BASE_IMAGE"]
            plan = plan_image(store, entry, ImageSettings(), base=base)
            reference = f"modelpack-test/{NAME}:{plus}"
            build_direct(
                [plan], store, base=f"engine:{base}", outputs=["engine"], reference=reference
            )
            made[plus] = (entry, reference)
        entry, reference = made[plus]
        chosen = DeploySettings(**{"port": 0, "min_replicas": 3, **settings})
        return rollout.spec_for(entry, chosen, name=NAME, image=reference)

    yield make
    from modelpack.image import connect

    with connect() as engine:
        for _, reference in made.values():
            engine.remove_image(reference, force=True)


@pytest.fixture
def docker() -> Iterator[DockerTarget]:
    target = DockerTarget(DockerEngine())
    yield target
    if target.inventory(NAME):
        target.destroy(NAME)


def deploy(target: DockerTarget, spec: DeploymentSpec) -> str:
    status = rollout.apply_plan(target, rollout.plan_deployment(target, spec))
    assert status.state is State.RUNNING
    assert status.url is not None
    return status.url


def ask(url: str) -> Any:
    request = urllib.request.Request(f"{url}/add", b'{"x":[1]}', method="POST")
    request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@contextmanager
def load(url: str, report: Path) -> Iterator[None]:
    """Keep an open loop going, which asks at its times whatever happens."""
    argv = [sys.executable, "-m", "modelpack", "bench", url, "--rate", str(RATE)]
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


def test_no_request_fails_through_an_update_and_a_rollback(
    docker: DockerTarget, make_traffic: MakeSpec, tmp_path: Path
) -> None:
    first, second = make_traffic(1), make_traffic(2)
    url = deploy(docker, first)
    assert ask(url) == [2]

    with load(url, tmp_path / "report.json"):
        assert deploy(docker, second) == url
        assert ask(url) == [3]
        back = rollout.plan_rollback(docker, NAME)
        rollout.apply_plan(docker, back)
        assert ask(url) == [2]

    [run] = json.loads((tmp_path / "report.json").read_text())["runs"]
    requests = run["requests"]
    assert (requests["failed"], requests["refused"], run["errors"]) == (0, 0, {})
    assert run["statuses"] == {"200": requests["good"]}
    assert requests["good"] > RATE
    assert len(docker.inventory(NAME)) == 5, "three replicas, what keeps the port, the volume"


@pytest.mark.long
def test_no_request_fails_while_a_deployment_is_scaled_up_and_down(
    docker: DockerTarget, make_traffic: MakeSpec, tmp_path: Path
) -> None:
    url = deploy(docker, make_traffic(1, min_replicas=1))

    with load(url, tmp_path / "report.json"):
        for count in (3, 2, 1):
            plan = rollout.plan_scale(docker, NAME, fewest=count, most=None)
            assert [change.action for change in plan.changes] == ["update"]
            rollout.apply_plan(docker, plan)

    [run] = json.loads((tmp_path / "report.json").read_text())["runs"]
    assert (run["requests"]["failed"], run["errors"]) == (0, {})
    assert len(docker.inventory(NAME)) == 3


@pytest.mark.long
def test_a_revision_that_never_gets_ready_is_never_asked(
    docker: DockerTarget, make_traffic: MakeSpec, tmp_path: Path
) -> None:
    """It waits for a model server that is not there; its log says so, and so does the error."""
    url = deploy(docker, make_traffic(1))
    broken = make_traffic(
        2, env={"MODELPACK_TASKS": "true", "MODELPACK_TASKS_STORE": "redis://127.0.0.1:9/0"}
    )

    with load(url, tmp_path / "report.json"), pytest.raises(DeployError) as caught:
        deploy(docker, broken)

    assert "runs as before" in caught.value.hint
    [run] = json.loads((tmp_path / "report.json").read_text())["runs"]
    assert (run["requests"]["failed"], run["errors"]) == (0, {})
    assert ask(url) == [2]
