"""An online endpoint of Azure Machine Learning as Azure wants it written; pure.

    Entry ──environment──► a version of an environment: image, routes, and what the revision was made of
          ──deployment───► one managed deployment beside others, machines and probes
    shares ──endpoint────► the endpoint: who gets which share of the calls
          ──autoscaling──► rules of Azure Monitor, where there may be more instances than the fewest

The image answers ``/score`` in the way of Azure ML's own servers, beside its own paths; probes and calls
come to the one port.  A deployment gets its calls through the endpoint alone, with a key.

Facts: Azure Machine Learning, "Deploy a custom container to an online endpoint" (all three routes),
"Managed online endpoints deployment YAML", "Secret injection in online endpoints" (``${{keyvault:…}}``),
"Autoscale online endpoints" (``CpuUtilizationPercentage``); Azure Monitor, autoscale settings: at most 15
tags, a cooldown of a minute to a week.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from modelpack.deploy import DeploySettings, Entry
from modelpack.errors import UsageError
from modelpack_azure.app_body import vault_url
from modelpack_azure.arm import Json
from modelpack_azure.kept import written
from modelpack_azure.naming import NOW_TAG, PORT, tags_of
from modelpack_azure.sizes import machine_of

API = "2023-04-01"
API_MONITOR = "2022-10-01"
WORKSPACE = "Microsoft.MachineLearningServices/workspaces"
MONITOR = "Microsoft.Insights/autoscalesettings"

KEY = "modelpack.deployment"
"""Property that holds what a revision was made of."""

AT_ONCE = 200
"""Requests that an instance lets in at a time; the server makes batches of them."""

_TIMEOUT_S = 60
_MOST_TIMEOUT_S = 180
_BUSY_PERCENT = 70
_IDLE_PERCENT = 30


def deployment_name(entry: Entry) -> str:
    """Return the name of the deployment of a revision."""
    return f"r{entry.mark}"


def version_of(entry: Entry) -> str:
    """Return the version of the environment of a revision: another image is another version."""
    return f"{entry.mark}-{hashlib.sha256(entry.image.encode()).hexdigest()[:6]}"


def endpoint(
    name: str,
    target: str,
    settings: DeploySettings,
    *,
    location: str,
    identity: str,
    shares: Mapping[str, int],
    mirror: Mapping[str, int] | None = None,
    settled: tuple[str, ...] = (),
    now: str | None = None,
) -> Json:
    """Return the endpoint.

    shares   percent of the calls by deployment; empty before there is one
    mirror   percent of the calls that a deployment gets a copy of
    now      mark of the revision that is meant to run
    """
    tags = tags_of(name, target, settings.labels, settled)
    if now is not None:
        tags[NOW_TAG] = now
    properties: Json = {
        "authMode": "Key",
        "publicNetworkAccess": "Enabled" if settings.public else "Disabled",
        "traffic": dict(shares),
        "mirrorTraffic": dict(mirror or {}),
    }
    return {
        "location": location,
        "tags": tags,
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}},
        "properties": properties,
    }


def environment(entry: Entry) -> Json:
    """Return the version of the environment of a revision."""
    routes = {"livenessRoute": "/livez", "readinessRoute": "/readyz", "scoringRoute": "/score"}
    return {
        "properties": {
            "description": f"{entry.spec.bundle}, by modelpack",
            "image": entry.image,
            "inferenceConfig": {key: {"path": path, "port": PORT} for key, path in routes.items()},
            "osType": "Linux",
            "properties": {KEY: written(entry)},
        }
    }


def deployment(entry: Entry, target: str, *, location: str, environment_id: str) -> Json:
    """Return the deployment of a revision; raises UsageError for what cannot be."""
    settings = entry.spec.settings
    if settings.min_replicas < 1:
        raise UsageError(
            "deploy.scaling.min: an online endpoint of Azure ML cannot sleep",
            hint="mode 'container-apps' can",
        )
    machine, _ = machine_of(settings)
    period = max(1, round(settings.ready_timeout_s / 30))
    return {
        "location": location,
        "tags": tags_of(entry.spec.name, target, settings.labels),
        "sku": {"name": "Default", "capacity": settings.min_replicas},
        "properties": {
            "endpointComputeType": "Managed",
            "environmentId": environment_id,
            "environmentVariables": _variables(entry),
            "instanceType": machine,
            "appInsightsEnabled": False,
            "scaleSettings": {"scaleType": "Default"},
            "requestSettings": {
                "requestTimeout": f"PT{timeout_of(entry.options)}S",
                "maxConcurrentRequestsPerInstance": AT_ONCE,
            },
            "livenessProbe": _probe(10, 30, initial=10),
            # As long as the deployment may take to be ready, in thirty looks.
            "readinessProbe": _probe(period, 30, initial=1),
            "properties": {KEY: written(entry)},
        },
    }


def autoscaling(entry: Entry, target: str, *, location: str, deployment_id: str) -> Json:
    """Return the rules by which instances come and go with processor time."""
    settings = entry.spec.settings

    def rule(direction: str, operator: str, percent: int, cooldown_s: float | None) -> Json:
        return {
            "metricTrigger": {
                "metricName": "CpuUtilizationPercentage",
                "metricResourceUri": deployment_id,
                "timeGrain": "PT1M",
                "statistic": "Average",
                "timeWindow": "PT5M",
                "timeAggregation": "Average",
                "operator": operator,
                "threshold": percent,
            },
            "scaleAction": {
                "direction": direction,
                "type": "ChangeCount",
                "value": "1",
                "cooldown": f"PT{_minutes(cooldown_s)}M",
            },
        }

    counts = {"minimum": settings.min_replicas, "maximum": settings.most_replicas}
    capacity = {**counts, "default": settings.min_replicas}
    return {
        "location": location,
        "tags": tags_of(entry.spec.name, target, {}),  # Azure Monitor takes 15: none of labels
        "properties": {
            "enabled": True,
            "targetResourceUri": deployment_id,
            "profiles": [
                {
                    "name": "by processor time",
                    "capacity": {key: str(one) for key, one in capacity.items()},
                    "rules": [
                        rule("Increase", "GreaterThan", _BUSY_PERCENT, settings.cooldown_up_s),
                        rule("Decrease", "LessThan", _IDLE_PERCENT, settings.cooldown_down_s),
                    ],
                }
            ],
        },
    }


def timeout_of(options: Mapping[str, str]) -> int:
    """Return how many seconds a call may take; raises UsageError."""
    return _number(options, "timeout", _TIMEOUT_S, _MOST_TIMEOUT_S)


def mirror_of(options: Mapping[str, str]) -> int:
    """Return the percent of calls that a new revision gets a copy of first; 0: none."""
    return _number(options, "mirror", 0, 50)


def _minutes(seconds: float | None) -> int:
    """Return a wait as Azure Monitor takes it: whole minutes, one at least."""
    return max(1, round((300 if seconds is None else seconds) / 60))


def _number(options: Mapping[str, str], key: str, default: int, most: int) -> int:
    text = options.get(key)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise UsageError(
            f"option '{key}': must be 1 to {most}, got '{text[:40]}'",
            hint=f"leave it out for {default}",
        )
    return int(text)


def _variables(entry: Entry) -> dict[str, str]:
    settings = entry.spec.settings
    secrets = {
        variable: f"${{{{keyvault:{vault_url(variable, reference)}}}}}"
        for variable, reference in settings.secrets.items()
    }
    found = {**settings.env, **secrets, "MODELPACK_TAG": entry.spec.bundle}
    return {key: found[key] for key in sorted(found)}


def _probe(period_s: int, failures: int, *, initial: int) -> Json:
    return {
        "initialDelay": f"PT{initial}S",
        "period": f"PT{period_s}S",
        "timeout": "PT5S",
        "successThreshold": 1,
        "failureThreshold": failures,
    }
