"""gRPC at the ports of a deployment on the real engine: it wakes, and an update loses no call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from modelpack.config.settings import ServerSettings
from modelpack.deploy import DeploymentSpec, rollout
from modelpack.deploy.docker import DockerTarget
from modelpack.deploy.engine import DockerEngine
from modelpack.deploy.ports import free_port
from tests.deploy.grpc_calls import HOST, SERVING, calling, check
from tests.deploy.supervised import wait_for
from tests.deploy.traffic import TrafficImages, ask, deploy

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.long]

NAME = f"grpc-{uuid4().hex[:8]}"
SLEEPS = {"min_replicas": 0, "max_replicas": 2, "idle_s": 0.6, "every_s": 0.5}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrafficImages]:
    made = TrafficImages(tmp_path_factory.mktemp("grpc"), server=ServerSettings(grpc_port=9000))
    yield made
    made.remove()


@pytest.fixture
def docker() -> Iterator[DockerTarget]:
    target = DockerTarget(DockerEngine())
    yield target
    if target.inventory(NAME):
        target.destroy(NAME)


def is_asleep(target: DockerTarget) -> bool:
    found = target.status(NAME).replicas
    return found is not None and found.awake == 0


def test_a_call_wakes_who_sleeps_and_an_update_loses_none(
    docker: DockerTarget, images: TrafficImages
) -> None:
    port, grpc_port = free_port(HOST), free_port(HOST)

    def spec(plus: int, **more: Any) -> DeploymentSpec:
        return images.spec(plus, NAME, port=port, grpc_port=grpc_port, **more)

    url = deploy(docker, spec(1, **SLEEPS))
    for one in (grpc_port, port):
        wait_for(lambda: is_asleep(docker))
        assert check(one) == SERVING

    with calling(port, grpc_port) as callers:
        assert deploy(docker, spec(2, **SLEEPS)) == url
        before = callers.answered()
        wait_for(lambda: all(now > before[name] for name, now in callers.answered().items()))
    assert ask(url) == [3]


def test_a_port_for_grpc_comes_later_and_goes_again(
    docker: DockerTarget, images: TrafficImages
) -> None:
    port, grpc_port = free_port(HOST), free_port(HOST)
    deploy(docker, images.spec(1, NAME, port=port))
    assert check(port) == SERVING

    plan = rollout.plan_deployment(docker, images.spec(1, NAME, port=port, grpc_port=grpc_port))
    assert [(one.kind, one.action) for one in plan.changes] == [
        ("port", "replace"),
        ("replicas", "replace"),
    ]
    assert "the port is away for a moment" in " ".join(plan.warnings)
    rollout.apply_plan(docker, plan)
    assert check(grpc_port) == SERVING
    assert rollout.plan_deployment(
        docker, images.spec(1, NAME, port=port, grpc_port=grpc_port)
    ).is_empty

    deploy(docker, images.spec(1, NAME, port=port))
    assert check(port) == SERVING
    [keeper] = [
        one for one in DockerEngine().names(f"dev.modelpack.deployment={NAME}") if "-P" in one
    ]
    bound = (DockerEngine().container(keeper) or {})["HostConfig"]["PortBindings"]["3000/tcp"]
    assert [one["HostPort"] for one in bound] == [str(port)]
