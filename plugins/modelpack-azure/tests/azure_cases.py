"""Targets that the tests over the small Azure share."""

from __future__ import annotations

from typing import Any

from modelpack_azure.target import AzureTarget, ContainerAppsTarget

from modelpack.deploy import DeploymentSpec, rollout
from modelpack.testing import Hours

from .fake_azure import FakeAzure

APPS = {"registry": "images", "environment": "env"}
ML = {"registry": "images", "workspace": "work"}


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


def deploy(target: AzureTarget, wanted: DeploymentSpec) -> Any:
    return rollout.apply_plan(target, rollout.plan_deployment(target, wanted))
