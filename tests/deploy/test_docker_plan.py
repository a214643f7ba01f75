"""What a Docker engine would have to change for a port of its own for gRPC."""

from __future__ import annotations

from typing import Any

import pytest

from modelpack.deploy import SILENT, Journal
from modelpack.deploy.docker import DockerTarget
from modelpack.image.ports import LABEL
from tests.deploy.fake_engine import FakeEngine


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine("digits:a")


@pytest.fixture
def docker(engine: FakeEngine) -> DockerTarget:
    return DockerTarget(engine)


def bring_up(docker: DockerTarget, spec: Any) -> None:
    docker.apply(docker.plan(spec, docker.read_live(spec)), Journal(), SILENT)
    docker.settle(spec.name)


def test_a_port_for_grpc_makes_another_keeper_at_the_same_name(
    docker: DockerTarget, engine: FakeEngine, make_spec: Any
) -> None:
    before = make_spec("a", image="digits:a", port=3000)
    after = make_spec("a", image="digits:a", port=3000, grpc_port=9000)
    bring_up(docker, before)
    plan = docker.plan(after, docker.read_live(after))

    [port, replicas] = plan.changes
    assert (port.kind, port.action) == ("port", "replace")
    assert (port.before, port.after) == ({"grpc_port": None}, {"grpc_port": 9000})
    assert replicas.after == {"grpc_port": 9000}
    assert "what keeps the port is made anew: the port is away for a moment" in plan.warnings

    bring_up(docker, after)
    [keeper] = [one for name, one in engine.containers.items() if "-P" in name]
    bound = keeper["HostConfig"]["PortBindings"]["3000/tcp"]
    assert [one["HostPort"] for one in bound] == ["3000", "9000"]
    again = docker.plan(after, docker.read_live(after)).changes
    assert not [one for one in again if "grpc_port" in one.after]


def test_a_first_deploy_names_both_ports(docker: DockerTarget, make_spec: Any) -> None:
    spec = make_spec("a", image="digits:a", port=3000, grpc_port=9000)
    port = docker.plan(spec, docker.read_live(spec)).changes[0]
    assert port.after == {"host": "127.0.0.1", "port": 3000, "grpc_port": 9000}


def test_an_image_that_says_nothing_of_grpc_is_noted(
    docker: DockerTarget, engine: FakeEngine, make_spec: Any
) -> None:
    spec = make_spec("a", image="digits:a", port=3000, grpc_port=9000)
    said = "grpc_port: the image 'digits:a' does not say that it speaks gRPC"
    assert said in docker.plan(spec, docker.read_live(spec)).warnings

    engine.images["digits:a"].setdefault("Config", {}).setdefault("Labels", {})
    engine.images["digits:a"]["Config"]["Labels"][f"{LABEL}grpc"] = "9000"
    assert said not in docker.plan(spec, docker.read_live(spec)).warnings
