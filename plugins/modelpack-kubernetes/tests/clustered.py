"""What tests of the target share: specs, a target at the stand-in, a push that sends nothing."""

from __future__ import annotations

from typing import Any

from modelpack_kubernetes.connecting import Endpoint, from_endpoint
from modelpack_kubernetes.target import KubernetesTarget
from stand_in import StandIn

from modelpack.deploy import DeploymentSpec, DeploySettings, Status, rollout
from modelpack.deploy.pushing import Pushed


def connect_to(cluster: StandIn) -> Any:
    """Return what connects to a stand-in, as a cloud's plugin would."""

    def endpoint() -> Endpoint:
        token = lambda: cluster.token  # noqa: E731
        return Endpoint(server=cluster.url, authority=cluster.authority, token=token)

    return from_endpoint(endpoint)


def target_at(cluster: StandIn, **options: str) -> KubernetesTarget:
    return KubernetesTarget(connect=connect_to(cluster), given=options, push=Pushes())


def spec(version: str = "a", **more: Any) -> DeploymentSpec:
    """Return a spec; words in capitals are variables."""
    env = {key: more.pop(key) for key in list(more) if key.isupper()}
    more.setdefault("ready_timeout_s", 20.0)
    return DeploymentSpec(
        name="digits",
        bundle=f"digits:{version}",
        digest="sha256:" + (version.encode().hex() * 64)[:64],
        image=f"digits:{version}",
        settings=DeploySettings(env=env, **more),
    )


def deploy(target: KubernetesTarget, wanted: DeploymentSpec, **more: Any) -> Status:
    return rollout.apply_plan(target, rollout.plan_deployment(target, wanted), **more)


class Pushes:
    """Remembers what would have been pushed."""

    def __init__(self) -> None:
        self.references: list[str] = []

    def __call__(self, spec: DeploymentSpec, reference: str, **_: Any) -> Pushed:
        self.references.append(reference)
        return Pushed("sha256:" + (reference.encode().hex() * 64)[:64], 1)
