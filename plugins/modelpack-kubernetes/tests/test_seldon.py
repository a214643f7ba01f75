"""The mode ``seldon``: what the operator of Seldon Core 1 is asked for, and what it makes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from clustered import deploy, spec, target_at
from modelpack_kubernetes.checks import problems
from modelpack_kubernetes.manifests import checked, manifests, warnings
from stand_in import StandIn

from modelpack.deploy import rollout
from modelpack.errors import DeployError, UsageError

from .validated import mistakes
from .wanted_specs import KEDA, wanted


def predictors(options: dict[str, str] | None = None, **settings: Any) -> list[dict[str, Any]]:
    found = manifests(wanted(options, mode="seldon", **settings))
    assert [one["kind"] for one in found] == ["ServiceAccount", "NetworkPolicy", "SeldonDeployment"]
    listed: list[dict[str, Any]] = found[-1]["spec"]["predictors"]
    return listed


def component(options: dict[str, str] | None = None, **settings: Any) -> dict[str, Any]:
    [predictor] = predictors(options, **settings)
    [found] = predictor["componentSpecs"]
    return dict(found)


def test_requests_reach_the_server_without_an_orchestrator() -> None:
    """An orchestrator would ask at ``/predict``, where our service has a contract of its own."""
    [one] = predictors()
    assert one["annotations"] == {"seldon.io/no-engine": "true"}
    assert one["graph"] == {"name": "service", "type": "MODEL", "children": []}
    assert one["componentSpecs"][0]["spec"]["containers"][0]["name"] == "service"


def test_what_a_container_may_stands_in_the_container() -> None:
    """The operator puts another security context into the pod."""
    options = {"weights": "pull", "weights_from": "registry.example/other"}
    pod = component(options)["spec"]
    assert "securityContext" not in pod
    for one in (*pod["containers"], *pod["initContainers"]):
        rights = one["securityContext"]
        assert (rights["runAsNonRoot"], rights["runAsUser"]) == (True, 65532)
        assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
        assert rights["capabilities"] == {"drop": ["ALL"]}


def test_nothing_in_a_pod_is_newer_than_the_definition() -> None:
    pod = component({"kubernetes": "1.37"})["spec"]
    assert all("matchLabelKeys" not in one for one in pod["topologySpreadConstraints"])
    assert "exec" in pod["containers"][0]["lifecycle"]["preStop"]


def test_a_field_that_the_definition_does_not_have_is_found() -> None:
    """The schema is strict: in the graph, in a component, in a pod."""
    for path in (["graph"], ["componentSpecs", 0], ["componentSpecs", 0, "spec"]):
        whole = manifests(wanted(mode="seldon"))[-1]
        place = whole["spec"]["predictors"][0]
        for step in path:
            place = place[step]  # type: ignore[index]
        place["colour"] = "red"
        assert "colour" in mistakes(whole, "1.37.0")[0]


def test_pods_are_a_number_or_a_part_of_an_autoscaler() -> None:
    assert component(min_replicas=3)["replicas"] == 3
    by_cpu = component(cpu=1, max_replicas=4)
    assert "replicas" not in by_cpu
    assert by_cpu["hpaSpec"]["maxReplicas"] == 4
    target = by_cpu["hpaSpec"]["metricsv2"][0]["resource"]["target"]
    assert target == {"type": "Utilization", "averageUtilization": 70}
    by_requests = component({"scaler": "adapter"}, max_replicas=4, in_flight=3)
    assert by_requests["hpaSpec"]["metricsv2"][0]["pods"]["target"]["averageValue"] == "3"


def test_keda_asks_for_the_pods_that_the_operator_makes() -> None:
    keda = component(KEDA, max_replicas=4, in_flight=3)["kedaSpec"]
    assert 'pod=~"digits-stable-0-service-.+"' in keda["triggers"][0]["metadata"]["query"]
    assert keda["triggers"][0]["metadata"]["threshold"] == "3"
    assert (keda["minReplicaCount"], keda["maxReplicaCount"]) == (1, 4)


def test_a_canary_is_a_predictor_with_its_share() -> None:
    former = wanted(mode="seldon", min_replicas=6)
    asked = wanted(mode="seldon", min_replicas=6, canary_percent=25, env={"A": "1"})
    found = manifests(asked, former=former)
    stable, canary = found[-1]["spec"]["predictors"]
    assert [(one["name"], one["traffic"]) for one in (stable, canary)] == [
        ("stable", 75),
        ("canary", 25),
    ]
    assert stable == manifests(former)[-1]["spec"]["predictors"][0] | {"traffic": 75}
    assert canary["componentSpecs"][0]["replicas"] == 2
    assert (problems(found), mistakes(found[-1], "1.37.0")) == ([], [])


def test_another_number_of_pods_is_no_canary() -> None:
    former = wanted(mode="seldon", min_replicas=1)
    asked = wanted(mode="seldon", min_replicas=6, canary_percent=25)
    assert len(manifests(asked, former=former)[-1]["spec"]["predictors"]) == 1


def test_settings_that_have_no_place_are_said() -> None:
    asked = wanted(mode="seldon", cpu=1, max_replicas=4, cooldown_up_s=30.0, up_tolerance=0.2)
    said = warnings(asked)
    assert any("scaling.cooldown_up_s: Seldon's 'hpaSpec' has no place for it" in s for s in said)
    assert any("scaling.up_tolerance" in one for one in said)
    said = warnings(wanted(KEDA, mode="seldon", max_replicas=4, cooldown_up_s=30.0))
    assert said == ["option 'scaler': Seldon's operator has to be set up with KEDA (keda.enabled)"]
    said = warnings(wanted(mode="seldon", min_replicas=0))
    assert said[0] == "scaling.min: nothing holds requests while there is no pod, so one stays"


@pytest.mark.parametrize(
    ("options", "settings", "said"),
    [
        ({}, {"allow": ("10.0.0.0/8",)}, "deploy.network.allow: Seldon's gateway hides who calls"),
        ({"ingress": "nginx"}, {"public": True}, "option 'ingress': Seldon makes the way in"),
        ({"monitoring": "monitoring"}, {}, "option 'monitoring': Seldon's services"),
        ({"storage": "s3://b/d"}, {}, "option 'storage': goes with the mode 'kserve'"),
        (
            {"weights": "volume", "weights_from": "a/b:1", "kubernetes": "1.35"},
            {},
            "option 'weights': the pods of the mode 'seldon' know no image volumes",
        ),
    ],
)
def test_what_it_does_not_have_is_refused(
    options: dict[str, str], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        checked(wanted(options, mode="seldon", **settings))


def broken(**changes: Any) -> list[str]:
    """Return what is found in a deployment whose first predictor is changed."""
    objects = checked(wanted(mode="seldon"))
    objects[-1]["spec"]["predictors"][0] |= changes
    return problems(objects)


def test_what_seldons_webhook_refuses_is_found_before_it() -> None:
    assert "gives 90 % of its traffic away, not 100 %" in broken(traffic=90)[0]
    assert "no container is called 'x'" in broken(graph={"name": "x"})[0]
    objects = checked(wanted(mode="seldon"))
    twice = objects[-1]["spec"]["predictors"] * 2
    objects[-1]["spec"]["predictors"] = [one | {"traffic": 50} for one in twice]
    assert "two predictors have one name" in problems(objects)[0]


def test_a_deployment_runs_is_asked_and_goes(cluster: StandIn) -> None:
    """Through the operator's own Service: at the port of the pods, by the name of its predictor."""
    target, before = target_at(cluster), cluster.resources()
    status = deploy(target, spec("a", mode="seldon", min_replicas=2))
    assert status.state == "running"
    assert status.url == "http://digits-stable.default.svc:3000"
    with cluster.store.changed:
        made = cluster.store.list(cluster.store.named("Deployment", "apps"))
        assert [one.name for one in made] == ["digits-stable-0-service"]
    assert rollout.plan_deployment(target, spec("a", mode="seldon", min_replicas=2)).is_empty
    assert "digits" in [one.name for one in target.list()]

    target.destroy("digits")
    assert cluster.resources() == before


def test_a_change_of_labels_alone_reaches_the_pods(cluster: StandIn) -> None:
    """The operator compares parts of pods, which labels are none of."""
    target = target_at(cluster)
    deploy(target, spec("a", mode="seldon"))
    status = deploy(target, spec("a", mode="seldon", labels={"team": "vision"}))
    assert status.state == "running"
    with cluster.store.changed:
        pods = cluster.store.list(cluster.store.named("Pod"))
        assert {one.value["metadata"]["labels"].get("team") for one in pods} == {"vision"}


def test_one_that_does_not_come_up_leaves_the_former(cluster: StandIn) -> None:
    target = target_at(cluster)
    deploy(target, spec("a", mode="seldon"))
    before = cluster.resources()
    with pytest.raises(DeployError, match="keeps ending"):
        deploy(target, spec("b", mode="seldon", FAKE_MODE="crash"))
    assert cluster.resources() == before
    assert target.status("digits").bundle == "digits:a"


def test_it_moves_to_seldon_and_back(cluster: StandIn) -> None:
    target = target_at(cluster)
    deploy(target, spec("a"))
    plan = rollout.plan_deployment(target, spec("a", mode="seldon"))
    assert "it moves from 'deployment' to 'seldon'" in plan.describe()
    assert rollout.apply_plan(target, plan).url == "http://digits-stable.default.svc:3000"
    assert "Deployment default/digits" not in cluster.resources()
    assert deploy(target, spec("a")).url == "http://digits.default.svc"
    assert "seldon" not in " ".join(cluster.resources()).lower()


def test_an_operator_that_is_not_there_is_named() -> None:
    """A cluster without Seldon's definition."""
    with StandIn(has_custom=False) as bare, pytest.raises(UsageError, match="SeldonDeployment"):
        rollout.plan_deployment(target_at(bare), spec("a", mode="seldon"))


def test_names_of_the_operator_fit_a_label() -> None:
    asked = replace(wanted(mode="seldon"), deployment="d" * 45)
    assert len(f"{asked.name}-canary-0-service") <= 63
