"""Cloud Run over a small Google of ours on the loopback: the whole contract, and faults on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from modelpack_gcp.session import Clock, Session
from modelpack_gcp.target import CloudRunTarget

from modelpack.deploy import DeploymentSpec, DeploySettings, rollout
from modelpack.testing import CLAIMS, KILLS, Claim, TargetCase

from .fake_google import PROJECT, REGION
from .google_run import FakeRun

KINDS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "internal": ({}, {}),
    "public, canary": ({}, {"public": True, "canary_percent": 20, "bake_s": 30.0}),
    "inside, invokers": ({"inside": "yes", "invokers": "user:me@example.org"}, {"in_flight": 8}),
}


@pytest.fixture
def google() -> Iterator[FakeRun]:
    fake = FakeRun()
    yield fake
    fake.close()


class Hours:
    """Time that passes by waiting alone."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def target_of(google: FakeRun, kind: str = "public, canary") -> CloudRunTarget:
    session = Session(
        project_id=PROJECT,
        region_name=REGION,
        endpoint=google.url,
        credentials="none",
        clock=Hours().clock(),
    )
    return CloudRunTarget(google=session, given=KINDS[kind][0], push=google.push)


def spec(version: str = "a", kind: str = "public, canary", **more: Any) -> DeploymentSpec:
    env = {key: more.pop(key) for key in list(more) if key.isupper()}
    settings = {"ready_timeout_s": 2.0, **KINDS[kind][1], **more}
    return DeploymentSpec(
        name="digits",
        bundle=f"digits:{version}",
        digest="sha256:" + (version.encode().hex() * 64)[:64],
        image="digits:1",
        settings=DeploySettings(env=env, **settings),
    )


def deploy(target: CloudRunTarget, wanted: DeploymentSpec) -> Any:
    return rollout.apply_plan(target, rollout.plan_deployment(target, wanted))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if "canary" in kind else pytest.mark.long) for kind in KINDS],
)
def test_the_contract_of_targets(kind: str, claim: Claim, google: FakeRun) -> None:
    claim(
        TargetCase(
            target=target_of(google, kind),
            spec=spec("a", kind),
            changed=spec("b", kind, memory_bytes=2 * 1024**3),
            broken=spec("c", kind, FAKE_MODE="crash"),
            resources=google.resources,
            most_kills=3 if claim in KILLS else None,
        )
    )
