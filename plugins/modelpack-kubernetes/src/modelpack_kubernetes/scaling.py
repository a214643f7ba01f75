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
of an hour, periods of half an
hour at most; ``tolerance`` is beta and on from 1.35 on), "Specifying a Disruption Budget"; KEDA documentation, "ScaledObject
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
_UP_S, _DOWN_S, _STEP_S = 0, 300, 15
_TOLERANT = (1, 35)
_IDLE_S = 300
_POLLING_S = 15
_SAMPLE_S = 5
_NEVER_MORE = "1000000"


def scaler(wanted: Wanted, *, scaled: str | None = None) -> Json | None:
    """Return what decides how many pods there are; None: nothing does.  Raises UsageError.

    scaled  a Deployment that somebody else makes of it; its pods' series have no ``service`` of ours
    """
    if not wanted.scales:
        return None
    made = _scaled_object if wanted.options.scaler == "keda" else _autoscaler
    return made(wanted, scaled)


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
    found += _unheeded(wanted)
    if not wanted.scales and options.scaler != "cpu":
        found.append("option 'scaler': the number of pods is fixed; set scaling.max above the min")
    return found


def _unheeded(wanted: Wanted) -> list[str]:
    """Return which knobs of the formula have no place in what scales it."""
    settings = wanted.settings
    found = {}
    if wanted.options.scaler != "keda":
        found["every_s"] = found["window_s"] = "set for the whole cluster; KEDA takes it"
    if not _has_tolerances(wanted):
        found["up_tolerance"] = found["down_tolerance"] = (
            "a tenth for the whole cluster; '--option kubernetes=1.35' sets it for each"
        )
    return [
        f"scaling.{name}: {why}"
        for name, why in found.items()
        if wanted.scales and getattr(settings, name) is not None
    ]


def in_flight_query(wanted: Wanted, scaled: str | None = None) -> str:
    """Return the PromQL of the requests in flight in all pods, by the labels of a ServiceMonitor.

    scaled  the Deployment whose pods it is about, by the label ``pod`` instead of ``service``
    """
    which = f'service="{wanted.name}"' if scaled is None else f'pod=~"{scaled}-.+"'
    return f'sum({IN_FLIGHT}{{namespace="{wanted.namespace}",{which}}})'


def in_flight_target(wanted: Wanted) -> int:
    """Return how many requests in flight a pod should have."""
    return wanted.settings.in_flight or DEFAULT_IN_FLIGHT


def _autoscaler(wanted: Wanted, scaled: str | None) -> Json:
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
                "name": scaled or wanted.name,
            },
            "minReplicas": max(1, wanted.settings.min_replicas),
            "maxReplicas": wanted.settings.most_replicas,
            "metrics": [metric],
            "behavior": _behavior(wanted),
        },
    }


def _scaled_object(wanted: Wanted, scaled: str | None) -> Json:
    settings, options = wanted.settings, wanted.options
    query = in_flight_query(wanted, scaled)
    if settings.window_s:
        query = f"avg_over_time({query}[{math.ceil(settings.window_s)}s:{_SAMPLE_S}s])"
    triggers = [_trigger(wanted, "in-flight", query, str(in_flight_target(wanted)))]
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
                "name": scaled or wanted.name,
            },
            "minReplicaCount": least,
            "maxReplicaCount": settings.most_replicas,
            "pollingInterval": _POLLING_S
            if settings.every_s is None
            else _period(settings.every_s),
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
    """Return how fast it grows and shrinks, in the words of the formula that the docs explain."""
    settings = wanted.settings
    period = _period(settings.every_s)
    up: Json = {
        "stabilizationWindowSeconds": _window("cooldown_up_s", settings.cooldown_up_s, _UP_S),
        "selectPolicy": "Max",
        "policies": _steps(100, 4, _STEP_S),
    }
    down: Json = {
        "stabilizationWindowSeconds": _window("cooldown_down_s", settings.cooldown_down_s, _DOWN_S),
        "selectPolicy": "Max",
        "policies": _steps(100, None, _STEP_S),
    }
    if settings.max_up_factor is not None:
        up["policies"] = _steps(round((settings.max_up_factor - 1) * 100), 1, period)
    if settings.max_down_factor is not None:
        down["policies"] = _steps(round((1 - settings.max_down_factor) * 100), 1, period)
    if _has_tolerances(wanted):
        for rules, tolerance in ((up, settings.up_tolerance), (down, settings.down_tolerance)):
            if tolerance is not None:
                rules["tolerance"] = f"{round(tolerance * 1000)}m"
    return {"scaleUp": up, "scaleDown": down}


def _has_tolerances(wanted: Wanted) -> bool:
    return wanted.options.scaler != "keda" and wanted.options.kubernetes >= _TOLERANT


def _steps(percent: int, pods: int | None, period: int) -> list[Json]:
    """Return what one step may be: a share of the pods, or so many of them."""
    found: list[Json] = []
    if percent > 0:
        found.append({"type": "Percent", "value": percent, "periodSeconds": period})
    if pods is not None:
        found.append({"type": "Pods", "value": pods, "periodSeconds": period})
    return found


def _period(every_s: float | None) -> int:
    """Return the time of one step: as often as it is decided, half an hour at most."""
    return _STEP_S if every_s is None else min(max(1, math.ceil(every_s)), 1800)


def _window(name: str, given: float | None, default: int) -> int:
    seconds = default if given is None else math.ceil(given)
    if seconds > _MOST_WINDOW_S:
        raise UsageError(
            f"deploy.scaling.{name}: Kubernetes has {_MOST_WINDOW_S} seconds at most, got {seconds}"
        )
    return seconds
