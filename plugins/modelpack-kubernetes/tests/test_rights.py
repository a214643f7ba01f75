"""The rights that a deploy needs: the Role of the documentation has them, and no others are asked for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from clustered import deploy, spec, target_at
from modelpack_kubernetes.kinds import EVENT, LEASE, MADE, POD
from stand_in import Asked, StandIn

from modelpack.deploy import State, rollout
from modelpack.errors import RefusedError

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "deploy-to-kubernetes.md"
WAYS: dict[str, dict[str, str]] = {
    "deployment": {"scaler": "keda", "prometheus": "http://p.monitoring:9090"},
    "deployment and hpa": {"monitoring": "monitoring", "ingress": "nginx"},
    "knative": {},
    "kserve": {},
    "seldon": {},
}


def rights() -> set[tuple[str, str, str]]:
    """Return the verbs, groups and resources of the Role that the page shows."""
    [text] = [
        one for one in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.S) if "Role" in one
    ]
    return {
        (verb, group, resource)
        for rule in yaml.safe_load(text)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


class Watched:
    """Notes what is asked for."""

    def __init__(self) -> None:
        self.asked: set[tuple[str, str, str]] = set()

    def __call__(self, asked: Asked) -> str | None:
        resource = asked.kind.plural + (f"/{asked.sub}" if asked.sub else "")
        self.asked.add((asked.verb, asked.kind.group, resource))
        return None


def a_whole_life(cluster: StandIn, mode: str, options: dict[str, str]) -> None:
    target = target_at(cluster, **options)
    more: dict[str, Any] = {"mode": mode}
    if mode == "deployment":
        more |= {"min_replicas": 2, "max_replicas": 5, "cpu": 1.0, "public": "ingress" in options}
    deploy(target, spec("a", **more))
    canary = deploy(target, spec("b", **more, canary_percent=25))
    assert canary.state is State.RUNNING
    deploy(target, spec("b", **more, secrets={"HOME": "env:HOME"}))
    rollout.apply_plan(target, rollout.plan_rollback(target, "digits"))
    list(target.logs("digits"))
    target.list()
    target.destroy("digits")


def test_the_role_of_the_page_is_enough_for_a_whole_life(cluster: StandIn) -> None:
    cluster.on_call = watched = Watched()
    for way, options in WAYS.items():
        a_whole_life(cluster, way.partition(" ")[0], options)
    assert watched.asked - rights() == set()
    assert {
        ("patch", "keda.sh", "scaledobjects"),
        ("watch", "apps", "deployments"),
    } <= watched.asked


def test_the_role_of_the_page_names_nothing_else() -> None:
    known = {(one.group, one.plural) for one in (*MADE, POD, EVENT, LEASE)}
    known |= {("", "pods/log"), ("", "services/proxy")}
    # A rule for several groups names each resource in each: of those only what exists counts.
    named = {(group, plural) for _, group, plural in rights()}
    plain = {"", "apps", "autoscaling", "networking.k8s.io", "policy"}
    assert known <= named
    assert {one for one in named if one[0] not in plain} <= known
    assert {plural for group, plural in named if group in plain} <= {one[1] for one in known}
    assert not any("*" in one for right in rights() for one in right)


def test_what_is_installed_and_not_used_needs_no_right(cluster: StandIn) -> None:
    for plural in ("inferenceservices", "scaledobjects", "servicemonitors", "httproutes"):
        cluster.forbidden.add(("*", plural))
    target = target_at(cluster)
    assert deploy(target, spec()).state is State.RUNNING
    assert [one.name for one in target.list()] == ["digits"]
    target.destroy("digits")
    assert cluster.resources() == []


def test_what_is_used_and_may_not_be_is_told(cluster: StandIn) -> None:
    cluster.forbidden.add(("*", "inferenceservices"))
    with pytest.raises(RefusedError, match='resource "inferenceservices"'):
        deploy(target_at(cluster), spec(mode="kserve"))
