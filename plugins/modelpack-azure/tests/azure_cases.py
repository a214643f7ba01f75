"""Targets and specs that the tests over the small Azure share."""

from __future__ import annotations

from typing import Any

from modelpack_azure.target import AzureTarget, ContainerAppsTarget

from modelpack.deploy import Clock, DeploymentSpec, DeploySettings, rollout

from .fake_azure import FakeAzure

APPS = {"registry": "images", "environment": "env"}
ML = {"registry": "images", "workspace": "work"}


class Hours:
    """Time that passes by waiting alone."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def target_of(
    azure: FakeAzure,
    kind: type[AzureTarget] = ContainerAppsTarget,
    *,
    retries: int = 0,
    **options: str,
) -> AzureTarget:
    given = {**(ML if kind.name == "azure-ml" else APPS), **options}
    return kind(
        calls=azure.arm(retries=retries), given=given, push=azure.push, clock=Hours().clock()
    )


def spec(version: str = "a", **more: Any) -> DeploymentSpec:
    env = {key: more.pop(key) for key in list(more) if key.isupper()}
    settings = {"ready_timeout_s": 5.0, **more}
    return DeploymentSpec(
        name="digits",
        bundle=f"digits:{version}",
        digest="sha256:" + (version.encode().hex() * 64)[:64],
        image="digits:1",
        settings=DeploySettings(env=env, **settings),
    )


def deploy(target: AzureTarget, wanted: DeploymentSpec) -> Any:
    return rollout.apply_plan(target, rollout.plan_deployment(target, wanted))
