"""A deployment as a Service of Knative: nothing runs while nobody asks.

    Wanted ──► ServiceAccount, Service
               a revision is named after what is in it, so that traffic can be given to it by name

Requests that come while there is no pod are held by Knative and answered when one is ready.  A
canary gets its share beside the revision that was there before, ``former``; each has an address of
its own by its tag.

Facts: Knative documentation, "Configuring autoscaling" (annotations and their bounds), "Traffic
management" (names of revisions, tags), "Private Services"; its webhook takes no ``lifecycle``, no
security context of the pod and no second port; CRD ``services.serving.knative.dev``.
"""

from __future__ import annotations

import hashlib
import json
import math

from modelpack.errors import UsageError
from modelpack_kubernetes import workload
from modelpack_kubernetes.knative_pod import feature_notes, knative_container
from modelpack_kubernetes.scaling import in_flight_target
from modelpack_kubernetes.wanted import CONTAINER, CONTAINER_PORT, Wanted
from modelpack_kubernetes.words import CANARY, REVISION, SPEC, STABLE, Json

_PRIVATE = {"networking.knative.dev/visibility": "cluster-local"}
_MOST_S = 3600
_OF_THE_CLUSTER = ("every_s", "max_up_factor", "max_down_factor", "up_tolerance", "down_tolerance")
_AUTOSCALING = "autoscaling.knative.dev"


def objects(wanted: Wanted, former: Wanted | None = None) -> list[Json]:
    """Return account and service; ``former`` is what a canary stands beside."""
    _check(wanted)
    return [workload.service_account(wanted), service(wanted, former)]


def service(wanted: Wanted, former: Wanted | None = None) -> Json:
    """Return the Service; raises UsageError for what Knative does not have."""
    metadata = wanted.metadata(**{SPEC: wanted.canonical, REVISION: wanted.revision})
    if not wanted.settings.public:
        metadata["labels"] = wanted.labels() | _PRIVATE
    template = _template(wanted)
    name = _named_after(wanted.name, template)
    template["metadata"]["name"] = name
    beside = None if former is None else _named_after(former.name, _template(former))
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"template": template, "traffic": _traffic(wanted, name, beside)},
    }


def notes(wanted: Wanted) -> list[str]:
    """Return what is done otherwise than asked for, and what the cluster must allow."""
    found = []
    if wanted.other_ports:
        names = ", ".join(wanted.other_ports)
        found.append(f"Knative passes on one port, not that for {names}")
    if wanted.settings.cooldown_up_s is not None:
        found.append("scaling.cooldown_up_s: Knative adds pods at once")
    found += [
        f"scaling.{name}: Knative has it for the whole cluster, in 'config-autoscaler'"
        for name in _OF_THE_CLUSTER
        if getattr(wanted.settings, name) is not None
    ]
    return found + feature_notes(wanted)


def _check(wanted: Wanted) -> None:
    if wanted.settings.allow:
        raise UsageError(
            "deploy.network.allow: Knative's gateway hides who calls",
            hint="limit it at the gateway, and set network.public",
        )
    for key in ("ingress", "gateway", "monitoring", "transformer", "storage"):
        if getattr(wanted.options, key) is not None:
            raise UsageError(
                f"option '{key}': has no meaning in the mode 'knative'", hint="leave it out"
            )


def _template(wanted: Wanted) -> Json:
    spec: Json = {
        "serviceAccountName": wanted.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [
            {
                "name": CONTAINER,
                **knative_container(wanted, port=CONTAINER_PORT, port_name="http1"),
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        **workload.placement(wanted),
    }
    if wanted.options.pull_secret is not None:
        spec["imagePullSecrets"] = [{"name": wanted.options.pull_secret}]
    metadata: Json = wanted.pod_metadata()
    metadata["annotations"] |= _autoscaling(wanted)
    return {"metadata": metadata, "spec": spec}


def _autoscaling(wanted: Wanted) -> dict[str, str]:
    settings = wanted.settings
    found = {
        "class": "kpa.autoscaling.knative.dev",
        "metric": "concurrency",
        "target": str(in_flight_target(wanted)),
        "target-utilization-percentage": "100",
        "min-scale": str(settings.min_replicas),
        "max-scale": str(settings.most_replicas),
    }
    if settings.idle_s is not None:
        found["scale-to-zero-pod-retention-period"] = _span("idle_s", settings.idle_s)
    if settings.window_s is not None:
        found["window"] = f"{min(max(6, math.ceil(settings.window_s)), _MOST_S)}s"
    if settings.cooldown_down_s is not None:
        found["scale-down-delay"] = _span("cooldown_down_s", settings.cooldown_down_s)
    deadline = f"{workload.progress_deadline_s(wanted)}s"
    annotations = {f"{_AUTOSCALING}/{key}": value for key, value in found.items()}
    return annotations | {"serving.knative.dev/progress-deadline": deadline}


def _span(name: str, seconds: float) -> str:
    if seconds > _MOST_S:
        raise UsageError(
            f"deploy.scaling.{name}: Knative has {_MOST_S} seconds at most, got {seconds:g}"
        )
    return f"{math.ceil(seconds)}s"


def _named_after(name: str, template: Json) -> str:
    """Return a name that the same template has always, and no other one."""
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _traffic(wanted: Wanted, name: str, former: str | None) -> list[Json]:
    share = wanted.settings.canary_percent
    if share is None or former is None or former == name:
        return [_target(name, 100, STABLE)]
    return [_target(former, 100 - share, STABLE), _target(name, share, CANARY)]


def _target(name: str, percent: int, tag: str) -> Json:
    return {"revisionName": name, "latestRevision": False, "percent": percent, "tag": tag}
