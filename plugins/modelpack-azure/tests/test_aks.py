"""Clusters of AKS: found through a small Azure, driven through the stand-in of an API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from modelpack_azure.aks import AksTarget, endpoint_of
from stand_in import StandIn

from modelpack.deploy import DeploymentSpec, DeploySettings, State, rollout
from modelpack.deploy.pushing import Pushed
from modelpack.errors import CredentialsError, DeployError, NotFoundError, UsageError
from modelpack.testing import CLAIMS, Claim, TargetCase

from .fake_azure import FakeAzure

CERTIFICATES_ALONE = b"""
clusters: [{cluster: {server: 'https://x', certificate-authority-data: eA==}}]
users: [{user: {client-key-data: secret}}]
"""
GIVEN = {"cluster": "prod", "namespace": "default"}


@pytest.fixture(scope="module")
def whole_cluster() -> Iterator[StandIn]:
    with StandIn() as found:
        yield found


@pytest.fixture
def cluster(whole_cluster: StandIn, azure: FakeAzure, tmp_path: Path) -> Iterator[StandIn]:
    """A cluster that Azure knows as ``prod``."""
    azure.kubeconfigs["prod"] = whole_cluster.kubeconfig(tmp_path).read_bytes()
    yield whole_cluster
    whole_cluster.reset()


class Pushes:
    """Remembers what would have been pushed, and who would have logged in."""

    def __init__(self) -> None:
        self.logins: list[Any] = []

    def __call__(self, spec: Any, reference: str, *, find_login: Any, **_: Any) -> Pushed:
        self.logins.append(find_login(reference.partition("/")[0]))
        return Pushed("sha256:" + (reference.encode().hex() * 64)[:64], 1)


def target_of(azure: FakeAzure, **options: str) -> AksTarget:
    return AksTarget.over(azure.arm(), {**GIVEN, **options}, Pushes())


def spec(version: str = "a", **more: Any) -> DeploymentSpec:
    env = {key: more.pop(key) for key in list(more) if key.isupper()}
    return DeploymentSpec(
        name="digits",
        bundle=f"digits:{version}",
        digest="sha256:" + (version.encode().hex() * 64)[:64],
        image=f"digits:{version}",
        settings=DeploySettings(env=env, **{"ready_timeout_s": 20.0, **more}),
    )


SAMPLE = ("runs_what_was_applied", "returns_to_the_former_revision", "destroys_without_a_trace")


@pytest.mark.parametrize(
    "claim",
    [pytest.param(one, marks=() if one.__name__ in SAMPLE else pytest.mark.long) for one in CLAIMS],
    ids=lambda claim: claim.__name__,
)
def test_the_contract_of_targets(claim: Claim, cluster: StandIn, azure: FakeAzure) -> None:
    claim(
        TargetCase(
            target=target_of(azure),
            spec=spec("a"),
            changed=spec("b", cpu=2.0),
            broken=spec("c", FAKE_MODE="crash"),
            resources=cluster.resources,
            most_kills=2,
        )
    )


def test_an_image_goes_to_a_registry_of_azure_with_the_callers_login(
    cluster: StandIn, azure: FakeAzure
) -> None:
    target = target_of(azure, registry="images.azurecr.io/team")

    status = rollout.apply_plan(target, rollout.plan_deployment(target, spec()))

    assert status.state is State.RUNNING
    [login] = target.push.args[1].logins  # type: ignore[attr-defined]
    assert login.password == "refresh"
    assert "refresh" not in repr(login)


def test_a_cluster_that_knows_people_by_entra_gets_a_token_of_the_caller(
    cluster: StandIn, azure: FakeAzure
) -> None:
    config = yaml.safe_load(azure.kubeconfigs["prod"])
    config["users"][0]["user"] = {"exec": {"command": "kubelogin", "args": ["get-token"]}}
    azure.kubeconfigs["prod"] = yaml.safe_dump(config).encode()

    found = endpoint_of(azure.arm(), GIVEN)

    assert found.server == cluster.url
    assert found.token is not None
    assert found.token() == "none"  # what the small Azure gives in place of one
    assert "kubelogin" not in repr(found)


@pytest.mark.parametrize(
    ("kubeconfig", "error", "words"),
    [
        (None, NotFoundError, "there is no cluster 'prod' in 'modelpack'"),
        (b"clusters: 3", DeployError, "cannot be read"),
        (b"\xff\xfe", DeployError, "cannot be read"),
        (b"users: [{user: {token: abc}}]", DeployError, "cannot be read"),
        (
            CERTIFICATES_ALONE,
            CredentialsError,
            "by certificates alone",
        ),
    ],
)
def test_a_cluster_that_cannot_be_used_is_said_so(
    kubeconfig: bytes | None, error: type[Exception], words: str, azure: FakeAzure
) -> None:
    if kubeconfig is not None:
        azure.kubeconfigs["prod"] = kubeconfig
    with pytest.raises(error, match=words) as caught:
        endpoint_of(azure.arm(), GIVEN)
    assert "secret" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_the_cluster_must_be_named() -> None:
    with pytest.raises(UsageError, match="needs '--option cluster=NAME'"):
        AksTarget.from_options({})
    with pytest.raises(UsageError, match="no option 'kubeconfig'"):
        AksTarget.from_options({"cluster": "prod", "kubeconfig": "x"})


def test_azure_is_not_asked_before_the_first_call(azure: FakeAzure) -> None:
    target = target_of(azure)

    assert rollout.plan_deployment(target, spec(), offline=True).target == "aks"
    assert azure.calls == []


def test_two_clusters_are_two_places() -> None:
    one = AksTarget.from_options({"cluster": "a", "registry": "r.azurecr.io/x"})
    same = AksTarget.from_options({"cluster": "a"})
    other = AksTarget.from_options({"cluster": "b"})

    assert one.whereabouts == same.whereabouts != other.whereabouts
