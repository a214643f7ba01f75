"""The application of Ray Serve that a spec stands for: pure, without any value of a secret.

    DeploymentSpec ──application──► {name, route_prefix, import_path, runtime_env, args, deployments}
        resources  ► ray_actor_options: num_cpus, memory, num_gpus, accelerator_type
        scaling    ► num_replicas, or autoscaling_config with target_ongoing_requests

A build is named by all facts but those of scaling, and so is its application: NAME--HEX.  What differs in
scaling alone is the same application, which Serve changes while it runs; all else is another one beside it.

Sources: Ray's documentation, "Serve config files", "Serve autoscaling" (``AutoscalingConfig``), "Resource
allocation"; ``ray/util/accelerators/accelerators.py`` for the names of accelerators.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelpack.deploy import DeploymentSpec, DeploySettings, Fact
from modelpack.deploy.shipping import grace_of
from modelpack.errors import UsageError
from modelpack_ray.kept import Kept
from modelpack_ray.node import ANCHOR, SERVICE
from modelpack_ray.packages import NODE_PACKAGE, Storage, names_of

IN_FLIGHT = 32
"""Requests at once that a replica should have, unless told: a full batch of the usual size."""

MOST_ONGOING = 256
"""Fewest requests that Serve may send to a replica at once: the server batches and queues by itself."""

SCALING = frozenset(
    {
        "min_replicas",
        "max_replicas",
        "in_flight",
        "idle_s",
        "cooldown_up_s",
        "cooldown_down_s",
        "window_s",
    }
)
"""Settings that Serve changes while the replicas run."""

ACCELERATORS: Mapping[str, str] = {
    "nvidia-v100": "V100",
    "nvidia-p100": "P100",
    "nvidia-t4": "T4",
    "nvidia-p4": "P4",
    "nvidia-k80": "K80",
    "nvidia-a10g": "A10G",
    "nvidia-l4": "L4",
    "nvidia-l40s": "L40S",
    "nvidia-a100": "A100",
    "nvidia-a100-40g": "A100-40G",
    "nvidia-a100-80g": "A100-80G",
    "nvidia-h100": "H100",
    "nvidia-h200": "H200",
    "nvidia-h20": "H20",
    "nvidia-b200": "B200",
    "nvidia-b300": "B300",
    "amd-mi100": "AMD-Instinct-MI100",
    "amd-mi210": "AMD-Instinct-MI210",
    "amd-mi300x": "AMD-Instinct-MI300X-OAM",
}
"""Ray's names of accelerators by ours; ``nvidia`` and ``amd`` alone take any."""

_HEX = 8
_MARGIN_S = 10.0
_HEAD = "node:__internal_head__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How applications come to stand on a cluster, by the options of the target."""

    storage: Storage = Storage()  # noqa: RUF009  frozen
    route: str | None = None
    """Where the deployment answers; None: ``/NAME``."""
    per_node: int | None = None
    """Most replicas on one node; None: as Ray places them, which may be all on one."""


def route_of(spec: DeploymentSpec, place: Place) -> str:
    """Return the path below which the deployment answers."""
    return place.route or f"/{spec.name}"


def is_scaling(key: str) -> bool:
    """Return whether a fact is one that changes while the replicas run."""
    return key in SCALING or key.startswith("label.")


def application_name(
    spec: DeploymentSpec, facts: Mapping[str, Fact], *, again: bool = False
) -> str:
    """Return the name of the application; ``again``: of one like it beside one that has failed."""
    build = {key: value for key, value in facts.items() if not is_scaling(key)}
    digest = hashlib.sha256(json.dumps(build, sort_keys=True).encode()).hexdigest()[:_HEX]
    return f"{spec.name}--{digest}" + ("-2" if again else "")


def is_name_of(application: str, deployment: str) -> bool:
    """Return whether an application is named like those of the deployment."""
    return (
        re.fullmatch(rf"{re.escape(deployment)}--[0-9a-f]{{{_HEX}}}(-2)?", application) is not None
    )


def trial_route(name: str) -> str:
    """Return where an application answers while nobody has found it healthy yet."""
    return f"/{name}"


def application(name: str, kept: Kept, place: Place) -> dict[str, Any]:
    """Return the application as Serve's REST API takes it; secrets are added when it is sent."""
    spec = kept.spec
    names = names_of(spec)
    grace_s = grace_of(spec)
    holds = place.storage.is_cluster
    service: dict[str, Any] = {
        "name": SERVICE,
        **scaling(spec.settings),
        "ray_actor_options": actor_options(spec.settings),
        "graceful_shutdown_timeout_s": grace_s + _MARGIN_S,
        "health_check_period_s": 5.0,
        "user_config": kept.to_config(),
    }
    if place.per_node is not None:
        service["max_replicas_per_node"] = place.per_node
    anchor = {
        "name": ANCHOR,
        "num_replicas": 1,
        # The head node: what it holds the packages for ends with it.
        "ray_actor_options": {"num_cpus": 0, "resources": {_HEAD: 0.001}},
    }
    return {
        "name": name,
        "route_prefix": kept.route if kept.is_settled else trial_route(name),
        "import_path": f"{NODE_PACKAGE}:app",
        "runtime_env": {
            "working_dir": place.storage.uri(names.bundle),
            "py_modules": [place.storage.uri(names.node)],
        },
        "args": {
            "bundle": spec.bundle,
            "env": dict(sorted(spec.settings.env.items())),
            "grace_s": grace_s,
            "anchor": holds,
        },
        "deployments": [service, *([anchor] if holds else [])],
    }


def scaling(settings: DeploySettings) -> dict[str, Any]:
    """Return how many replicas there are, as Serve says it."""
    in_flight = settings.in_flight or IN_FLIGHT
    value: dict[str, Any] = {"max_ongoing_requests": max(MOST_ONGOING, 2 * in_flight)}
    fewest, most = settings.min_replicas, settings.most_replicas
    if fewest == most:
        return {"num_replicas": fewest, **value}
    auto: dict[str, Any] = {
        "min_replicas": fewest,
        # One at least is on trial, also of a service that sleeps when nobody asks.
        "initial_replicas": max(fewest, 1),
        "max_replicas": most,
        "target_ongoing_requests": in_flight,
    }
    times = {
        "upscale_delay_s": settings.cooldown_up_s,
        "downscale_delay_s": settings.cooldown_down_s,
        "downscale_to_zero_delay_s": settings.idle_s,
        "look_back_period_s": settings.window_s,
    }
    auto |= {key: wanted for key, wanted in times.items() if wanted is not None}
    return {"autoscaling_config": auto, **value}


def actor_options(settings: DeploySettings) -> dict[str, Any]:
    """Return what a replica takes of a node; raises UsageError for an unknown accelerator."""
    options: dict[str, Any] = {"num_cpus": 1.0 if settings.cpu is None else settings.cpu}
    if settings.memory_bytes is not None:
        options["memory"] = settings.memory_bytes
    kind = settings.accelerator_kind
    if kind is None:
        return options
    options["num_gpus"] = settings.accelerator_count
    if kind in ("nvidia", "amd", "gpu"):
        return options
    if kind not in ACCELERATORS:
        raise UsageError(
            f"deploy.resources.accelerator: Ray has no name for '{kind}'",
            hint=f"'nvidia:{settings.accelerator_count}' takes any; it knows "
            + ", ".join(sorted(ACCELERATORS)),
        )
    return {**options, "accelerator_type": ACCELERATORS[kind]}


def placed_as(place: Place, config: Mapping[str, Any]) -> Place:
    """Return the place with the replicas on a node that an application was made with."""
    services = [one for one in config["deployments"] if one["name"] == SERVICE]
    return replace(place, per_node=services[0].get("max_replicas_per_node") if services else None)


def changed(config: Mapping[str, Any], kept: Kept, *, route: str | None = None) -> dict[str, Any]:
    """Return an application that stands with another ``Kept``: nothing of it starts anew.

    Package, variables and secrets stay as Serve has them; scaling and route follow what is kept.
    """
    deployments = []
    for one in config["deployments"]:
        if one["name"] != SERVICE:
            deployments.append(one)
            continue
        rest = {k: v for k, v in one.items() if k not in ("num_replicas", "autoscaling_config")}
        new = {**rest, **scaling(kept.spec.settings), "user_config": kept.to_config()}
        deployments.append(new)
    return {
        **config,
        "route_prefix": route or config["route_prefix"],
        "deployments": deployments,
    }


def with_secrets(config: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """Return an application with the values of its secrets, to be sent and not to be kept."""
    if not values:
        return dict(config)
    from modelpack_ray.node.service import SECRET

    variables = {f"{SECRET}{name}": value for name, value in sorted(values.items())}
    return {**config, "runtime_env": {**config["runtime_env"], "env_vars": variables}}


def scaled_as(settings: DeploySettings, config: Mapping[str, Any]) -> DeploySettings:
    """Return the settings with the replicas that an application really has, whoever set them."""
    services = [one for one in config["deployments"] if one["name"] == SERVICE]
    found: Mapping[str, Any] = services[0] if services else {}
    auto = found.get("autoscaling_config")
    if not auto:
        count = found.get("num_replicas", 1)
        if count == settings.min_replicas and settings.most_replicas == count:
            return settings
        return replace(settings, min_replicas=count, max_replicas=count, idle_s=None)
    fewest, most = auto.get("min_replicas", 1), auto.get("max_replicas", 1)
    if (fewest, most) == (settings.min_replicas, settings.most_replicas):
        return settings
    idle_s = settings.idle_s if fewest == 0 else None
    return replace(settings, min_replicas=fewest, max_replicas=max(most, 1), idle_s=idle_s)
