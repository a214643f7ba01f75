"""A deployment as a service of Cloud Run: pure.

    Wanted + image ──template──► what a revision is made of; its name is its digest
                   ──service_half──► what is of the service: who reaches it, how many replicas
    first ──► both, with all calls to the revision

What is of the service changes without a new revision: replicas are counted for the whole service and
shared out by traffic, so scaling starts nothing anew.  By default nobody but the project's own network
reaches the service, and callers must be allowed to invoke it.

A container has one port.  It is that of HTTP, or with ``--option grpc=yes`` that of gRPC, to which
HTTP/2 comes as it is; the server's HTTP port is there too, and nobody outside reaches it.

Sources: Cloud Run Admin API v2 (``services``); Cloud Run documentation, "Configure container health
checks for services", "Billing settings for services", "GPU support for services", "Restrict network
ingress", "Direct VPC egress", "Configure secrets for services", "Use HTTP/2 for services", "Configure
environment variables" (names that are Cloud Run's own), "Known issues" (paths that end in ``z`` are
answered to the platform's own probes alone).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from modelpack.deploy import State
from modelpack.errors import UsageError
from modelpack_gcp import options
from modelpack_gcp.kept import digits
from modelpack_gcp.sizes import RunSize, run_size
from modelpack_gcp.wanted import Wanted, label_value

Json = dict[str, Any]

PORT = 8080
GRPC_PORT = 8081
TAG = "new"
"""Tag of the revision on trial: a part of its own address."""
KEPT = "modelpack.dev/kept"
"""Annotation that holds what is remembered."""

MOST_START_S = 240
"""Longest that a revision may take to be ready."""
_EVERY_S = 5
MOST_AT_ONCE = 1000
_OWN_NAMES = re.compile(r"PORT|K_(SERVICE|REVISION|CONFIGURATION)|X_GOOGLE_.*")
_INGRESS: Mapping[str, str] = {
    "internal": "INGRESS_TRAFFIC_INTERNAL_ONLY",
    "balancer": "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
    "all": "INGRESS_TRAFFIC_ALL",
}

OPTIONS: Mapping[str, str] = {
    "billing": "instance: processors are there between requests too; request: only within (default)",
    "egress": "all: everything it asks for goes through its network; private: only private addresses",
    "grpc": "yes: gRPC is what callers reach, and not HTTP; the bundle's grpc_port must be set",
    "ingress": "where calls may come from: internal, balancer (and internal), or all; "
    "default: all when public, else internal",
    "inside": "yes: this machine is inside the network that reaches the service, so the probe asks it",
    "invokers": "who may call it, such as serviceAccount:NAME@PROJECT.iam.gserviceaccount.com",
    "service_account": "service account that it runs as; default: that of Compute Engine",
    "timeout": "seconds that an answer may take; default 300",
    "zonal_redundancy": "yes: accelerators are held in several zones, for more money",
}

_SECRET = re.compile(
    r"secretmanager:((?:projects/[^/@]+/secrets/)?[A-Za-z0-9_-]{1,255})(?:@([A-Za-z0-9_-]{1,63}))?"
)


def template(wanted: Wanted, image: str) -> Json:
    """Return what a revision is made of, without its name; raises UsageError."""
    settings, size = wanted.settings, run_size(wanted.settings)
    body: Json = {
        "labels": wanted.labels() | {"modelpack-bundle": label_value(wanted.bundle)},
        "containers": [_container(wanted, size, image)],
        "timeout": f"{wanted.whole('timeout', 300, 1, 3600)}s",
        "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2",
    }
    if settings.in_flight is not None:
        body["maxInstanceRequestConcurrency"] = min(settings.in_flight, MOST_AT_ONCE)
    if account := wanted.options.get("service_account"):
        body["serviceAccount"] = account
    is_redundant = wanted.flag("zonal_redundancy")
    if size.accelerator:
        body["nodeSelector"] = {"accelerator": size.accelerator}
        body["gpuZonalRedundancyDisabled"] = not is_redundant
    if network := _network(wanted):
        body["vpcAccess"] = network
    return body


def unit_of(wanted: Wanted, body: Mapping[str, Any], attempt: int = 0) -> str:
    """Return the name of the revision of a template: the same content has the same name."""
    made = digits([body, attempt] if attempt else body)[:12]
    return f"{wanted.id}-r{made}"


def service_half(wanted: Wanted) -> Json:
    """Return what is of the service and of no revision; raises UsageError."""
    settings = wanted.settings
    return {
        "labels": wanted.labels(),
        "ingress": _INGRESS[way_in(wanted)],
        "invokerIamDisabled": settings.public and not invokers(wanted),
        "scaling": {
            "minInstanceCount": settings.min_replicas,
            "maxInstanceCount": settings.most_replicas,
        },
    }


def first(wanted: Wanted, image: str, *, unit: str, kept: str) -> Json:
    """Return a whole service that gives all its calls to one revision."""
    return {
        **service_half(wanted),
        "description": f"the deployment '{wanted.name}' of modelpack",
        "annotations": {KEPT: kept},
        "template": {**template(wanted, image), "revision": unit},
        "traffic": traffic({unit: 100}),
    }


def traffic(shares: Mapping[str, int], trial: str | None = None) -> list[Json]:
    """Return how the calls go: percent by revision, and the one on trial at its own address too."""
    among = dict(shares) if trial is None else {**shares, trial: shares.get(trial, 0)}
    return [
        _row(unit, percent) | ({"tag": TAG} if unit == trial else {})
        for unit, percent in among.items()
        if percent or unit == trial
    ]


def policy(wanted: Wanted) -> Json | None:
    """Return who may call it as a policy, where an option says so; raises UsageError."""
    members = invokers(wanted)
    if not members:
        return None
    return {"policy": {"bindings": [{"role": "roles/run.invoker", "members": list(members)}]}}


def way_in(wanted: Wanted) -> str:
    """Return where calls may come from, a word of the option ``ingress``; raises UsageError."""
    default = "all" if wanted.settings.public else "internal"
    said = wanted.options.get("ingress", default)
    return options.choice("ingress", said, tuple(_INGRESS))


def word_of(ingress: object) -> str:
    """Return our word for what Cloud Run says of where calls may come from; else its own."""
    return next((word for word, one in _INGRESS.items() if one == ingress), str(ingress))


def invokers(wanted: Wanted) -> tuple[str, ...]:
    """Return who an option lets call it; raises UsageError."""
    said = wanted.options.get("invokers")
    return () if said is None else options.members("invokers", said)


def is_whole(wanted: Wanted) -> bool:
    """Return whether whole instances are paid for, and not the time in which they answer."""
    words = ("request", "instance")
    return (
        wanted.choice("billing", words) == "instance"
        or run_size(wanted.settings).accelerator is not None
    )


def start_s(wanted: Wanted) -> int:
    """Return how long a revision may take to be ready, as far as Cloud Run allows."""
    asked = math.ceil(wanted.settings.ready_timeout_s / _EVERY_S) * _EVERY_S
    return max(_EVERY_S, min(asked, MOST_START_S))


def state_of(conditions: Any) -> tuple[State, str | None]:
    """Return how a revision is by its conditions, and why."""
    for one in conditions or ():
        if one.get("type") == "Ready":
            word = str(one.get("state") or "")
            why = one.get("message")
            found = {"CONDITION_SUCCEEDED": State.RUNNING, "CONDITION_FAILED": State.FAILED}
            state = found.get(word, State.STARTING)
            return state, str(why) if why and state is not State.RUNNING else None
    return State.STARTING, None


def _row(unit: str, percent: int) -> Json:
    kind = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
    return {"type": kind, "revision": unit, "percent": percent}


def _container(wanted: Wanted, size: RunSize, image: str) -> Json:
    limits = {"cpu": str(size.cpu), "memory": f"{size.memory_mib}Mi"}
    if size.accelerator:
        limits["nvidia.com/gpu"] = "1"
    is_grpc = wanted.flag("grpc")
    port = GRPC_PORT if is_grpc else PORT
    ready, alive = (
        ({"grpc": {"port": port}},) * 2
        if is_grpc
        else ({"httpGet": {"path": path, "port": port}} for path in ("/readyz", "/livez"))
    )
    return {
        "image": image,
        "ports": [{"name": "h2c" if is_grpc else "http1", "containerPort": port}],
        "env": _variables(wanted),
        "resources": {
            "limits": limits,
            "cpuIdle": not is_whole(wanted),
            "startupCpuBoost": True,
        },
        "startupProbe": {
            **ready,
            "periodSeconds": _EVERY_S,
            "timeoutSeconds": _EVERY_S - 1,
            "failureThreshold": start_s(wanted) // _EVERY_S,
        },
        "livenessProbe": {
            **alive,
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
    }


def _variables(wanted: Wanted) -> list[Json]:
    settings = wanted.settings
    wanted.refuse_names(_OWN_NAMES, "Cloud Run")
    plain = {"MODELPACK_TAG": wanted.bundle, **settings.env}
    if wanted.flag("grpc"):
        plain |= {"MODELPACK_PORT": str(PORT), "MODELPACK_GRPC_PORT": str(GRPC_PORT)}
    found: list[Json] = [{"name": name, "value": plain[name]} for name in sorted(plain)]
    for name, reference in sorted(settings.secrets.items()):
        match = _SECRET.fullmatch(reference)
        if match is None:
            raise UsageError(
                f"deploy.secrets.{name}: not the name of a secret of Secret Manager",
                hint="write secretmanager:NAME, or secretmanager:NAME@VERSION",
            )
        key = {"secret": match[1], "version": match[2] or "latest"}
        found.append({"name": name, "valueSource": {"secretKeyRef": key}})
    return found


def _network(wanted: Wanted) -> Json | None:
    """Return what it reaches through its network; raises UsageError for several subnets."""
    settings = wanted.settings
    is_all = wanted.choice("egress", ("private", "all")) == "all"
    if not (settings.vpc or settings.subnets):
        if settings.security_groups or is_all:
            raise UsageError(
                "deploy.network: neither tags nor egress mean anything without a network",
                hint="set 'deploy.network.vpc' or 'deploy.network.subnets'",
            )
        return None
    if len(settings.subnets) > 1:
        raise UsageError(
            f"deploy.network.subnets: Cloud Run stands in one subnet, not {len(settings.subnets)}",
            hint="name one of them",
        )
    interface: Json = {}
    if settings.vpc:
        interface["network"] = settings.vpc
    if settings.subnets:
        interface["subnetwork"] = settings.subnets[0]
    if settings.security_groups:
        interface["tags"] = list(settings.security_groups)
    egress = "ALL_TRAFFIC" if is_all else "PRIVATE_RANGES_ONLY"
    return {"networkInterfaces": [interface], "egress": egress}
