"""The target on a real Ray cluster of two nodes, further: ``make test-peers``."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path

import pytest
from modelpack_ray.rest import Dashboard
from modelpack_ray.target import RayTarget

from modelpack.client import Client, Retry
from modelpack.deploy import State, rollout
from modelpack.testing import CLAIMS, Claim, TargetCase

from .conftest import deploy
from .ray_cluster import (
    CLIENTS,
    WITHIN_S,
    ask,
    failures,
    load,
    nodes_with_replicas,
    sums,
    target_on,
    wait_for,
)
from .ray_nodes import Nodes

pytestmark = [pytest.mark.peers, pytest.mark.network]


@pytest.fixture
def target(real: Nodes) -> RayTarget:
    return target_on(real)


def test_a_rollback_under_load_fails_no_request(target: RayTarget) -> None:
    deploy(target, sums("1"))
    status = deploy(target, sums("2"))
    with load(f"{status.url}/predict") as seen:
        wait_for(lambda: seen["[6.0]"] > 20)
        rollout.apply_plan(target, rollout.plan_rollback(target, "sums"))
        wait_for(lambda: seen["[3.0]"] > 20)
    assert set(seen) == {"[6.0]", "[3.0]"}, seen


def test_a_scaling_is_done_when_the_replicas_are_there(target: RayTarget) -> None:
    status = deploy(target, sums("1", min_replicas=1))
    with load(f"{status.url}/predict") as seen:
        for fewest, most in ((2, None), (1, None), (2, 3), (1, 1)):
            rollout.apply_plan(target, rollout.plan_scale(target, "sums", fewest=fewest, most=most))
            assert len(nodes_with_replicas(target)) == fewest
    assert set(seen) == {"[3.0]"}, seen


def test_a_secret_reaches_the_service(target: RayTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE", "s3cret")
    status = deploy(target, sums("1", min_replicas=1, secrets={"TOKEN": "env:SOURCE"}))
    assert ask(f"{status.url}/token", b"{}") == "s3cret"


def test_the_log_is_that_of_the_server(target: RayTarget) -> None:
    deploy(target, sums("1", min_replicas=1))
    lines = [json.loads(line[line.index("{") :]) for line in target.logs("sums")]
    assert ("ready", "sums:1") in {(line["event"], line.get("tag")) for line in lines}


def test_packages_may_lie_in_a_folder_that_all_nodes_see(real: Nodes, tmp_path: Path) -> None:
    target = target_on(real, packages=str(tmp_path / "packages"))
    status = deploy(target, sums("2", min_replicas=1))
    assert ask(f"{status.url}/predict") == [6.0]
    assert len(list((tmp_path / "packages").iterdir())) == 2
    target.destroy("sums")


def test_a_service_that_sleeps_holds_the_first_request_and_answers_it(real: Nodes) -> None:
    target = target_on(real)
    wanted = sums("1", min_replicas=0, max_replicas=2, idle_s=3.0, window_s=2.0)
    url = f"{deploy(target, wanted).url}/predict"
    assert ask(url, timeout_s=WITHIN_S) == [3.0]
    wait_for(lambda: str(target.status("sums").replicas) == "0 of 2 awake")
    assert target.status("sums").state is State.RUNNING
    assert ask(url, timeout_s=WITHIN_S) == [3.0]


@pytest.mark.long
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_the_contract_of_targets(claim: Claim, real: Nodes) -> None:
    target = target_on(real)
    if target.status("sums").state is not State.ABSENT:
        target.destroy("sums")
    claim(
        TargetCase(
            target=target,
            spec=sums("1", min_replicas=1),
            changed=sums("2", min_replicas=1),
            broken=sums("bad", min_replicas=1),
            resources=lambda: list(Dashboard(real.address).applications()["applications"]),
            most_kills=4,
        )
    )


def settled_failures(seen: Counter[str]) -> int:
    """Return how many were not answered, once each client has had answers again."""
    count = seen["[3.0]"]
    wait_for(lambda: seen["[3.0]"] > count + 100)
    return failures(seen)


def test_a_lost_node_costs_the_requests_that_it_had_and_none_after_them(
    target: RayTarget, real: Nodes
) -> None:
    """Of clients that ask once, and of ours when it may ask again."""
    url = f"{deploy(target, sums('1')).url}"
    again = Retry(repeats_lost=True)
    with (
        Client(url, retry=again) as client,
        load(f"{url}/predict") as seen,
        load(url, lambda _: client.predict(x=[[1, 2]]).tolist()) as repeated,
    ):
        wait_for(lambda: min(seen["[3.0]"], repeated["[3.0]"]) > 50)
        real.lose("second")
        wait_for(lambda: len(nodes_with_replicas(target)) == 1)
        lost = settled_failures(seen)
        real.add("second")
        wait_for(lambda: len(nodes_with_replicas(target)) == 2)
    # What a client had there, and one more should it ask again before the last process is gone.
    assert failures(seen) == lost <= 2 * CLIENTS, seen
    assert set(repeated) == {"[3.0]"}, repeated


def test_a_node_whose_ray_is_killed_is_replaced(target: RayTarget, real: Nodes) -> None:
    """Its proxy lives on for a moment, and fails what it is asked; then the rest answers all."""
    url = f"{deploy(target, sums('1')).url}"
    with load(f"{url}/predict") as seen:
        wait_for(lambda: seen["[3.0]"] > 50)
        real.end("second", signal.SIGKILL)
        wait_for(lambda: len(nodes_with_replicas(target)) == 1)
        failed = settled_failures(seen)
        real.add("second")
        wait_for(lambda: len(nodes_with_replicas(target)) == 2)
    assert failures(seen) == failed, seen


def test_what_is_destroyed_leaves_nothing(target: RayTarget, real: Nodes) -> None:
    deploy(target, sums("2"))
    target.destroy("sums")
    assert Dashboard(real.address).applications()["applications"] == {}
    assert _servers(real) == []


def _servers(nodes: Nodes) -> list[str]:
    """Return the servers of bundles that run on the nodes."""
    cache = str(nodes.env["MODELPACK_CACHE"])
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if cache in words:
            found.append(words)
    return found
