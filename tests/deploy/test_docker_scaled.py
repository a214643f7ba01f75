"""Replicas that sleep, wake, grow and shrink on a real engine: no request is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from modelpack import testing
from modelpack.deploy import SILENT, DeploymentSpec, Journal, State, Status, rollout
from modelpack.deploy.docker import DockerTarget
from modelpack.deploy.engine import DockerEngine
from modelpack.errors import DeployError
from modelpack.image import connect
from tests.deploy.traffic import TrafficImages, ask, came_of, deploy, held, load

pytestmark = pytest.mark.engine

NAME = f"scaled-{uuid4().hex[:8]}"
KNOBS = {
    "min_replicas": 0,
    "max_replicas": 3,
    "in_flight": 3,
    "idle_s": 1.0,
    "every_s": 0.5,
    "window_s": 1.0,
    "cooldown_up_s": 0.5,
    "cooldown_down_s": 1.0,
}
MakeSpec = Callable[..., DeploymentSpec]


@pytest.fixture
def scaled(traffic_images: TrafficImages) -> MakeSpec:
    """Make specs of the service that adds ``plus``; nobody of it is awake while nobody asks."""

    def make(plus: int = 1, **settings: Any) -> DeploymentSpec:
        return traffic_images.spec(plus, NAME, **{**KNOBS, **settings})

    return make


@pytest.fixture
def docker() -> Iterator[DockerTarget]:
    target = DockerTarget(DockerEngine())
    yield target
    if target.inventory(NAME):
        target.destroy(NAME)


def wait_until(claim: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.1)


def awake(target: DockerTarget) -> int:
    found = target.status(NAME).replicas
    assert found is not None
    return found.awake


def containers(target: DockerTarget) -> list[str]:
    names = (one.removeprefix("container/") for one in target.inventory(NAME))
    return [name for name in names if f"{NAME}-R" in name]


def servers(target: DockerTarget) -> int:
    """Return how many processes there are besides process 1 of each container."""
    with connect() as client:
        return sum(len(client.top(name)["Processes"]) - 1 for name in containers(target))


def until_asleep(target: DockerTarget) -> Status:
    wait_until(lambda: awake(target) == 0)
    assert servers(target) == 0
    return target.status(NAME)


def test_who_asks_a_service_that_sleeps_is_answered(docker: DockerTarget, scaled: MakeSpec) -> None:
    url = deploy(docker, scaled())
    found = until_asleep(docker)
    assert (found.state, found.detail) == (State.RUNNING, None)
    assert found.replicas is not None
    assert found.replicas.asleep_since is not None

    with ThreadPoolExecutor(20) as clients:
        answers = list(clients.map(lambda _: ask(url), range(20)))

    assert answers == [[2]] * 20
    assert servers(docker) >= 1
    assert any('"waking"' in line for line in docker.logs(NAME))


def test_one_whose_container_was_started_again_can_be_woken(
    docker: DockerTarget, scaled: MakeSpec
) -> None:
    url = deploy(docker, scaled(max_replicas=1))
    for before in ("awake", "asleep"):
        if before == "asleep":
            until_asleep(docker)
        with connect() as client:
            client.restart(containers(docker)[0])

        assert ask(url) == [2], before
        wait_until(lambda: docker.status(NAME).state is State.RUNNING)


def test_a_service_that_sleeps_is_updated_and_taken_back(
    docker: DockerTarget, scaled: MakeSpec
) -> None:
    url = deploy(docker, scaled(1))
    until_asleep(docker)

    assert deploy(docker, scaled(2)) == url
    assert ask(url) == [3]
    rollout.apply_plan(docker, rollout.plan_rollback(docker, NAME))

    assert ask(url) == [2]
    assert len(docker.inventory(NAME)) == 5, "three replicas, what keeps the port, the volume"


def test_no_request_fails_while_it_grows_and_shrinks(
    docker: DockerTarget, scaled: MakeSpec, tmp_path: Path
) -> None:
    url = deploy(docker, scaled(min_replicas=1, idle_s=None))
    nap = tmp_path / "nap.json"
    nap.write_text('{"seconds": 0.3}')
    busy = ("--api", "nap", "--input", str(nap))

    with load(url, tmp_path / "calm.json", rate=20):
        with load(url, tmp_path / "busy.json", rate=40, more=busy):
            wait_until(lambda: awake(docker) == 3)
        wait_until(lambda: awake(docker) == 1)

    for report in ("calm.json", "busy.json"):
        good, failed, errors = came_of(tmp_path / report)
        assert (failed, errors) == (0, {}), report
        assert good > 20


@pytest.mark.long
def test_no_request_fails_through_an_update_of_as_many_as_serve(
    docker: DockerTarget, scaled: MakeSpec, tmp_path: Path
) -> None:
    url = deploy(docker, scaled(1))
    nap = tmp_path / "nap.json"
    nap.write_text('{"seconds": 0.3}')

    with load(url, tmp_path / "report.json", rate=30, more=("--api", "nap", "--input", str(nap))):
        wait_until(lambda: awake(docker) == 3)
        plan = rollout.plan_deployment(docker, scaled(2))
        docker.apply(plan, Journal(), SILENT)
        assert awake(docker) == 3, "of the new revision, beside three that serve"
        docker.revert(NAME)
        assert ask(url) == [2]
        assert deploy(docker, scaled(2)) == url
        assert ask(url) == [3]
        rollout.apply_plan(docker, rollout.plan_rollback(docker, NAME))

    good, failed, errors = came_of(tmp_path / "report.json")
    assert (failed, errors) == (0, {})
    assert good > 100


@pytest.mark.long
def test_no_request_fails_as_a_fixed_number_becomes_the_load_s_and_back(
    docker: DockerTarget, scaled: MakeSpec, tmp_path: Path
) -> None:
    fixed = {**dict.fromkeys(KNOBS), "min_replicas": 2}
    url = deploy(docker, scaled(**fixed))

    with load(url, tmp_path / "report.json", rate=50):
        plan = rollout.plan_scale(docker, NAME, fewest=0, most=3)
        assert [one.action for one in plan.changes] == ["replace"], (
            "those that are there never sleep"
        )
        assert rollout.apply_plan(docker, plan).url == url
        assert docker.status(NAME).replicas is not None
        assert deploy(docker, scaled(**fixed)) == url
        assert docker.status(NAME).replicas is None

    good, failed, errors = came_of(tmp_path / "report.json")
    assert (failed, errors) == (0, {})
    assert good > 50


@pytest.mark.long
def test_another_policy_is_followed_without_a_restart_of_what_serves(
    docker: DockerTarget, scaled: MakeSpec
) -> None:
    url = deploy(docker, scaled())
    before = containers(docker)
    until_asleep(docker)

    plan = rollout.plan_scale(docker, NAME, fewest=2, most=None)
    assert [one.action for one in plan.changes] == ["update"]
    assert rollout.apply_plan(docker, plan).url == url

    wait_until(lambda: awake(docker) == 2)
    assert len(set(before) & set(containers(docker))) == 2
    assert rollout.plan_scale(docker, NAME, fewest=2, most=None).is_empty


@pytest.mark.long
@pytest.mark.parametrize("first", ["P", "R"])
def test_it_sleeps_and_wakes_after_a_restart_of_the_machine(
    docker: DockerTarget, scaled: MakeSpec, free_port: int, first: str
) -> None:
    """What was in memory is gone, and the containers come in any order."""
    url = deploy(docker, scaled(port=free_port))
    names = [one.removeprefix("container/") for one in docker.inventory(NAME)[:-1]]
    names.sort(key=lambda name: f"{NAME}-{first}" not in name)
    engine = DockerEngine()
    for name in names:
        engine.stop(name, grace_s=5)
    for name in names:
        engine.start(name)

    wait_until(lambda: docker.status(NAME).state is State.RUNNING)  # its keeper listens again
    assert ask(url) == [2]
    until_asleep(docker)
    assert ask(url) == [2]


@pytest.mark.long
def test_an_image_that_cannot_sleep_is_refused(
    docker: DockerTarget, scaled: MakeSpec, make_spec: Any, service_image: Any
) -> None:
    deploy(docker, scaled())
    old = make_spec("o", name=NAME, image=f"modelpack-test/{NAME}:old", **KNOBS)
    service_image(old.image, old.digest)

    with pytest.raises(DeployError, match="do not sleep: 0 of 3 can be woken") as caught:
        deploy(docker, old)

    assert "containerize" in (caught.value.hint or "")
    assert docker.status(NAME).bundle != old.bundle


@pytest.mark.long
@pytest.mark.parametrize("claim", testing.CLAIMS, ids=lambda claim: claim.__name__)
def test_docker_keeps_the_contract_where_the_load_decides(
    claim: Any, docker: DockerTarget, scaled: MakeSpec, free_port: int
) -> None:
    broken = {"MODELPACK_TASKS": "true", "MODELPACK_TASKS_STORE": "redis://127.0.0.1:9/0"}
    claim(
        testing.TargetCase(
            target=docker,
            spec=scaled(1, port=free_port),
            changed=scaled(2, port=free_port),
            broken=scaled(1, port=free_port, env=broken, ready_timeout_s=5.0),
            resources=lambda: held(NAME),
        )
    )
