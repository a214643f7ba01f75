"""Real servers below the local target, under load: nothing is lost, whatever is changed meanwhile."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest

from modelpack.deploy import DeploymentSpec, State, Status, rollout
from modelpack.deploy.command import folder_of
from modelpack.deploy.local import LocalTarget
from modelpack.deploy.report import GroupReport, read_report
from tests.deploy.local_service import FASTER, RealService
from tests.deploy.traffic import ask, came_of, load

WITHIN_S = 60.0
SLEEPS = {"min_replicas": 0, "max_replicas": 2, "idle_s": 0.6, "in_flight": 4, **FASTER}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> RealService:
    return RealService(tmp_path_factory.mktemp("traffic"))


@pytest.fixture
def local(service: RealService) -> Iterator[LocalTarget]:
    target = service.target
    yield target
    for status in target.list():
        target.destroy(status.name)


def deploy(target: LocalTarget, spec: DeploymentSpec) -> str:
    status = rollout.apply_plan(target, rollout.plan_deployment(target, spec))
    assert status.state is State.RUNNING
    assert status.url is not None
    return status.url


def wait_for(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not claim():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def serving() -> GroupReport:
    """Return what the supervisor says of the group that has the port."""
    said = read_report(folder_of("traffic"))
    assert said is not None
    group = said.group(said.serving or "")
    assert group is not None
    return group


def children() -> list[int]:
    return [one.child for one in serving().replicas if one.child is not None]


def status_of(target: LocalTarget) -> Status:
    return target.status("traffic")


def test_no_request_fails_through_an_update_and_a_rollback(
    local: LocalTarget, service: RealService, tmp_path: Path
) -> None:
    url = deploy(local, service.spec(1, min_replicas=2))
    assert ask(url) == [2]

    with load(url, tmp_path / "report.json"):
        assert deploy(local, service.spec(2, min_replicas=2)) == url
        assert ask(url) == [3]
        rollout.apply_plan(local, rollout.plan_rollback(local, "traffic"))
        assert ask(url) == [2]

    good, failed, errors = came_of(tmp_path / "report.json")
    assert (failed, errors) == (0, {})
    assert good > 100
    assert len(children()) == 2


def test_nobody_runs_while_nobody_asks_and_all_who_wait_are_answered(
    local: LocalTarget, service: RealService
) -> None:
    url = deploy(local, service.spec(1, **SLEEPS))
    wait_for(lambda: not serving().replicas)
    asleep = status_of(local)
    assert asleep.state is State.RUNNING
    assert asleep.replicas is not None
    assert (asleep.replicas.awake, asleep.replicas.most) == (0, 2)
    assert asleep.replicas.asleep_since is not None
    assert rollout.plan_deployment(local, service.spec(1, **SLEEPS)).is_empty
    assert not serving().replicas, "to look at it wakes nobody"

    with ThreadPoolExecutor(20) as clients:
        answers = list(clients.map(lambda _: ask(url), range(20)))

    assert answers == [[2]] * 20
    wait_for(lambda: not serving().replicas)
    assert [line for line in local.logs("traffic") if '"waking"' in line]
    counted = status_of(local).replicas
    assert counted is not None
    assert (counted.counts["wakes"], counted.counts["sleeps"]) == (1, 2)
    assert counted.counts["held"] >= 1
    assert not serving().replicas, "to ask what was counted wakes nobody"


@pytest.mark.long
def test_a_request_on_a_connection_that_stayed_open_wakes_it(
    local: LocalTarget, service: RealService
) -> None:
    url = deploy(local, service.spec(1, **SLEEPS))
    connection = HTTPConnection(url.removeprefix("http://"), timeout=WITHIN_S)
    for _ in range(2):
        connection.request("POST", "/add", b'{"x":[1]}', {"content-type": "application/json"})
        assert connection.getresponse().read() == b"[2]"
        connection.auto_open = 0  # from here on it is this connection or none
        wait_for(lambda: not serving().replicas)
    connection.close()


def test_one_that_sleeps_is_updated_and_sleeps_on(local: LocalTarget, service: RealService) -> None:
    url = deploy(local, service.spec(1, **SLEEPS))
    wait_for(lambda: not serving().replicas)

    assert deploy(local, service.spec(2, **SLEEPS)) == url
    wait_for(lambda: not serving().replicas)
    assert ask(url) == [3]
    assert status_of(local).bundle == service.spec(2).bundle


def test_it_grows_and_shrinks_with_the_load_and_loses_nothing(
    local: LocalTarget, service: RealService, tmp_path: Path
) -> None:
    grows = {"min_replicas": 1, "max_replicas": 3, "in_flight": 4, **FASTER}
    url = deploy(local, service.spec(1, **grows))
    assert str(status_of(local).replicas) == "1 of 3 awake"

    body = tmp_path / "nap.json"
    body.write_text('{"seconds": 0.1}')
    nap = ("--api", "nap", "--input", str(body))
    with load(url, tmp_path / "report.json", rate=100, more=nap):
        wait_for(lambda: serving().joined == 3)
    wait_for(lambda: len(serving().replicas) == 1)

    good, failed, errors = came_of(tmp_path / "report.json")
    assert (failed, errors) == (0, {})
    assert good > 100
    lines = list(local.logs("traffic"))
    assert any(line.startswith("3 | ") for line in lines)


def test_it_is_scaled_in_place(local: LocalTarget, service: RealService) -> None:
    url = deploy(local, service.spec(1))
    [first] = children()

    for count in (3, 2):
        plan = rollout.plan_scale(local, "traffic", fewest=count, most=None)
        assert [change.action for change in plan.changes] == ["update"]
        assert rollout.apply_plan(local, plan).url == url
        wait_for(lambda count=count: len(children()) == count)
    plan = rollout.plan_scale(local, "traffic", fewest=0, most=2)
    assert rollout.apply_plan(local, plan).state is State.RUNNING

    assert children()[0] == first, "it has run on"
    assert ask(url) == [2]


@pytest.mark.long
def test_one_that_is_killed_is_replaced_while_the_others_answer(
    local: LocalTarget, service: RealService
) -> None:
    url = deploy(local, service.spec(1, min_replicas=2))
    os.kill(children()[0], signal.SIGKILL)

    for _ in range(20):
        assert ask(url) == [2]
    wait_for(lambda: status_of(local).restarts == 1 and serving().joined == 2)


def test_requests_that_run_long_are_answered_by_one_that_is_to_go(
    local: LocalTarget, service: RealService
) -> None:
    """However long they take: longer than the grace of the server here."""
    spec = service.spec(1, min_replicas=2, env={"MODELPACK_GRACE_S": "0.3"})
    url = deploy(local, spec)
    with ThreadPoolExecutor(8) as clients:
        slow = [clients.submit(ask, url, "nap", b'{"seconds": 2.5}') for _ in range(8)]
        time.sleep(0.5)  # so that both have some; with fewer the claim holds all the more
        rollout.apply_plan(local, rollout.plan_scale(local, "traffic", fewest=1, most=None))
        assert [one.result(WITHIN_S) for one in slow] == [2.5] * 8
    wait_for(lambda: len(children()) == 1)


@pytest.mark.long
def test_no_request_fails_while_deploys_are_killed_at_any_moment(
    local: LocalTarget, service: RealService, tmp_path: Path
) -> None:
    chance = random.Random(4)
    wishes = [{"min_replicas": 2}, {"min_replicas": 1, "max_replicas": 3, "in_flight": 1, **FASTER}]
    url = deploy(local, service.spec(1, min_replicas=2))
    service.spec(2)  # made before anybody is killed over it

    with load(url, tmp_path / "report.json"):
        for _ in range(12):
            spec = service.spec(chance.choice((1, 2)), **chance.choice(wishes))
            if (pid := os.fork()) == 0:
                with suppress(BaseException):
                    deploy(local, spec)
                os._exit(0)
            time.sleep(chance.uniform(0.0, 1.0))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        deploy(local, service.spec(2, min_replicas=2))
        assert ask(url) == [3]

    good, failed, errors = came_of(tmp_path / "report.json")
    assert (failed, errors) == (0, {})
    assert good > 100
    assert len(children()) == 2
    assert len(read_report(folder_of("traffic")).groups) == 1
