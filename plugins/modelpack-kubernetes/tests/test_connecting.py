"""Who we are to a cluster: by a kubeconfig, or by what a cloud has told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from clustered import connect_to, deploy, spec, target_at
from modelpack_kubernetes.cluster import Cluster
from modelpack_kubernetes.connecting import Endpoint, from_endpoint, from_kubeconfig
from modelpack_kubernetes.target import KubernetesTarget
from stand_in import StandIn

from modelpack.deploy import State, rollout
from modelpack.errors import (
    CredentialsError,
    DeployError,
    ModelpackError,
    RefusedError,
    UnreachableError,
    UsageError,
)


def test_a_kubeconfig_says_cluster_context_and_namespace(
    cluster: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "vision" not in namespaces(cluster):
        cluster.add_namespace("vision")
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(tmp_path, namespace="vision")))
    target = KubernetesTarget.from_options({})
    assert target.options == {"context": "stand-in", "namespace": "vision"}
    assert deploy(target, spec()).state is State.RUNNING
    assert cluster.find("Deployment", "digits", "vision")
    target.destroy("digits")


def test_a_token_that_does_not_count_is_told(cluster: StandIn) -> None:
    endpoint = Endpoint(server=cluster.url, authority=cluster.authority, token=lambda: "wrong")
    target = KubernetesTarget(connect=from_endpoint(lambda: endpoint))
    with pytest.raises(CredentialsError, match="does not know who asks"):
        target.status("digits")
    plan = rollout.plan_deployment(target, spec())
    assert not plan.is_live_known


def test_a_certificate_that_nobody_signed_is_told(cluster: StandIn) -> None:
    target = KubernetesTarget(connect=from_endpoint(lambda: Endpoint(server=cluster.url)))
    with pytest.raises(UnreachableError, match="a certificate that is not trusted"):
        target.status("digits")


def test_nobody_there_is_told() -> None:
    nowhere = Endpoint(server="https://127.0.0.1:9")
    words = r"at 'https://127\.0\.0\.1:9' does not answer: Failed to establish"
    with pytest.raises(UnreachableError, match=words):
        KubernetesTarget(connect=from_endpoint(lambda: nowhere)).status("digits")


def test_no_kubeconfig_is_told(tmp_path: Path) -> None:
    target = KubernetesTarget(connect=from_kubeconfig(str(tmp_path / "none")))
    with pytest.raises(CredentialsError, match="there is no kubeconfig"):
        target.status("digits")


def test_a_context_that_is_not_there_is_told(kubeconfig: Path) -> None:
    options = {"kubeconfig": str(kubeconfig), "context": "other"}
    with pytest.raises(UsageError, match="the kubeconfig has no 'other'") as failed:
        KubernetesTarget.from_options(options).status("digits")
    assert failed.value.hint == "it has stand-in"


@pytest.mark.parametrize("text", [None, "a: [b", "- list", ""])
def test_a_kubeconfig_that_is_named_and_is_none_is_refused_at_once(
    tmp_path: Path, text: str | None
) -> None:
    file = tmp_path / "named"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError, match=r"option 'kubeconfig': .* cannot be read"):
        KubernetesTarget.from_options({"kubeconfig": str(file)})


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"name": "other", "user": {}}, "has no user 'tester'"),
        (
            {"name": "tester", "user": {"exec": {"command": "no-such-login"}}},
            "logs in by the program 'no-such-login', which is not here",
        ),
    ],
)
def test_nobody_to_log_in_as_is_told_before_the_cluster_is_asked(
    cluster: StandIn, kubeconfig: Path, user: dict[str, Any], words: str
) -> None:
    value = yaml.safe_load(kubeconfig.read_text()) | {"users": [user]}
    kubeconfig.write_text(yaml.safe_dump(value))
    target = KubernetesTarget.from_options({"kubeconfig": str(kubeconfig)})
    with pytest.raises(CredentialsError, match=words):
        target.status("digits")
    assert cluster.calls == []


def test_an_endpoint_shows_neither_token_nor_certificate(cluster: StandIn) -> None:
    shown = repr(Endpoint(server="https://x", authority=b"secret", token=lambda: "secret"))
    assert shown == "Endpoint(server='https://x')"


@pytest.mark.parametrize(
    ("forbidden", "words"),
    [
        (("patch", "deployments"), 'cannot patch resource "deployments"'),
        (("list", "controllerrevisions"), 'cannot list resource "controllerrevisions"'),
    ],
)
def test_what_is_forbidden_is_told_in_the_words_of_the_cluster(
    cluster: StandIn, forbidden: tuple[str, str], words: str
) -> None:
    cluster.forbidden.add(forbidden)
    with pytest.raises(RefusedError, match=words) as failed:
        deploy(target_at(cluster), spec())
    verb, plural = forbidden
    assert f"ask for the right to '{verb}' {plural}.apps in 'default'" in str(failed.value.hint)
    assert cluster.resources() == []


def test_without_leases_and_without_the_proxy_it_deploys_all_the_same(cluster: StandIn) -> None:
    for verb in ("create", "get"):
        cluster.forbidden |= {(verb, "leases"), ("*", "services/proxy")}
        status = deploy(target_at(cluster), spec())
        assert (status.state, status.url) == (State.RUNNING, None)


class ByName:
    """A client of an API server that is called by its name, as those of clouds are."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.server = client.server

    def call(self, method: str, url: str, *, headers: Mapping[str, str], **more: Any) -> Any:
        headers = {"Host": "api.cluster.example", **headers}
        return self._client.call(method, url, headers=headers, **more)


def test_a_service_is_asked_for_its_pages_by_its_own_name(cluster: StandIn) -> None:
    """The API server passes its own name on, for which a service shows none."""
    target = KubernetesTarget(connect=lambda: ByName(connect_to(cluster)()))
    deploy(target, spec())
    page = "http://digits.default.svc/openapi.json"
    assert target.fetch(page, timeout_s=5).status == 200
    with pytest.raises(DeployError, match="HTTP 500"):
        deploy(target, spec("b", FAKE_MODE="sick"))


def test_a_namespace_that_is_not_there_is_told(cluster: StandIn) -> None:
    with pytest.raises(ModelpackError, match="the cluster has no namespace 'nowhere'") as failed:
        deploy(target_at(cluster, namespace="nowhere"), spec())
    assert "kubectl create namespace nowhere" in str(failed.value.hint)


def test_a_cluster_without_kserve_says_so() -> None:
    with StandIn(has_custom=False) as plain:
        with pytest.raises(UsageError, match="the cluster has no InferenceService"):
            rollout.plan_deployment(target_at(plain), spec(mode="kserve"))
        assert deploy(target_at(plain), spec()).state is State.RUNNING


def test_a_list_in_parts_is_read_to_its_end(
    cluster: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelpack_kubernetes.cluster._PAGE", 2)
    kind = cluster.store.named("ConfigMap")
    with cluster.store.changed:
        for number in range(5):
            cluster.store.create(kind, "default", {"metadata": {"name": f"c{number}"}}, "test")
    from modelpack_kubernetes.kinds import MADE

    found = next(one for one in MADE if one.name == "ConfigMap")
    items, _ = Cluster(connect_to(cluster), "default").find(found, {})
    assert [one["metadata"]["name"] for one in items] == ["c0", "c1", "c2", "c3", "c4"]


def namespaces(cluster: StandIn) -> set[str]:
    with cluster.store.changed:
        return {one.name for one in cluster.store.list(cluster.store.named("Namespace"))}
