"""Clusters of GKE: found through the small Google, driven through the stand-in of an API server."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from modelpack_gcp.gke import GkeTarget, endpoint_of
from modelpack_gcp.session import Session
from stand_in import StandIn

from modelpack.deploy import DeploymentSpec, State, rollout
from modelpack.deploy.pushing import Pushed
from modelpack.errors import CredentialsError, DeployError, NotFoundError, UsageError
from modelpack.testing import CLAIMS, Claim, TargetCase, spec_of

from .fake_google import PARENT, PROJECT, REGION, FakeGoogle
from .google_parts import session_of

GIVEN = {"cluster": "prod", "namespace": "default"}
PROD = f"{PARENT}/clusters/prod"


class Caller(Session):
    """Somebody with an access token."""

    secret: str | None = None

    def token(self) -> str | None:
        return self.secret


@pytest.fixture(scope="module")
def whole_cluster() -> Iterator[StandIn]:
    with StandIn() as found:
        yield found


@pytest.fixture
def google() -> Iterator[FakeGoogle]:
    fake = FakeGoogle()
    yield fake
    fake.close()


@pytest.fixture
def cluster(whole_cluster: StandIn, google: FakeGoogle) -> Iterator[StandIn]:
    """A cluster that Google knows as ``prod``."""
    google.clusters[PROD] = as_google_says(whole_cluster)
    yield whole_cluster
    whole_cluster.reset()


def as_google_says(cluster: StandIn) -> dict[str, Any]:
    authority = cluster.authority
    raw = authority if isinstance(authority, bytes) else str(authority).encode()
    return {
        "name": "prod",
        "status": "RUNNING",
        "endpoint": cluster.url.removeprefix("https://"),
        "masterAuth": {"clusterCaCertificate": base64.b64encode(raw).decode()},
        "controlPlaneEndpointsConfig": {"ipEndpointsConfig": {"enabled": True}},
    }


def caller(google: FakeGoogle, token: str | None = "ya29.mine") -> Caller:
    found = Caller(project_id=PROJECT, region_name=REGION, endpoint=google.url, credentials="none")
    found.secret = token
    return found


class Pushes:
    """Remembers what would have been pushed, and who would have logged in."""

    def __init__(self) -> None:
        self.logins: list[Any] = []

    def __call__(self, spec: Any, reference: str, *, find_login: Any, **_: Any) -> Pushed:
        self.logins.append(find_login(reference.partition("/")[0]))
        return Pushed("sha256:" + (reference.encode().hex() * 64)[:64], 1)


def target_of(google: FakeGoogle, token: str | None, push: Any = None, **more: str) -> GkeTarget:
    return GkeTarget.over(caller(google, token), {**GIVEN, **more}, push or Pushes())


def spec(version: str = "a", **more: Any) -> DeploymentSpec:
    return spec_of(version, **{"ready_timeout_s": 20.0, **more})


SAMPLE = ("runs_what_was_applied", "returns_to_the_former_revision", "destroys_without_a_trace")


@pytest.mark.parametrize(
    "claim",
    [pytest.param(one, marks=() if one.__name__ in SAMPLE else pytest.mark.long) for one in CLAIMS],
    ids=lambda claim: claim.__name__,
)
def test_the_contract_of_targets(claim: Claim, cluster: StandIn, google: FakeGoogle) -> None:
    claim(
        TargetCase(
            target=target_of(google, cluster.token),
            spec=spec("a"),
            changed=spec("b", cpu=2.0),
            broken=spec("c", FAKE_MODE="crash"),
            resources=cluster.resources,
            most_kills=2,
        )
    )


def test_an_image_goes_to_artifact_registry_with_the_callers_login(
    cluster: StandIn, google: FakeGoogle
) -> None:
    pushes = Pushes()
    place = f"{REGION}-docker.pkg.dev/{PROJECT}/team"
    target = target_of(google, cluster.token, pushes, registry=place)

    status = rollout.apply_plan(target, rollout.plan_deployment(target, spec()))

    assert status.state is State.RUNNING
    [login] = pushes.logins
    assert (login.username, login.password) == ("oauth2accesstoken", cluster.token)
    assert cluster.token not in repr(login)


def test_a_token_of_google_is_for_registries_of_google_alone(
    cluster: StandIn, google: FakeGoogle
) -> None:
    pushes = Pushes()
    target = target_of(google, cluster.token, pushes, registry="notgcr.io/team")

    rollout.apply_plan(target, rollout.plan_deployment(target, spec()))

    assert pushes.logins == [None]


def test_a_cluster_without_an_address_is_asked_by_its_name(google: FakeGoogle) -> None:
    google.clusters[PROD] = {
        "endpoint": "gke-1.europe-west1.gke.goog",
        "controlPlaneEndpointsConfig": {
            "ipEndpointsConfig": {},
            "dnsEndpointConfig": {
                "endpoint": "gke-1.europe-west1.gke.goog",
                "allowExternalTraffic": True,
            },
        },
    }

    found = endpoint_of(caller(google), "prod")

    assert found.server == "https://gke-1.europe-west1.gke.goog"
    assert found.authority is None  # one of the public web
    assert found.token is not None
    assert found.token() == "ya29.mine"
    assert "ya29" not in repr(found)


@pytest.mark.parametrize(
    ("says", "error", "words"),
    [
        (None, NotFoundError, f"there is no cluster 'prod' in '{REGION}' of '{PROJECT}'"),
        ({}, DeployError, "cannot be read"),
        ({"endpoint": "10.0.0.1", "masterAuth": {}}, DeployError, "cannot be read"),
        (
            {"endpoint": "10.0.0.1", "masterAuth": {"clusterCaCertificate": "x"}},
            DeployError,
            "cannot be read",
        ),
        ({"status": "PROVISIONING"}, DeployError, "it is provisioning"),
        (
            {"controlPlaneEndpointsConfig": {"ipEndpointsConfig": {"enabled": False}}},
            DeployError,
            "no address that can be asked from outside",
        ),
    ],
)
def test_a_cluster_that_cannot_be_used_is_said_so(
    says: dict[str, Any] | None, error: type[Exception], words: str, google: FakeGoogle
) -> None:
    if says is not None:
        google.clusters[PROD] = says
    with pytest.raises(error, match=words):
        endpoint_of(caller(google), "prod")


def test_nobody_in_particular_has_no_token(cluster: StandIn, google: FakeGoogle) -> None:
    target = GkeTarget.over(session_of(google), GIVEN, Pushes())

    with pytest.raises(CredentialsError, match="there are no credentials"):
        target.status("digits")


def test_the_cluster_must_be_named() -> None:
    with pytest.raises(UsageError, match="needs '--option cluster=NAME'"):
        GkeTarget.from_options({})
    with pytest.raises(UsageError, match="is not the name of a cluster"):
        GkeTarget.from_options({"cluster": PROD})
    with pytest.raises(UsageError, match="no option 'kubeconfig'"):
        GkeTarget.from_options({"cluster": "prod", "kubeconfig": "x"})


def test_google_is_not_asked_before_the_first_call(google: FakeGoogle) -> None:
    target = target_of(google, None)

    assert rollout.plan_deployment(target, spec(), offline=True).target == "gke"
    assert google.calls == []


def test_two_clusters_are_two_places() -> None:
    one = GkeTarget.from_options({"cluster": "a", "registry": "eu.gcr.io/x"})
    same = GkeTarget.from_options({"cluster": "a"})
    other = GkeTarget.from_options({"cluster": "a", "region": "europe-west1-b"})

    assert one.whereabouts == same.whereabouts != other.whereabouts
