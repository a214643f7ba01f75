"""A deployment as a service of Cloud Run: pure.

    Wanted + image ──template──► what a revision is made of; its name is its digest
                   ──service_half──► what is of the service: who reaches it, how many replicas
    first ──► both, with all calls to the revision

What is of the service changes without a new revision: replicas are counted for the whole service and
shared out by traffic, so scaling starts nothing anew.  By default nobody but the project's own network
reaches the service, and callers must be allowed to invoke it.

Sources: Cloud Run Admin API v2 (``services``); Cloud Run documentation, "Configure container health
checks for services", "Billing settings for services", "GPU support for services", "Restrict network
ingress", "Direct VPC egress", "Configure secrets for services", "Known issues" (paths that end in ``z``
are answered to the platform's own probes alone).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from modelpack.deploy import State
from modelpack.errors import UsageError
from modelpack_gcp.kept import digits
from modelpack_gcp.sizes import run_size
from modelpack_gcp.wanted import Wanted, label_value

Json = dict[str, Any]

PORT = 8080
TAG = "new"
"""Tag of the revision on trial: a part of its own address."""
KEPT = "modelpack.dev/kept"
"""Annotation that holds what is remembered."""

MOST_START_S = 240
"""Longest that a revision may take to be ready."""
_EVERY_S = 5
_MOST_AT_ONCE = 1000

OPTIONS: Mapping[str, str] = {
    "billing": "instance: processors are there between requests too; request: only within (default)",
    "egress": "all: everything it asks for goes through its network; private: only private addresses",
    "inside": "yes: this machine is inside the network that reaches the service, so the probe asks it",
    "invokers": "who may call it, such as serviceAccount:NAME@PROJECT.iam.gserviceaccount.com",
    "service_account": "service account that it runs as; default: that of Compute Engine",
    "timeout": "seconds that an answer may take; default 300",
    "zonal_redundancy": "yes: accelerators are held in several zones, for more money",
}

_SECRET = re.compile(
    r"secretmanager:((?:projects/[^/@]+/secrets/)?[A-Za-z0-9_-]{1,255})(?:@([A-Za-z0-9_-]{1,63}))?"
)
_MEMBER = re.compile(r"(?:user|serviceAccount|group|domain):[^\s,]+|allUsers|allAuthenticatedUsers")


def template(wanted: Wanted, image: str) -> Json:
    """Return what a revision is made of, without its name; raises UsageError."""
    settings, size = wanted.settings, run_size(wanted.settings)
    limits = {"cpu": str(size.cpu), "memory": f"{size.memory_mib}Mi"}
    if size.accelerator:
        limits["nvidia.com/gpu"] = "1"
    container: Json = {
        "image": image,
        "ports": [{"name": "http1", "containerPort": PORT}],
        "env": _variables(wanted),
        "resources": {
            "limits": limits,
            "cpuIdle": not (
                size.accelerator or _choice(wanted, "billing", ("request", "instance"))
            ),
            "startupCpuBoost": True,
        },
        "startupProbe": {
            "httpGet": {"path": "/readyz", "port": PORT},
            "periodSeconds": _EVERY_S,
            "timeoutSeconds": _EVERY_S - 1,
            "failureThreshold": start_s(wanted) // _EVERY_S,
        },
        "livenessProbe": {
            "httpGet": {"path": "/livez", "port": PORT},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
    }
    body: Json = {
        "labels": wanted.labels() | {"modelpack-bundle": label_value(wanted.bundle)},
        "containers": [container],
        "timeout": f"{wanted.whole('timeout', 300, 1, 3600)}s",
        "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2",
    }
    if settings.in_flight is not None:
        body["maxInstanceRequestConcurrency"] = min(settings.in_flight, _MOST_AT_ONCE)
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
    is_public = settings.public
    return {
        "labels": wanted.labels(),
        "ingress": f"INGRESS_TRAFFIC_{'ALL' if is_public else 'INTERNAL_ONLY'}",
        "invokerIamDisabled": is_public and not invokers(wanted),
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
    """Return how the calls go: percent by revision, and the one on trial at its own address."""
    rows = [_row(unit, percent) for unit, percent in shares.items() if percent]
    if trial is not None:
        rows.append({**_row(trial, 0), "tag": TAG})
    return rows


def policy(wanted: Wanted) -> Json | None:
    """Return who may call it as a policy, where an option says so; raises UsageError."""
    members = invokers(wanted)
    if not members:
        return None
    return {"policy": {"bindings": [{"role": "roles/run.invoker", "members": list(members)}]}}


def invokers(wanted: Wanted) -> tuple[str, ...]:
    """Return who an option lets call it; raises UsageError."""
    said = wanted.options.get("invokers", "").replace(",", " ").split()
    for member in said:
        if not _MEMBER.fullmatch(member):
            raise UsageError(
                f"option 'invokers': '{member[:60]}' is nobody that Google knows by that form",
                hint="write user:NAME, group:NAME or serviceAccount:NAME, with a space between two",
            )
    return tuple(sorted(set(said)))


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


def _variables(wanted: Wanted) -> list[Json]:
    settings = wanted.settings
    plain = {"MODELPACK_TAG": wanted.bundle, **settings.env}
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
    is_all = _choice(wanted, "egress", ("private", "all"))
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


def _choice(wanted: Wanted, option: str, words: tuple[str, str]) -> bool:
    """Return whether an option says the second of two words; raises UsageError for a third."""
    said = wanted.options.get(option, words[0])
    if said not in words:
        raise UsageError(f"option '{option}': must be {words[0]} or {words[1]}, got '{said[:40]}'")
    return said == words[1]
