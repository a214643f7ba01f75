"""A deployment as a SeldonDeployment of Seldon Core 1.

    Wanted ──► ServiceAccount, NetworkPolicy, SeldonDeployment
               one predictor "stable" of one MODEL: the pods of a plain Deployment, as the operator takes them
               a canary: "canary" beside it, each with its share of ``traffic``

The graph is one node, so no orchestrator stands before it (``seldon.io/no-engine``): requests that
the way in takes below ``/seldon/NAMESPACE/NAME`` reach the server itself, with every contract that it
speaks, ``/api/v1.0/predictions`` among them.  An orchestrator would ask it at ``/predict``, which is
the service's own path.  Inside the cluster the operator makes a Service for each predictor.

The operator looks for changes in the parts of pods alone, not in their labels and annotations, so the
revision stands among the variables too.  It sets the security context of pods itself: what a container
may stands in the container.  Its definition holds the fields of pods as they were in Kubernetes 1.24;
later ones would be refused.

Facts: Seldon Core 1, "Seldon Deployment CRD", "Replica Scaling", "Annotation Based Configuration";
its source, ``operator/apis/machinelearning.seldon.io/v1`` (types, names, defaults, what its webhook
refuses), ``operator/controllers/seldondeployment_controller.go`` (what it copies into Deployments and
Services), ``executor/api/client`` (paths of the orchestrator).
"""

from __future__ import annotations

import math

from modelpack.errors import UsageError
from modelpack_kubernetes import exposure, scaling, workload
from modelpack_kubernetes.wanted import CONTAINER, Wanted
from modelpack_kubernetes.words import CANARY, REVISION, SPEC, STABLE, Json

_REVISION = "POD_REVISION"
_NO_ENGINE = {"seldon.io/no-engine": "true"}
_NOT_SCALED = ("cooldown_up_s", "cooldown_down_s", "max_up_factor", "max_down_factor")
_TOLERANCES = ("up_tolerance", "down_tolerance")


def objects(wanted: Wanted, former: Wanted | None = None) -> list[Json]:
    """Return account, policy and deployment; ``former`` is what a canary stands beside.

    Raises UsageError for what Seldon does not have.
    """
    _check(wanted)
    return [
        workload.service_account(wanted),
        exposure.network_policy(wanted),
        seldon_deployment(wanted, former),
    ]


def seldon_deployment(wanted: Wanted, former: Wanted | None = None) -> Json:
    """Return the SeldonDeployment; raises UsageError for an accelerator that is not known."""
    share = wanted.settings.canary_percent
    if former is None or share is None or former.pods == wanted.pods:
        predictors = [_predictor(wanted, STABLE, 100)]
    else:
        few = {"replicas": max(1, math.ceil(max(1, former.settings.min_replicas) * share / 100))}
        predictors = [
            _predictor(former, STABLE, 100 - share),
            _predictor(wanted, CANARY, share, scale=few),
        ]
    return {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": wanted.metadata(**{SPEC: wanted.canonical, REVISION: wanted.revision}),
        "spec": {
            "name": wanted.name,
            "protocol": "seldon",
            "transport": "rest",
            "predictors": predictors,
        },
    }


def deployment_name(name: str, track: str = STABLE) -> str:
    """Return what the operator calls the Deployment of a predictor."""
    return f"{name}-{track}-0-{CONTAINER}"


def service_name(name: str, track: str = STABLE) -> str:
    """Return what the operator calls the Service of a predictor; its port is that of the pods."""
    return f"{name}-{track}"


def notes(wanted: Wanted) -> list[str]:
    """Return what is done otherwise than asked for, and what the cluster must have."""
    settings, by_keda = wanted.settings, wanted.options.scaler == "keda"
    found = [one for one in scaling.notes(wanted) if "--mode knative" not in one]
    if settings.min_replicas == 0 and wanted.options.wake is None:
        found.insert(0, "scaling.min: nothing holds requests while there is no pod, so one stays")
    unheeded = _TOLERANCES if by_keda else (*_NOT_SCALED, *_TOLERANCES)
    if wanted.scales:
        found = [
            one for one in found if not one.startswith(tuple(f"scaling.{n}:" for n in unheeded))
        ]
        found += [
            f"scaling.{name}: Seldon's 'hpaSpec' has no place for it; '--option scaler=keda' has"
            if name in _NOT_SCALED
            else f"scaling.{name}: a tenth for the whole cluster"
            for name in unheeded
            if getattr(settings, name) is not None
        ]
    if by_keda and wanted.scales:
        found.append("option 'scaler': Seldon's operator has to be set up with KEDA (keda.enabled)")
    return found


def _check(wanted: Wanted) -> None:
    if wanted.settings.allow:
        raise UsageError(
            "deploy.network.allow: Seldon's gateway hides who calls",
            hint="limit it at the gateway, and set network.public",
        )
    for key, why in (
        ("ingress", "Seldon makes the way in itself"),
        ("gateway", "Seldon makes the way in itself"),
        ("monitoring", "Seldon's services have names of their own"),
    ):
        if getattr(wanted.options, key) is not None:
            raise UsageError(
                f"option '{key}': {why}", hint="leave it out; it goes with the mode 'deployment'"
            )


def _predictor(wanted: Wanted, track: str, share: int, *, scale: Json | None = None) -> Json:
    """Return one predictor; ``scale`` says how many pods it has, by default as the settings do."""
    component: Json = {
        "metadata": {
            "labels": wanted.pod_labels(track),
            "annotations": {REVISION: wanted.pods, "prometheus.io/path": "/metrics"},
        },
        "spec": _pod(wanted, track),
        **(_scale(wanted) if scale is None else scale),
    }
    if wanted.settings.most_replicas > 1 and track == STABLE:
        component["pdbSpec"] = {"maxUnavailable": 1}
    return {
        "name": track,
        "traffic": share,
        "annotations": dict(_NO_ENGINE),
        "labels": {"version": track},
        "graph": {"name": CONTAINER, "type": "MODEL", "children": []},
        "componentSpecs": [component],
    }


def _pod(wanted: Wanted, track: str) -> Json:
    """Return the pods' own part, without what the operator sets or does not know."""
    pod = workload.pod_spec(wanted, track)
    of_the_pod = {
        key: value for key, value in pod.pop("securityContext").items() if key != "fsGroup"
    }
    for one in pod["topologySpreadConstraints"]:
        del one["matchLabelKeys"]
    for one in (*pod["containers"], *pod.get("initContainers", ())):
        one["securityContext"] = one["securityContext"] | of_the_pod
    [service] = pod["containers"]
    service["lifecycle"] = {"preStop": workload.pre_stop_by_command()}
    service["env"] = [*service["env"], {"name": _REVISION, "value": wanted.pods}]
    return pod


def _scale(wanted: Wanted) -> Json:
    """Return what says how many pods there are: a number, an autoscaler's part, or KEDA's."""
    scaler = scaling.scaler(wanted, scaled=deployment_name(wanted.name))
    if scaler is None:
        return {"replicas": max(1, wanted.settings.min_replicas)}
    spec = scaler["spec"]
    if scaler["kind"] == "ScaledObject":
        keys = ("pollingInterval", "cooldownPeriod", "minReplicaCount", "maxReplicaCount")
        return {"kedaSpec": {key: spec[key] for key in (*keys, "advanced", "triggers")}}
    limits = {key: spec[key] for key in ("minReplicas", "maxReplicas")}
    return {"hpaSpec": {**limits, "metricsv2": spec["metrics"]}}
