"""The target over a stand-in of a cluster: the whole contract, and what is particular to Ray Serve."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import Any

import pytest
from modelpack_ray import applications
from modelpack_ray.target import RayTarget

from modelpack.deploy import State, rollout
from modelpack.errors import (
    ConflictError,
    CredentialsError,
    DeployError,
    ModelpackError,
    UsageError,
)
from modelpack.testing import CLAIMS, Claim, TargetCase

from .conftest import deploy, spec, target_at
from .ray_stand_in import StandIn


@pytest.fixture
def case(ray: StandIn, target: RayTarget) -> TargetCase:
    return TargetCase(
        target=target,
        spec=spec("a"),
        changed=spec("b", GREETING="hello"),
        broken=spec("c", BREAKS="yes"),
        resources=ray.resources,
        most_kills=4,
    )


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_the_contract_of_targets(claim: Claim, case: TargetCase) -> None:
    claim(case)


OTHERS = {
    "name": "others",
    "route_prefix": "/others",
    "import_path": "fruit:app",
    "runtime_env": {
        "working_dir": "https://x.org/fruit.zip",
        "py_modules": [],
        "env_vars": {"A": "b"},
    },
    "args": {"env": {}, "bundle": "fruit:1", "grace_s": 1},
    "deployments": [{"name": "FruitMarket", "num_replicas": 2}],
}


def others_of(ray: StandIn) -> dict[str, Any] | None:
    app = ray.apps.get("others")
    return None if app is None else app["config"]


def test_applications_of_others_stay_as_they_are(ray: StandIn, target: RayTarget) -> None:
    ray.put({"applications": [OTHERS]})
    ray.imperative["by_hand"] = {"route_prefix": "/by_hand"}
    deploy(target, spec("a"))
    deploy(target, spec("b"))
    with pytest.raises(DeployError):
        deploy(target, spec("c", BREAKS="1"))
    target.destroy("digits")
    assert others_of(ray) == OTHERS
    assert ray.resources() == ["application/others"]
    assert [one.name for one in target.list()] == []
    listed = [{one["name"] for one in put["applications"]} for put in ray.puts[1:]]
    assert all("others" in names and "by_hand" not in names for names in listed)


def test_whoever_writes_in_between_does_not_take_ours_away(ray: StandIn, target: RayTarget) -> None:
    """Their list was read before ours, comes after it, and so has nothing of ours."""

    class Late:
        """Puts their list once, right behind ours that creates the application."""

        is_done = False

        def __call__(self, method: str, path: str) -> None:
            if not self.is_done and any(name.startswith("digits--") for name in ray.apps):
                self.is_done = True
                ray.put({"applications": [OTHERS]})

    ray.fault = Late()
    deploy(target, spec("a"))
    assert target.status("digits").state is State.RUNNING
    assert others_of(ray) == OTHERS


@pytest.mark.parametrize("machines", [1, 4])
def test_all_who_deploy_at_once_get_there(
    ray: StandIn, machines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if machines > 1:  # they know nothing of each other's locks
        monkeypatch.setattr(applications, "_alone", lambda address: nullcontext())
    names = [f"digits-{n}" for n in range(4)]
    failed: list[BaseException] = []

    def run(name: str) -> None:
        try:
            deploy(target_at(ray), spec("a", name=name))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert [one.name for one in target_at(ray).list()] == names


def test_what_answers_is_not_touched_before_the_new_one_is_healthy(
    ray: StandIn, target: RayTarget
) -> None:
    deploy(target, spec("a"))
    (first,) = ray.apps
    with pytest.raises(DeployError, match="no weights for you") as caught:
        deploy(target, spec("c", BREAKS="1"))
    assert "revision" in (caught.value.hint or "")
    assert list(ray.apps) == [first]
    assert ray.apps[first]["config"]["route_prefix"] == "/digits"
    assert all(
        config["route_prefix"] == "/digits"
        for put in ray.puts[2:]
        for config in put["applications"]
        if config["name"] == first
    )


def test_the_route_is_in_every_list_between_two_revisions(ray: StandIn, target: RayTarget) -> None:
    deploy(target, spec("a"))
    begin = len(ray.puts)
    deploy(target, spec("b"))
    for put in ray.puts[begin:]:
        routes = [config["route_prefix"] for config in put["applications"]]
        assert routes.count("/digits") == 1


def test_replicas_that_are_kept_apart_are_another_application(
    ray: StandIn, target: RayTarget
) -> None:
    deploy(target, spec("a"))
    (before,) = ray.resources()
    apart = target_at(ray, per_node="1")
    plan = rollout.plan_deployment(apart, spec("a"))
    assert plan.changes[0].after == {"per_node": 1}
    rollout.apply_plan(apart, plan)
    (after,) = ray.resources()
    assert before != after
    (app,) = apart._applications.read()["applications"].values()
    assert app["deployed_app_config"]["deployments"][0]["max_replicas_per_node"] == 1
    assert rollout.plan_deployment(apart, spec("a")).is_empty


def test_packages_are_sent_once(ray: StandIn, target: RayTarget) -> None:
    for version in ("a", "b", "a"):
        deploy(target, spec(version))
    sent = [call for call in ray.calls if call.startswith("PUT /api/packages")]
    assert len(sent) == 3  # the node's code, and each bundle


def test_a_package_that_the_cluster_has_dropped_is_sent_again(
    ray: StandIn, target: RayTarget
) -> None:
    deploy(target, spec("a"))
    deploy(target, spec("b"))
    ray.packages.clear()
    rollout.apply_plan(target, rollout.plan_rollback(target, "digits"))
    assert target.status("digits").bundle == "digits:a"


def test_the_token_is_sent_and_never_kept(
    ray: StandIn, monkeypatch: pytest.MonkeyPatch, target: RayTarget
) -> None:
    ray.token = "very-secret-token-of-a-cluster"
    plan = rollout.plan_deployment(target, spec("a"))
    assert not plan.is_live_known
    with pytest.raises(CredentialsError, match="does not let us in") as caught:
        deploy(target, spec("a"))
    assert "RAY_AUTH_TOKEN" in (caught.value.hint or "")
    monkeypatch.setenv("RAY_AUTH_TOKEN", ray.token)
    deploy(target, spec("a"))
    assert ray.token not in str(target.options)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    with pytest.raises(CredentialsError) as caught:
        target.status("digits")
    assert "another" not in str(caught.value)


def test_a_secret_goes_to_the_replicas_and_into_no_error(
    ray: StandIn, target: RayTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE", "s3cret-value")
    wanted = spec("a", secrets={"TOKEN": "env:SOURCE"})
    deploy(target, wanted)
    (app,) = ray.apps.values()
    assert app["config"]["runtime_env"]["env_vars"] == {"MODELPACK_SECRET_TOKEN": "s3cret-value"}
    assert "s3cret-value" not in str(app["config"]["deployments"])
    monkeypatch.setattr(StandIn, "put", lambda self, request: f"ValidationError: {request}")
    with pytest.raises(ModelpackError, match="ValidationError") as caught:
        deploy(target, spec("b", secrets={"TOKEN": "env:SOURCE"}))
    assert "s3cret-value" not in str(caught.value)


def test_a_secret_that_is_not_there_is_told_before_anything_is_made(
    ray: StandIn, target: RayTarget
) -> None:
    with pytest.raises(UsageError, match="'NOWHERE' is not set"):
        deploy(target, spec("a", secrets={"TOKEN": "env:NOWHERE"}))
    assert (ray.apps, ray.packages) == ({}, {})


def test_masked_variables_of_others_are_never_sent_back(ray: StandIn, target: RayTarget) -> None:
    masked = {**OTHERS, "runtime_env": {**OTHERS["runtime_env"], "env_vars": {"A": "<redacted>"}}}  # type: ignore[dict-item]
    ray.put({"applications": [masked]})
    puts = len(ray.puts)
    with pytest.raises(ConflictError, match="masks the variables of the application 'others'"):
        deploy(target, spec("a"))
    assert len(ray.puts) == puts


def test_a_route_of_somebody_else_is_refused_in_the_plan(ray: StandIn, target: RayTarget) -> None:
    ray.imperative["by_hand"] = {"route_prefix": "/digits"}
    with pytest.raises(ConflictError, match="'by_hand'"):
        rollout.plan_deployment(target, spec("a"))
    elsewhere = target_at(ray, route="/models/digits")
    assert (deploy(elsewhere, spec("a")).url or "").endswith("/models/digits")


def test_a_failed_one_is_made_anew_under_another_name(ray: StandIn, target: RayTarget) -> None:
    deploy(target, spec("a"))
    (first,) = ray.apps
    ray.apps[first].update(status="DEPLOY_FAILED", message="RuntimeError: a node is gone")
    status = target.status("digits")
    assert (status.state, status.detail) == (State.FAILED, "RuntimeError: a node is gone")
    deploy(target, spec("a"))
    assert list(ray.apps) == [f"{first}-2"]


def test_serve_is_started_for_this_machine_alone_unless_told(ray: StandIn) -> None:
    ray.is_running = False
    plan = rollout.plan_deployment(target_at(ray), spec("a"))
    assert any("127.0.0.1:8000" in note and "http_host" in note for note in plan.notes)
    rollout.apply_plan(target_at(ray, http_host="0.0.0.0", http_port="8100"), plan)
    assert ray.puts[0]["http_options"] == {"host": "0.0.0.0", "port": 8100}


def test_a_host_and_a_port_that_count_for_nothing_are_noted(target: RayTarget) -> None:
    (note,) = rollout.plan_deployment(target, spec("a", port=5000)).notes
    assert "those of Ray Serve" in note
    assert rollout.plan_deployment(target, spec("a")).notes == ()


def test_what_hangs_is_given_up_and_leaves_nothing(ray: StandIn, target: RayTarget) -> None:
    ray.slow = 10**9
    with pytest.raises(DeployError, match=r"was not ready within 0\.3 s") as caught:
        deploy(target, spec("a", ready_timeout_s=0.3))
    assert "ray status" in (caught.value.hint or "")
    ray.slow = 0
    assert ray.resources() == []


def test_logs_of_several_replicas_are_in_order_and_numbered(
    ray: StandIn, target: RayTarget
) -> None:
    deploy(target, spec("a"))
    (name,) = ray.apps
    ray.lines = {
        f"serve/modelpack_{name}_service_x.log": [
            '{"time":"1","n":1}',
            '{"time":"3","n":3}',
            "tail",
        ],
        f"serve/modelpack_{name}_service_y.log": ['{"time":"2","n":2}'],
    }
    lines = list(target.logs("digits"))
    assert lines == [
        '1 | {"time":"1","n":1}',
        '2 | {"time":"2","n":2}',
        '1 | {"time":"3","n":3}',
        "1 | tail",
    ]
    assert list(target.logs("digits", tail=2)) == lines[-2:]


def test_following_the_log_ends_with_the_deployment(ray: StandIn, target: RayTarget) -> None:
    deploy(target, spec("a"))
    (name,) = ray.apps
    lines = target.logs("digits", follow=True)
    assert next(lines).startswith('{"time":"1"')
    ray.lines[f"serve/modelpack_{name}_service_r1.log"].append("three")
    target.destroy("digits")
    assert list(lines) == ["two", "three"]


class Faults:
    """Lets every call from the first one that counts go wrong, until it is told to stop."""

    def __init__(self, ray: StandIn, begin: int, kind: str, *, once: bool) -> None:
        self.begin, self.kind, self.once, self.count = begin, kind, once, 0
        self.had_fault = False
        ray.fault = self

    def __call__(self, method: str, path: str) -> str | None:
        self.count += 1
        if self.count == self.begin or (self.count > self.begin and not self.once):
            self.had_fault = True
            return self.kind
        return None


@pytest.mark.parametrize(
    "kind",
    [
        "after",
        pytest.param("before", marks=pytest.mark.long),
        pytest.param("503", marks=pytest.mark.long),
    ],
)
def test_one_call_that_goes_wrong_is_made_again(ray: StandIn, kind: str) -> None:
    for begin in range(1, 100):
        target = target_at(ray)
        deploy(target, spec("a"))
        faults = Faults(ray, begin, kind, once=True)
        assert deploy(target, spec("b")).bundle == "digits:b"
        ray.fault = None
        target.destroy("digits")
        assert ray.resources() == []
        if not faults.had_fault:
            assert begin > 8
            return
    raise AssertionError("an update has more than a hundred calls")


@pytest.mark.parametrize("kind", ["after", pytest.param("before", marks=pytest.mark.long)])
def test_a_cluster_that_goes_away_is_brought_on_when_it_is_back(ray: StandIn, kind: str) -> None:
    for begin in range(3, 200, 3):
        target = target_at(ray)
        deploy(target, spec("a"))
        faults = Faults(ray, begin, kind, once=False)
        try:
            deploy(target, spec("b"))
        except ModelpackError:
            pass
        finally:
            ray.fault = None
        assert deploy(target, spec("b")).bundle == "digits:b"
        assert len(ray.resources()) == 1
        target.destroy("digits")
        if not faults.had_fault:
            return
    raise AssertionError("an update has more than two hundred calls")
