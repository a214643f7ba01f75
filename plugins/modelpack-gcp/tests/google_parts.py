"""What the tests of both services share: a target that asks the stand-in, specs, faults."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from modelpack_gcp.session import Clock, Session
from modelpack_gcp.target import GcpTarget

from modelpack.deploy import DeploymentSpec, DeploySettings, State, Status, rollout
from modelpack.errors import ModelpackError

from .fake_google import PROJECT, REGION, FakeGoogle


class Hours:
    """Time that passes by waiting alone."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


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
        env = {key: more.pop(key) for key in list(more) if key.isupper()}
        settings = {"ready_timeout_s": 2.0, **self.settings, **more}
        return DeploymentSpec(
            name="digits",
            bundle=f"digits:{version}",
            digest="sha256:" + (version.encode().hex() * 64)[:64],
            image="digits:1",
            settings=DeploySettings(env=env, **settings),
        )


def deploy(target: GcpTarget, wanted: DeploymentSpec) -> Status:
    return rollout.apply_plan(target, rollout.plan_deployment(target, wanted))


class Fault:
    """Lets one call go wrong: before it is done, or its answer is lost."""

    def __init__(self, number: int, kind: str) -> None:
        self.number, self.kind, self.calls = number, kind, 0

    def __call__(self, _: str) -> str | None:
        self.calls += 1
        return self.kind if self.calls == self.number else None


def one_fault(google: FakeGoogle, kind: Kind, number: int, fault: str) -> str | None:
    """Update with a fault, then again without; return at which call it was, None for too late."""
    target, wanted = kind.at(google), kind.spec("b")
    deploy(target, kind.spec("a"))
    google.calls.clear()
    google.fault = failing = Fault(number, fault)
    with suppress(ModelpackError):  # in our words, whatever went wrong
        deploy(target, wanted)
    google.fault = lambda _: None
    hit = google.calls[number - 1] if failing.calls >= number else None
    assert target.status("digits").state is State.RUNNING
    assert deploy(target, wanted).bundle == "digits:b"
    assert rollout.plan_deployment(target, wanted).is_empty
    target.destroy("digits")
    assert google.resources() == []
    return hit


def faults(google: FakeGoogle, kind: Kind, every: int, most: int = 200) -> set[str]:
    """Let every so manieth call of an update go wrong, each alone; return which calls they were."""
    hit: list[str | None] = []
    for fault in ("denied", "lost"):
        for number in range(every, most, every):
            hit.append(one_fault(google, kind, number, fault))
            if hit[-1] is None:
                break
        assert hit[-1] is None, "a deploy makes more calls than are tried"
    return {one for one in hit if one is not None}
