"""An update and a rollback under load, with a real engine and real images: no request is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from modelpack.deploy import DeploymentSpec, rollout
from modelpack.deploy.docker import DockerTarget
from modelpack.deploy.engine import DockerEngine
from modelpack.deploy.engine_words import KEEPER_LABEL, KEEPER_WORDS
from modelpack.deploy.ports import free_port
from modelpack.errors import DeployError
from tests.deploy.traffic import TrafficImages, ask, came_of, deploy, load

pytestmark = pytest.mark.engine

NAME = f"traffic-{uuid4().hex[:8]}"

MakeSpec = Callable[..., DeploymentSpec]


@pytest.fixture
def make_traffic(traffic_images: TrafficImages) -> MakeSpec:
    """Make specs of the service that adds ``plus``, with three replicas."""

    def make(plus: int, **settings: Any) -> DeploymentSpec:
        return traffic_images.spec(plus, NAME, **{"min_replicas": 3, **settings})

    return make


@pytest.fixture
def docker() -> Iterator[DockerTarget]:
    target = DockerTarget(DockerEngine())
    yield target
    if target.inventory(NAME):
        target.destroy(NAME)


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

    good, failed, errors = came_of(tmp_path / "report.json")
    assert (failed, errors) == (0, {})
    assert good > 100
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

    _, failed, errors = came_of(tmp_path / "report.json")
    assert (failed, errors) == (0, {})
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
    _, failed, errors = came_of(tmp_path / "report.json")
    assert (failed, errors) == (0, {})
    assert ask(url) == [2]


class OlderEngine(DockerEngine):
    """Makes keepers as a modelpack did that knew nothing of scaling: they say nothing of words."""

    def create(self, name: str, settings: Any, host: Any) -> None:
        """Make it without that label."""
        labels = {key: one for key, one in settings["labels"].items() if key != KEEPER_LABEL}
        super().create(name, {**settings, "labels": labels}, host)


@pytest.mark.long
def test_an_older_keeper_is_replaced_under_load_and_the_port_is_away_for_a_moment(
    docker: DockerTarget, make_traffic: MakeSpec, tmp_path: Path
) -> None:
    port = free_port("127.0.0.1")
    url = deploy(DockerTarget(OlderEngine()), make_traffic(1, port=port, min_replicas=2))
    scaled = make_traffic(2, port=port, min_replicas=1, max_replicas=3)
    plan = rollout.plan_deployment(docker, scaled)
    [change] = [one for one in plan.changes if one.kind == "port"]
    assert (change.before, change.after) == ({"words": 1}, {"words": KEEPER_WORDS})
    assert "the port is away for a moment" in " ".join(plan.warnings)

    with load(url, tmp_path / "report.json"):
        rollout.apply_plan(docker, plan)
        assert ask(url) == [3]

    good, failed, errors = came_of(tmp_path / "report.json")
    print(f"older keeper: {good} good, {failed} failed: {errors}")
    assert set(errors) <= {"connect", "reset", "refused", "closed"}, errors
    assert good > failed
    assert rollout.plan_deployment(docker, scaled).is_empty
    keepers = [one for one in docker.inventory(NAME) if "-P" in one and "container/" in one]
    assert len(keepers) == 1
