"""The stand-in as kubectl sees it: a cross-check that it behaves as an API server does."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from clustered import deploy, spec, target_at
from stand_in import StandIn

from modelpack.deploy import State, rollout

from .peers_environment import KUBECTL, made

pytestmark = [pytest.mark.peers, pytest.mark.network]

Kubectl = Callable[..., str]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return kubectl; RENDERING_PYTHON names an environment that has it, or one is made."""
    found = os.environ.get("RENDERING_PYTHON")
    python = Path(found) if found else made(tmp_path_factory.mktemp("kubectl"), KUBECTL)
    return python.parent / "kubectl"


@pytest.fixture
def kubectl(program: Path, kubeconfig: Path) -> Kubectl:
    def run(*words: str, status: int = 0, given: str | None = None) -> str:
        home = kubeconfig.parent
        env = {"PATH": os.environ["PATH"], "KUBECONFIG": str(kubeconfig), "HOME": str(home)}
        done = subprocess.run(
            [program, *words],
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
            env=env,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    return run


def manifest(image: str = "web:1") -> str:
    pod = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": image}]},
    }
    of: dict[str, Any] = {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": pod,
    }
    head = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    return json.dumps({**head, "spec": of})


def test_kubectl_sees_what_modelpack_deployed(cluster: StandIn, kubectl: Kubectl) -> None:
    deploy(target_at(cluster), spec())
    labels = "app.kubernetes.io/instance=digits,app.kubernetes.io/managed-by=modelpack"
    found = kubectl("get", "deployments,services,networkpolicies", "-l", labels)
    assert found.count("/digits") == 3
    assert "this is digits:a" in kubectl("logs", "deploy/digits")
    managed = kubectl("get", "deploy/digits", "-o", "yaml", "--show-managed-fields")
    [manager] = {
        one["manager"]
        for one in yaml.safe_load(managed)["metadata"]["managedFields"]
        if one["operation"] == "Apply"
    }
    assert manager == "modelpack"


def test_a_rollout_is_followed_to_its_end_and_undone(kubectl: Kubectl) -> None:
    for image in ("web:1", "web:2"):
        kubectl("apply", "--server-side", "-f", "-", given=manifest(image))
        said = kubectl("rollout", "status", "deploy/web", "--timeout=60s")
        assert 'deployment "web" successfully rolled out' in said
    assert "2 " in kubectl("rollout", "history", "deploy/web")
    kubectl("rollout", "undo", "deploy/web")
    kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    assert kubectl("get", "deploy/web", "-o", image) == "web:1"
    kubectl("rollout", "restart", "deploy/web")
    kubectl("rollout", "status", "deploy/web", "--timeout=60s")


def test_a_client_side_apply_is_done_once_and_then_changes_nothing(kubectl: Kubectl) -> None:
    assert "created" in kubectl("apply", "-f", "-", given=manifest())
    assert "unchanged" in kubectl("apply", "-f", "-", given=manifest())
    assert "configured" in kubectl("apply", "-f", "-", given=manifest("web:2"))
    assert "web:2" in kubectl("describe", "deploy/web")


def test_a_diff_shows_what_an_apply_would_change(kubectl: Kubectl) -> None:
    kubectl("apply", "--server-side", "-f", "-", given=manifest())
    words = ("diff", "--server-side", "-f", "-")
    assert kubectl(*words, given=manifest()) == ""
    said = kubectl(*words, given=manifest("web:2"), status=1)
    assert "-      - image: web:1" in said
    assert "+      - image: web:2" in said


def test_who_waits_is_told_when_it_is_there_and_when_it_is_gone(kubectl: Kubectl) -> None:
    kubectl("apply", "--server-side", "-f", "-", given=manifest())
    kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=60s")
    kubectl("scale", "deploy/web", "--replicas=3")
    kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    kubectl("delete", "deploy/web", "--wait", "--timeout=60s")
    assert "No resources found" in kubectl("get", "deploy")


def test_a_field_that_modelpack_owns_is_a_conflict_for_kubectl(
    cluster: StandIn, kubectl: Kubectl
) -> None:
    target = target_at(cluster)
    deploy(target, spec())
    mine = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "digits"},
        "spec": {"replicas": 3},
    }
    words = ("apply", "--server-side", "-f", "-")
    refused = kubectl(*words, given=json.dumps(mine), status=1)
    assert 'conflict with "modelpack": .spec.replicas' in refused
    kubectl(*words, "--force-conflicts", given=json.dumps(mine))
    kubectl("rollout", "status", "deploy/digits", "--timeout=60s")
    plan = rollout.plan_deployment(target, spec())
    assert any("is taken from 'kubectl'" in one for one in plan.warnings)


def test_a_rollback_by_kubectl_is_seen_and_can_be_kept_or_put_right(
    cluster: StandIn, kubectl: Kubectl
) -> None:
    target = target_at(cluster)
    for version in "ab":
        deploy(target, spec(version))
    kubectl("rollout", "undo", "deploy/digits")
    kubectl("rollout", "status", "deploy/digits", "--timeout=60s")
    status = target.status("digits")
    assert (status.bundle, status.state) == ("digits:a", State.RUNNING)
    assert "nobody has found it healthy yet" in str(status.meanwhile)
    [kept] = rollout.plan_deployment(target, spec("a")).changes
    assert kept.after == {"checked": "yes"}
    plan = rollout.plan_deployment(target, spec("b"))
    assert "Deployment/digits: 7 fields are taken from 'kubectl', who owns them" in plan.warnings
    assert rollout.apply_plan(target, plan).state is State.RUNNING
    assert rollout.plan_deployment(target, spec("b")).is_empty


def test_files_that_modelpack_writes_are_taken_by_kubectl(
    cluster: StandIn, kubectl: Kubectl, tmp_path: Path
) -> None:
    rollout.render(target_at(cluster), spec()).write(tmp_path / "files")
    words = ("apply", "--server-side", "-f", str(tmp_path / "files" / "manifests.yaml"))
    assert kubectl(*words).count("serverside-applied") == 4
    kubectl("rollout", "status", "deploy/digits", "--timeout=60s")
