"""What the tests of the target share: a home, a stand-in of a cluster, a target on it, a real one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modelpack_ray.target import RayTarget

from modelpack.deploy import Clock, DeploymentSpec, DeploySettings, Status, rollout

from .ray_cluster import bundles
from .ray_nodes import Nodes
from .ray_stand_in import StandIn

QUICK = Clock(sleep=lambda seconds: time.sleep(min(seconds, 0.002)))


@pytest.fixture(autouse=True)
def _own_surroundings(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give each test a home of its own, and nothing of this machine's Ray configuration."""
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("user")))
    for variable in ("RAY_DASHBOARD_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A real cluster of two nodes."""
    with Nodes(tmp_path_factory.mktemp("nodes")) as running:
        yield running


@pytest.fixture(scope="session")
def sums_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the bundles ``sums:1``, ``sums:2`` and ``sums:bad``, which does not import."""
    home = tmp_path_factory.mktemp("home")
    bundles(tmp_path_factory.mktemp("sums"), home)
    return home


@pytest.fixture
def real(nodes: Nodes, sums_home: Path, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """The real cluster, with the bundles and the token at hand."""
    monkeypatch.setenv("MODELPACK_HOME", str(sums_home))
    monkeypatch.setenv("RAY_AUTH_TOKEN", nodes.token)
    return nodes


@pytest.fixture
def ray() -> Iterator[StandIn]:
    cluster = StandIn()
    yield cluster
    cluster.close()


@pytest.fixture
def target(ray: StandIn) -> RayTarget:
    return target_at(ray)


def target_at(ray: StandIn, **options: str) -> RayTarget:
    """Return the target on a stand-in; bundles are packed as their digests."""
    given = RayTarget.from_options({"address": ray.address, **options}).given
    return RayTarget(given=given, clock=QUICK, pack=lambda spec: spec.digest.encode())


def spec(version: str = "a", name: str = "digits", **more: Any) -> DeploymentSpec:
    env = {key: more.pop(key) for key in list(more) if key.isupper()}
    return DeploymentSpec(
        name=name,
        bundle=f"digits:{version}",
        digest="sha256:" + (version.encode().hex() * 64)[:64],
        settings=DeploySettings(env=env, **{"ready_timeout_s": 5.0, **more}),
    )


def deploy(target: RayTarget, wanted: DeploymentSpec) -> Status:
    """Plan and apply, as users do."""
    return rollout.apply_plan(target, rollout.plan_deployment(target, wanted))
