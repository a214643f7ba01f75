"""A canary beside the revision that was there: by replicas, or by the shares of KServe and Knative."""

from __future__ import annotations

from typing import Any

import pytest
from clustered import deploy, spec, target_at
from modelpack_kubernetes.target import KubernetesTarget
from stand_in import StandIn

from modelpack.deploy import Clock, rollout
from modelpack.errors import DeployError, ModelpackError

MODES = ("deployment", "kserve", "knative", "seldon")


def canary(version: str = "b", **more: Any) -> Any:
    return spec(version, canary_percent=25, min_replicas=3, **more)


def hastened(target: KubernetesTarget) -> KubernetesTarget:
    """Return the target with a clock that passes by waiting alone."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return KubernetesTarget(
        connect=target.connect, push=target.push, clock=Clock(now=lambda: now[0], sleep=sleep)
    )


@pytest.mark.parametrize("mode", MODES)
def test_a_canary_stays_beside_the_former_until_the_next_deploy(
    cluster: StandIn, mode: str
) -> None:
    target = target_at(cluster)
    deploy(target, spec("a", mode=mode, min_replicas=3))
    plan = rollout.plan_deployment(target, canary(mode=mode))
    assert "25 % of the requests; 'digits:a' has the rest" in plan.describe()
    status = rollout.apply_plan(target, plan)
    assert (status.bundle, status.state) == ("digits:b", "running")
    assert bundles(cluster) == {"digits:a", "digits:b"}
    assert rollout.plan_deployment(target, canary(mode=mode)).is_empty

    deploy(target, spec("b", mode=mode, min_replicas=3))
    assert bundles(cluster) == {"digits:b"}
    assert "digits-canary" not in " ".join(cluster.resources())


@pytest.mark.parametrize("mode", MODES)
def test_a_rollback_takes_a_canary_away(cluster: StandIn, mode: str) -> None:
    target = target_at(cluster)
    deploy(target, spec("a", mode=mode, min_replicas=3))
    deploy(target, canary(mode=mode))
    rollout.apply_plan(target, rollout.plan_rollback(target, "digits"))
    assert bundles(cluster) == {"digits:a"}
    assert rollout.plan_deployment(target, spec("a", mode=mode, min_replicas=3)).is_empty


@pytest.mark.parametrize("mode", MODES)
def test_a_canary_that_does_not_come_up_leaves_the_former_as_it_was(
    cluster: StandIn, mode: str
) -> None:
    target = target_at(cluster)
    deploy(target, spec("a", mode=mode, min_replicas=3))
    before = cluster.resources()
    with pytest.raises(DeployError, match="does not come up"):
        deploy(target, canary(mode=mode, FAKE_MODE="crash"))
    assert cluster.resources() == before
    assert bundles(cluster) == {"digits:a"}


@pytest.mark.parametrize("mode", MODES)
def test_one_that_is_baked_gets_all_requests_in_the_end(cluster: StandIn, mode: str) -> None:
    target = hastened(target_at(cluster))
    deploy(target, spec("a", mode=mode, min_replicas=3))
    status = deploy(target, canary(mode=mode, bake_s=600.0))
    assert status.bundle == "digits:b"
    assert bundles(cluster) == {"digits:b"}
    assert rollout.plan_deployment(target, canary(mode=mode, bake_s=600.0)).is_empty


def test_one_that_ends_while_it_is_baked_gives_way(cluster: StandIn) -> None:
    target = target_at(cluster)
    deploy(target, spec("a", min_replicas=3))
    plan, waits = rollout.plan_deployment(target, canary(bake_s=600.0)), []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        fail_canary(cluster)

    moody = KubernetesTarget(
        connect=target.connect, push=target.push, clock=Clock(now=lambda: 0.0, sleep=sleep)
    )
    with pytest.raises(ModelpackError, match="the canary of 'digits' did not do well"):
        rollout.apply_plan(moody, plan)
    assert waits
    assert target.status("digits").bundle == "digits:a"
    assert bundles(cluster) == {"digits:a"}


def test_a_first_deploy_has_no_canary(cluster: StandIn) -> None:
    deploy(target_at(cluster), canary())
    assert "Deployment default/digits-canary" not in cluster.resources()


def test_a_canary_can_be_asked_by_itself(cluster: StandIn) -> None:
    target = target_at(cluster)
    deploy(target, spec("a", min_replicas=3))
    url = deploy(target, canary()).url
    assert url == "http://digits-canary.default.svc"
    answers = {target.fetch(f"{url}/openapi.json", timeout_s=5).body for _ in range(5)}
    assert len(answers) == 1
    assert b'"version": "b"' in answers.pop()


def test_a_canary_after_a_canary_stands_beside_the_same_former(cluster: StandIn) -> None:
    target = target_at(cluster)
    deploy(target, spec("a", min_replicas=3))
    deploy(target, canary("b"))
    deploy(target, canary("c"))
    assert bundles(cluster) == {"digits:a", "digits:c"}
    with pytest.raises(DeployError):
        deploy(target, spec("d", min_replicas=3, FAKE_MODE="crash"))
    assert bundles(cluster) == {"digits:a", "digits:c"}, "a failed deploy puts the canary back"


def bundles(cluster: StandIn) -> set[str]:
    """Return what the pods are of that serve."""
    with cluster.store.changed:
        found = cluster.store.list(cluster.store.named("Pod"))
        env = [one.value["spec"]["containers"][0]["env"] for one in found]
    return {one["value"] for each in env for one in each if one["name"] == "MODELPACK_TAG"}


def fail_canary(cluster: StandIn) -> None:
    """Let the pods of a canary be started again, without becoming ready."""
    with cluster.store.changed:
        cluster.controllers.is_paused = True
        for pod in cluster.store.list(cluster.store.named("Pod")):
            if pod.value["metadata"]["labels"].get("modelpack.dev/track") == "canary":
                status = {**pod.value["status"], "conditions": []}
                [container] = status["containerStatuses"]
                ended = {"waiting": {"reason": "CrashLoopBackOff"}}
                container = {**container, "ready": False, "restartCount": 3, "state": ended}
                cluster.store.set_status(pod, {**status, "containerStatuses": [container]})
        cluster.controllers.is_paused = False
