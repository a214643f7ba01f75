"""How many pods there are, and when there are more of them.

    scaling.max above scaling.min ──► HorizontalPodAutoscaler   by processor time, or by requests in
                                      flight where an adapter serves that metric (``scaler=adapter``)
                                  └─► ScaledObject of KEDA       by requests in flight, as Prometheus
                                      has them (``scaler=keda``)
    more than one pod ──► PodDisruptionBudget: one at a time leaves its machine

Each follows one rule: pods wanted = requests in flight in all pods / ``scaling.in_flight``.  No pod
has no requests, so nothing here wakes up a service that has none: ``scaling.min: 0`` is one pod,
unless ``wake`` tells KEDA what to ask for instead.  Knative holds requests while none is there.

Facts: Kubernetes documentation, "Horizontal Pod Autoscaling" (``behavior``; stabilisation windows
of an hour at most), "Specifying a Disruption Budget"; KEDA documentation, "ScaledObject
specification", "Prometheus" (thresholds are text; ``activationThreshold``), "Scaling Deployments".
"""

from __future__ import annotations

import math

from modelpack.errors import UsageError
from modelpack_kubernetes.wanted import Wanted
from modelpack_kubernetes.words import Json

IN_FLIGHT = "modelpack_in_flight_requests"
"""Metric of our server: requests that wait or run now, an api each."""

DEFAULT_IN_FLIGHT = 16
"""Requests in flight that a pod should have, where ``scaling.in_flight`` is not set."""

_MOST_CPU_PERCENT = 70
_MOST_WINDOW_S = 3600
_UP_S, _DOWN_S = 0, 300
_IDLE_S = 300
_POLLING_S = 15
_NEVER_MORE = "1000000"


def scaler(wanted: Wanted) -> Json | None:
    """Return what decides how many pods there are; None: nothing does.  Raises UsageError."""
    if not wanted.scales:
        return None
    if wanted.options.scaler == "keda":
        return _scaled_object(wanted)
    return _autoscaler(wanted)


def disruption_budget(wanted: Wanted) -> Json | None:
    """Return how many pods may leave at once; None where there is one pod only."""
    if wanted.settings.most_replicas < 2:
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": wanted.metadata(),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": wanted.selector()},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def notes(wanted: Wanted) -> list[str]:
    """Return what is met otherwise than asked for, for the warnings of a plan."""
    settings, options = wanted.settings, wanted.options
    found = []
    if settings.min_replicas == 0 and options.wake is None:
        found.append(
            "scaling.min: nothing in front of a plain Deployment holds requests, so one pod stays; "
            "'--mode knative' scales to zero"
        )
        if settings.idle_s is not None:
            found.append("scaling.idle_s: the last pod stays")
    if settings.min_replicas == 0 and options.wake is not None:
        found.append("requests that come while there is no pod are refused until one is ready")
    if wanted.scales and options.scaler == "cpu" and settings.in_flight is not None:
        found.append(
            "scaling.in_flight: pods are added by processor time; '--option scaler=keda' or "
            "'scaler=adapter' counts requests"
        )
    if not wanted.scales and options.scaler != "cpu":
        found.append("option 'scaler': the number of pods is fixed; set scaling.max above the min")
    return found


def in_flight_query(wanted: Wanted) -> str:
    """Return the PromQL of the requests in flight in all pods, by the labels of a ServiceMonitor."""
    return f'sum({IN_FLIGHT}{{namespace="{wanted.namespace}",service="{wanted.name}"}})'


def in_flight_target(wanted: Wanted) -> int:
    """Return how many requests in flight a pod should have."""
    return wanted.settings.in_flight or DEFAULT_IN_FLIGHT


def _autoscaler(wanted: Wanted) -> Json:
    if wanted.options.scaler == "adapter":
        target = {"type": "AverageValue", "averageValue": str(in_flight_target(wanted))}
        metric: Json = {"type": "Pods", "pods": {"metric": {"name": IN_FLIGHT}, "target": target}}
    else:
        # Without a request for processors there is nothing that a percentage could be of.
        share: Json = {"type": "AverageValue", "averageValue": f"{_MOST_CPU_PERCENT * 10}m"}
        if wanted.settings.cpu is not None:
            share = {"type": "Utilization", "averageUtilization": _MOST_CPU_PERCENT}
        metric = {"type": "Resource", "resource": {"name": "cpu", "target": share}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": wanted.metadata(),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": wanted.name,
            },
            "minReplicas": max(1, wanted.settings.min_replicas),
            "maxReplicas": wanted.settings.most_replicas,
            "metrics": [metric],
            "behavior": _behavior(wanted),
        },
    }


def _scaled_object(wanted: Wanted) -> Json:
    settings, options = wanted.settings, wanted.options
    triggers = [
        _trigger(wanted, "in-flight", in_flight_query(wanted), str(in_flight_target(wanted)))
    ]
    least = max(1, settings.min_replicas)
    if options.wake is not None:
        least = settings.min_replicas
        triggers.append(_trigger(wanted, "wake", options.wake, _NEVER_MORE))
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": wanted.metadata(),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": wanted.name,
            },
            "minReplicaCount": least,
            "maxReplicaCount": settings.most_replicas,
            "pollingInterval": _POLLING_S,
            "cooldownPeriod": _IDLE_S if settings.idle_s is None else math.ceil(settings.idle_s),
            "fallback": {
                "failureThreshold": 3,
                "replicas": max(1, settings.min_replicas),
                "behavior": "currentReplicasIfHigher",
            },
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior(wanted)}},
            "triggers": triggers,
        },
    }


def _trigger(wanted: Wanted, name: str, query: str, threshold: str) -> Json:
    return {
        "type": "prometheus",
        "name": name,
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": wanted.options.prometheus,
            "query": query,
            "threshold": threshold,
            "activationThreshold": "0",
        },
    }


def _behavior(wanted: Wanted) -> Json:
    """Return how fast it grows and shrinks: the windows are Cortex's stabilisation periods."""
    settings = wanted.settings
    return {
        "scaleUp": {
            "stabilizationWindowSeconds": _window("cooldown_up_s", settings.cooldown_up_s, _UP_S),
            "selectPolicy": "Max",
            "policies": [
                {"type": "Percent", "value": 100, "periodSeconds": 15},
                {"type": "Pods", "value": 4, "periodSeconds": 15},
            ],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": _window(
                "cooldown_down_s", settings.cooldown_down_s, _DOWN_S
            ),
            "selectPolicy": "Max",
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
        },
    }


def _window(name: str, given: float | None, default: int) -> int:
    seconds = default if given is None else math.ceil(given)
    if seconds > _MOST_WINDOW_S:
        raise UsageError(
            f"deploy.scaling.{name}: Kubernetes has {_MOST_WINDOW_S} seconds at most, got {seconds}"
        )
    return seconds
