"""What would change on a cluster, and what of the settings it does: pure.

    spec, Live ──► create | update (scaling alone) | replace (another application beside it)

What somebody else has set on the cluster differs from what was applied last, and is put back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from modelpack.deploy import (
    Capabilities,
    Change,
    DeploymentSpec,
    DeploySettings,
    Fact,
    Live,
    Plan,
    change_to,
)
from modelpack.errors import ConflictError
from modelpack_ray.wanted import IN_FLIGHT, Place, actor_options, is_scaling, route_of

CAPABILITIES = Capabilities(
    heeds=frozenset(
        {
            "env",
            "secrets",
            "labels",
            "cpu",
            "memory_bytes",
            "accelerator",
            "min_replicas",
            "max_replicas",
            "in_flight",
            "idle_s",
            "cooldown_up_s",
            "cooldown_down_s",
            "window_s",
        }
    ),
    secret_schemes=("env", "file"),
    reasons={
        "mode": "a Ray cluster has one way to serve",
        "region": "a Ray cluster is where it is",
        "instance": "the nodes of a Ray cluster are there already",
        "canary_percent": "Ray Serve sends all requests of a route to one application",
        "bake_s": "Ray Serve sends all requests of a route to one application",
        "public": "who reaches the proxies of Ray Serve is decided by the network of its nodes",
        "allow": "who reaches the proxies of Ray Serve is decided by the network of its nodes",
        "vpc": "a Ray cluster is where it is",
        "subnets": "a Ray cluster is where it is",
        "security_groups": "a Ray cluster is where it is",
        "every_s": "Ray Serve decides ten times a second",
        "max_up_factor": "Ray Serve has no limit for one step",
        "max_down_factor": "Ray Serve has no limit for one step",
        "up_tolerance": "Ray Serve has no tolerance",
        "down_tolerance": "Ray Serve has no tolerance",
    },
)

_USUAL = DeploySettings()

SERVE_RUNS = "serve"
ROUTE_OWNER = "route_owner"


def facts_of(spec: DeploymentSpec, place: Place) -> dict[str, Fact]:
    """Return the facts that decide what runs on the cluster, and where it answers."""
    facts = CAPABILITIES.heeded(spec.facts())
    for key in ("image", "host", "port"):
        facts.pop(key, None)
    if place.per_node is not None:
        facts["per_node"] = place.per_node
    return {**facts, "route": route_of(spec, place)}


def plan_for(
    target: str, spec: DeploymentSpec, live: Live, place: Place, http: Mapping[str, Fact]
) -> Plan:
    """Return what would change.

    Raises UsageError for an unknown accelerator, ConflictError when somebody else has the route.
    """
    actor_options(spec.settings)
    route = route_of(spec, place)
    owner = live.surroundings.get(ROUTE_OWNER)
    if owner is not None:
        raise ConflictError(
            f"the application '{owner}' of this Ray cluster answers at '{route}' already",
            hint="choose another one with '--option route=/PATH'",
        )
    change = change_to(f"application/{spec.name}", live, facts_of(spec, place))
    if change.action == "replace" and _is_in_place(change):
        change = replace(change, action="update")
    return Plan(
        target=target,
        spec=spec,
        changes=(change,),
        notes=_notes(spec, live, change, http),
    )


def _is_in_place(change: Change) -> bool:
    """Return whether nothing but scaling differs of what is fine otherwise."""
    return all(is_scaling(key) for key in change.after)


def _notes(
    spec: DeploymentSpec, live: Live, change: Change, http: Mapping[str, Fact]
) -> tuple[str, ...]:
    notes = []
    settings = spec.settings
    if change.action == "replace":
        notes.append(
            "the new replicas are started beside those that answer: the cluster needs room for both"
        )
    if (settings.host, settings.port) != (_USUAL.host, _USUAL.port):
        notes.append(
            "host and port are those of Ray Serve: 'deploy.host', 'deploy.port' change none"
        )
    if settings.memory_bytes is not None or settings.cpu is not None:
        notes.append("Ray counts cpu and memory when it chooses a node, and limits neither")
    if settings.most_replicas > settings.min_replicas and settings.in_flight is None:
        notes.append(f"scaling.in_flight is not set: {IN_FLIGHT} requests at once for a replica")
    if live.surroundings.get(SERVE_RUNS) == "no":
        where = f"{http['host']}:{http['port']}"
        notes.append(
            f"Ray Serve does not run there yet: it is started, and answers at {where} of every node"
            + (
                "; '--option http_host=0.0.0.0' opens it to others"
                if http["host"] == "127.0.0.1"
                else ""
            )
        )
    return tuple(notes)
