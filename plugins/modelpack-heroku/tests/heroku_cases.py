"""Targets and specs that the tests over the small Heroku share."""

from __future__ import annotations

from typing import Any

from modelpack_heroku.target import HerokuTarget

from modelpack.deploy import DeploymentSpec, Status, rollout
from modelpack.testing import spec_of

from .fake_heroku import FakeHeroku

MAIN, TRIAL = "modelpack-digits", "modelpack-digits-trial"


def target_of(heroku: FakeHeroku, **options: str) -> HerokuTarget:
    return HerokuTarget(heroku=heroku.asked(), given=options, push=heroku.push)


def spec(version: str = "a", **more: Any) -> DeploymentSpec:
    return spec_of(version, **{"public": True, "instance": "standard-1x", **more})


def deploy(target: HerokuTarget, wanted: DeploymentSpec) -> Status:
    return rollout.apply_plan(target, rollout.plan_deployment(target, wanted))
