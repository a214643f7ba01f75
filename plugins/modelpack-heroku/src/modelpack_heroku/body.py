"""What a release of a deployment is made of, in Heroku's words.  Pure.

    DeploymentSpec ──variables──► config vars, without the values of secrets
                   ──replicas──►  how many dynos
    config before + wanted ──changed──► what has to be sent: a value, or nothing for one that goes

Heroku sets ``PORT``, and our server answers there.  Sources: Heroku Dev Center, "Configuration and
Config Vars" (names, 32 KB in all), "Dynos" (``PORT``, ``DYNO``), "Container Registry & Runtime".
"""

from __future__ import annotations

from collections.abc import Mapping

from modelpack.deploy import DeploymentSpec
from modelpack.errors import UsageError
from modelpack_heroku.kept import MARK, OWN, TAG, TARGET

MOST_BYTES = 32 * 1024
"""Of all config vars of an app, names and values."""

STACK = "container"
PROCESS = "web"
"""The one kind of process that gets calls."""


def variables(spec: DeploymentSpec, target: str) -> dict[str, str]:
    """Return the config vars of a revision but for secrets; raises UsageError for a name."""
    for name in (*spec.settings.env, *spec.settings.secrets):
        where = "env" if name in spec.settings.env else "secrets"
        if name in OWN or name in ("PORT", "DYNO"):
            raise UsageError(f"deploy.{where}.{name} is set by the target", hint="take it out")
        if name.startswith(("HEROKU_", "__")) or not name.isascii():
            raise UsageError(
                f"deploy.{where}.{name}: Heroku keeps such names for itself",
                hint="choose another name",
            )
    return {MARK: spec.name, TARGET: target, TAG: spec.bundle, **spec.settings.env}


def replicas(spec: DeploymentSpec) -> int:
    """Return how many dynos a deployment gets; an Eco dyno sleeps by itself."""
    return max(1, spec.settings.min_replicas)


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    """Return what brings config vars from one state to another; empty for nothing."""
    gone: dict[str, str | None] = {name: None for name in before if name not in after}
    return gone | {name: value for name, value in after.items() if before.get(name) != value}


def check_size(config: Mapping[str, str]) -> None:
    """Raise UsageError when there is more than Heroku has room for."""
    size = sum(len(name.encode()) + len(value.encode()) for name, value in config.items())
    if size > MOST_BYTES:
        raise UsageError(
            f"deploy.env: the config vars have {size} bytes, an app of Heroku has room for "
            f"{MOST_BYTES}",
            hint="put large values into the bundle, or where the service can fetch them",
        )
