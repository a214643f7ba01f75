"""Why a revision does not come up, in few words, and what is kept then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clustered import deploy, spec, target_at
from modelpack_kubernetes.kinds import DEPLOYMENT
from modelpack_kubernetes.leasing import lease_name
from stand_in import StandIn

from modelpack.deploy import State
from modelpack.errors import ConflictError, DeployError, UsageError


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("crash", "keeps ending.*: the model cannot be read"),
        ("pull", 'Back-off pulling image "digits:b": not found'),
        ("unschedulable", r"not ready within 1 s: not scheduled: 0/3 nodes are available"),
        ("unready", "Unhealthy: Readiness probe failed: .*statuscode: 503"),
        ("sick", "does not describe itself|with HTTP 500"),
        ("quota", "does not come up: .* exceeded quota: small"),
    ],
)
def test_the_reason_is_told_and_the_former_serves_on(
    cluster: StandIn, mode: str, words: str
) -> None:
    target = target_at(cluster)
    deploy(target, spec("a"))
    with pytest.raises(DeployError, match=words) as failed:
        deploy(target, spec("b", FAKE_MODE=mode, ready_timeout_s=1.0))
    assert "(digits:a) runs as before" in str(failed.value.hint)
    assert (target.status("digits").bundle, target.status("digits").state) == (
        "digits:a",
        State.RUNNING,
    )


def test_a_secret_of_the_cluster_that_is_not_there_is_told(cluster: StandIn) -> None:
    with pytest.raises(DeployError, match='secret "tokens" not found'):
        deploy(target_at(cluster), spec(secrets={"TOKEN": "k8s:tokens/digits"}))
    assert cluster.resources() == []


def test_a_value_that_is_not_here_stops_before_anything_is_made(cluster: StandIn) -> None:
    with pytest.raises(UsageError, match="the variable 'NOT_SET_HERE' is not set"):
        deploy(target_at(cluster), spec(secrets={"TOKEN": "env:NOT_SET_HERE"}))
    assert cluster.resources() == []


def lease(cluster: StandIn, *, age_s: float) -> None:
    """Let another machine hold the deployment, renewed so long ago."""
    at = (datetime.now(UTC) - timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    held: dict[str, Any] = {"holderIdentity": "other-machine", "leaseDurationSeconds": 30}
    value = {"metadata": {"name": lease_name("digits")}, "spec": {**held, "renewTime": at}}
    kind = cluster.store.named("Lease", "coordination.k8s.io")
    with cluster.store.changed:
        cluster.store.create(kind, "default", value, "other")


def test_another_machine_that_applies_keeps_us_away(cluster: StandIn) -> None:
    lease(cluster, age_s=1)
    with pytest.raises(ConflictError, match="is being changed by 'other-machine'"):
        deploy(target_at(cluster), spec())
    assert "Deployment default/digits" not in cluster.resources()


def test_one_that_has_ended_does_not(cluster: StandIn) -> None:
    lease(cluster, age_s=60)
    assert deploy(target_at(cluster), spec()).state is State.RUNNING
    assert not [one for one in cluster.resources() if one.startswith("Lease")]


def test_a_watch_goes_on_where_it_was_and_is_told_when_it_cannot(cluster: StandIn) -> None:
    from modelpack_kubernetes.answers import ApiError

    target = target_at(cluster)
    deploy(target, spec())
    items, version = target.cluster.find(DEPLOYMENT, {})
    assert len(items) == 1
    deploy(target, spec("b"))
    seen = list(target.cluster.watch(DEPLOYMENT, {}, version, for_s=1))
    tags = [one["object"]["spec"]["template"] for one in seen if one["type"] == "MODIFIED"]
    assert "digits:b" in str(tags[-1])
    assert seen[-1]["type"] == "BOOKMARK"
    cluster.store.compact()
    with pytest.raises(ApiError, match="too old resource version") as failed:
        list(target.cluster.watch(DEPLOYMENT, {}, version, for_s=1))
    assert failed.value.status == 410


def test_an_apply_goes_on_when_the_versions_that_it_watches_are_gone(cluster: StandIn) -> None:
    def compact(asked: Any) -> None:
        if asked.verb == "watch":
            cluster.store.compact()

    cluster.on_call = compact
    assert deploy(target_at(cluster), spec(FAKE_MODE="slow")).state is State.RUNNING


def test_lines_of_several_pods_begin_with_their_pod(cluster: StandIn) -> None:
    target = target_at(cluster)
    deploy(target, spec(min_replicas=2))
    lines = list(target.logs("digits"))
    assert len({line.partition(" ")[0] for line in lines}) == 2
    assert sorted(line.partition(" ")[2] for line in lines) == [
        "asked for /readyz",
        "asked for /readyz",
        "this is digits:a",
        "this is digits:a",
    ]


def test_an_image_is_pushed_once_and_pinned(cluster: StandIn) -> None:
    target = target_at(cluster, registry="registry.example/team")
    deploy(target, spec())
    [reference] = target.push.references  # type: ignore[attr-defined]
    assert reference == "registry.example/team/digits:a-616161616161"
    image = cluster.find("Deployment", "digits")["spec"]["template"]["spec"]["containers"][0]
    assert image["image"].startswith(f"{reference}@sha256:")
    deploy(target, spec(cpu=1.0))
    assert len(target.push.references) == 1  # type: ignore[attr-defined]
