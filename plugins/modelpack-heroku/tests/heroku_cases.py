"""Targets and specs that the tests over the small Heroku share."""

from __future__ import annotations

from typing import Any

from modelpack_heroku.target import HerokuTarget

from modelpack.deploy import DeploymentSpec, DeploySettings, Status, rollout

from .fake_heroku import FakeHeroku

MAIN, TRIAL = "modelpack-digits", "modelpack-digits-trial"


def target_of(heroku: FakeHeroku, **options: str) -> HerokuTarget:
    return HerokuTarget(heroku=heroku.asked(), given=options, push=heroku.push)


def spec(version: str = "a", **more: Any) -> DeploymentSpec:
    env = {key: more.pop(key) for key in list(more) if key.isupper()}
    settings = {"ready_timeout_s": 5.0, "public": True, "instance": "standard-1x", **more}
    return DeploymentSpec(
        name="digits",
        bundle=f"digits:{version}",
        digest="sha256:" + (version.encode().hex() * 64)[:64],
        image="digits:1",
        settings=DeploySettings(env=env, **settings),
    )


def deploy(target: HerokuTarget, wanted: DeploymentSpec) -> Status:
    return rollout.apply_plan(target, rollout.plan_deployment(target, wanted))
