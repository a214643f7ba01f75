"""What the tests of both services share: a target that asks the stand-in, specs, faults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from modelpack_gcp.session import Session
from modelpack_gcp.target import GcpTarget

from modelpack.deploy import DeploymentSpec, Status, rollout
from modelpack.testing import Hours, TargetCase, fault_at_every, spec_of

from .fake_google import PROJECT, REGION, FakeGoogle


def session_of(google: FakeGoogle) -> Session:
    return Session(
        project_id=PROJECT,
        region_name=REGION,
        endpoint=google.url,
        credentials="none",
        clock=Hours().clock(),
    )


@dataclass(frozen=True)
class Kind:
    """A way to deploy: a target, its options, settings."""

    target: type[GcpTarget]
    options: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def at(self, google: FakeGoogle) -> GcpTarget:
        return self.target(google=session_of(google), given=self.options, push=google.push)

    def spec(self, version: str = "a", **more: Any) -> DeploymentSpec:
        return spec_of(version, **{"ready_timeout_s": 2.0, **self.settings, **more})

    def case(self, google: FakeGoogle, most_kills: int | None = None) -> TargetCase:
        return TargetCase(
            target=self.at(google),
            spec=self.spec("a"),
            changed=self.spec("b", memory_bytes=2 * 1024**3),
            broken=self.spec("c", FAKE_MODE="crash"),
            resources=google.resources,
            most_kills=most_kills,
        )


def deploy(target: GcpTarget, wanted: DeploymentSpec) -> Status:
    return rollout.apply_plan(target, rollout.plan_deployment(target, wanted))


def faults(google: FakeGoogle, kind: Kind, every: int) -> set[str]:
    """Let every so manieth call of an update go wrong, each alone; return which calls they were."""
    return fault_at_every(kind.case(google), google, kinds=("denied", "lost"), every=every)
