"""The pods of a deployment, and the Deployment that keeps them.

    Wanted ──pod_spec──► one container "service", as few rights as will do
           ──deployment──► apps/v1 Deployment: rolling, never less than it had

What always holds:

* pods pass the restricted Pod Security Standard: user 65532, no capabilities, read-only root,
  ``/tmp`` as the one folder that can be written, no token of the cluster;
* a pod gets requests from when ``/readyz`` says 200 until it begins to end; then it waits until the
  routers know, answers what it has, and has as long for it as the server takes (``grace_s``);
* no variable of a Service is set (``enableServiceLinks``): one named like ours would be read.

Facts: Kubernetes documentation, "Pod Security Standards", "Pod Lifecycle" (ends of pods, and that
endpoints are taken away beside the signal), "Configure Liveness, Readiness and Startup Probes";
``lifecycle.preStop.sleep`` is there from 1.30 on without a feature gate.
"""

from __future__ import annotations

import math

from modelpack_kubernetes.devices import devices_of
from modelpack_kubernetes.wanted import CONTAINER, CONTAINER_PORT, METRICS_PORT, PORT_NAME, Wanted
from modelpack_kubernetes.weights import PYTHON, mounted
from modelpack_kubernetes.words import REVISION, SPEC, STABLE, Json

USER = 65532

ROUTERS_S = 5
"""How long a pod that ends still takes requests: routers hear of its end beside it."""

_GRACE_S = 30.0
_MARGIN_S = 5
_PROBE_S = 2


def service_account(wanted: Wanted) -> Json:
    """Return an account of its own without rights, whose token no pod sees."""
    account: Json = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": wanted.metadata(),
        "automountServiceAccountToken": False,
    }
    if wanted.options.pull_secret is not None:
        account["imagePullSecrets"] = [{"name": wanted.options.pull_secret}]
    return account


def deployment(wanted: Wanted, *, track: str = STABLE, replicas: int | None = None) -> Json:
    """Return the Deployment of a track.

    replicas  how many; None: ``scaling.min``, or not said where something in the cluster decides

    Raises UsageError for an accelerator that no label is known of.
    """
    settings = wanted.settings
    spec: Json = {
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": progress_deadline_s(wanted),
        "selector": {"matchLabels": wanted.selector(track)},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0},
        },
        "template": {"metadata": wanted.pod_metadata(track), "spec": pod_spec(wanted, track)},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    elif not wanted.scales:
        spec["replicas"] = max(1, settings.min_replicas)
    name = wanted.name if track == STABLE else wanted.canary_name
    marks = {SPEC: wanted.canonical, REVISION: wanted.revision}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": wanted.metadata(name, **marks),
        "spec": spec,
    }


def progress_deadline_s(wanted: Wanted) -> int:
    """Return after how long without progress the cluster gives up: pulling, then starting."""
    return math.ceil(wanted.settings.ready_timeout_s) + 600


def grace_s(wanted: Wanted) -> int:
    """Return how long a pod may take to end: the routers', the server's, and a margin."""
    given = wanted.settings.env.get("MODELPACK_GRACE_S")
    return ROUTERS_S + math.ceil(float(given) if given else _GRACE_S) + _MARGIN_S


def pod_spec(wanted: Wanted, track: str = STABLE) -> Json:
    """Return the pods' own part; raises UsageError for an accelerator that is not known."""
    spec: Json = {
        "serviceAccountName": wanted.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": grace_s(wanted),
        "topologySpreadConstraints": _spread(wanted, track),
        "containers": [{"name": CONTAINER, **container(wanted)}],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        **placement(wanted),
    }
    if wanted.options.pull_secret is not None:
        spec["imagePullSecrets"] = [{"name": wanted.options.pull_secret}]
    return mounted(wanted, spec, confined=confined())


def placement(wanted: Wanted) -> Json:
    """Return what of a pod says which node it may stand on."""
    devices = devices_of(wanted.settings)
    found: Json = {}
    if devices.node_selector:
        found["nodeSelector"] = dict(devices.node_selector)
    if devices.affinity is not None:
        found["affinity"] = devices.affinity
    if devices.tolerations:
        found["tolerations"] = devices.tolerations
    if wanted.options.runtime_class is not None:
        found["runtimeClassName"] = wanted.options.runtime_class
    return found


def container(wanted: Wanted, *, port: int = CONTAINER_PORT, port_name: str = PORT_NAME) -> Json:
    """Return the container of the service, but for its name."""
    ports = [{"name": port_name, "containerPort": port, "protocol": "TCP"}]
    ports += [
        {"name": name, "containerPort": number, "protocol": "TCP"}
        for name, number in wanted.other_ports.items()
    ]
    return {
        "image": wanted.image,
        "imagePullPolicy": "IfNotPresent",
        "ports": ports,
        "env": environment(wanted, port),
        "resources": resources(wanted),
        "startupProbe": startup_probe(wanted, port_name),
        "readinessProbe": probe("/readyz", port_name, every_s=1, failures=2),
        "livenessProbe": probe("/livez", port_name, every_s=10, failures=3),
        "lifecycle": {"preStop": _pre_stop(wanted)},
        "securityContext": confined(),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108  the pod's own
    }


def environment(wanted: Wanted, port: int) -> list[Json]:
    """Return the variables: those given, ours, and secrets by reference."""
    found: list[Json] = [
        {"name": key, "value": value}
        for key, value in [*given_variables(wanted).items(), *_own_variables(wanted, port).items()]
    ]
    found += [
        {
            "name": variable,
            "valueFrom": {"secretKeyRef": {"name": place.secret, "key": place.key}},
        }
        for variable, place in sorted(wanted.secrets.items())
    ]
    return found


def given_variables(wanted: Wanted) -> dict[str, str]:
    """Return the variables of ``deploy.env`` that we do not set ourselves, by name.

    A ``$(NAME)`` would be replaced by the kubelet; with two dollars it stays.
    """
    own = _own_variables(wanted, CONTAINER_PORT)
    given = sorted(wanted.settings.env.items())
    return {key: value.replace("$(", "$$(") for key, value in given if key not in own}


def _own_variables(wanted: Wanted, port: int) -> dict[str, str]:
    own = {
        "MODELPACK_ALLOWED_HOSTS": allowed_hosts(wanted),
        "MODELPACK_HOST": "0.0.0.0",  # noqa: S104  inside the pod
        "MODELPACK_PORT": str(port),
        "MODELPACK_TAG": wanted.bundle,
    }
    if "metrics" in wanted.other_ports:
        own[METRICS_PORT] = str(wanted.other_ports["metrics"])
    return own


def allowed_hosts(wanted: Wanted) -> str:
    """Return the names by which the pages of the service may be asked for, by commas."""
    endings = ("", ".@", ".@.svc", ".@.svc.cluster.local")
    own = [
        name + ending.replace("@", wanted.namespace)
        for name in wanted.services
        for ending in endings
    ]
    own.append(wanted.options.hostname or "")
    given = wanted.settings.env.get("MODELPACK_ALLOWED_HOSTS", "")
    return ",".join(one for one in [given, *own] if one)


def resources(wanted: Wanted) -> Json:
    """Return what a pod asks for and gets at most: the same, so that it is not crowded out."""
    settings = wanted.settings
    asked: dict[str, str] = {}
    if settings.cpu is not None:
        asked["cpu"] = f"{math.ceil(round(settings.cpu * 1000, 6))}m"
    if settings.memory_bytes is not None:
        asked["memory"] = str(settings.memory_bytes)
    limits = asked | dict(devices_of(settings).limits)
    found: Json = {}
    if asked:
        found["requests"] = asked
    if limits:
        found["limits"] = limits
    return found


def startup_probe(wanted: Wanted, port_name: str = PORT_NAME) -> Json:
    """Return the probe of the start, which gives it ``ready_timeout_s``."""
    failures = math.ceil(wanted.settings.ready_timeout_s / _PROBE_S)
    return probe("/readyz", port_name, every_s=_PROBE_S, failures=failures)


def probe(path: str, port_name: str, *, every_s: int, failures: int) -> Json:
    """Return a probe over HTTP at the port of that name."""
    return {
        "httpGet": {"path": path, "port": port_name, "scheme": "HTTP"},
        "periodSeconds": every_s,
        "timeoutSeconds": 5 if every_s > 1 else 1,
        "failureThreshold": failures,
    }


def confined() -> Json:
    """Return what a container may: nothing but run."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def _pre_stop(wanted: Wanted) -> Json:
    if wanted.options.kubernetes >= (1, 30):
        return {"sleep": {"seconds": ROUTERS_S}}
    return pre_stop_by_command()


def pre_stop_by_command() -> Json:
    """Return the wait before the end as every version of Kubernetes knows it."""
    wait = f"import time; time.sleep({ROUTERS_S})"
    return {"exec": {"command": [PYTHON, "-I", "-S", "-c", wait]}}


def _spread(wanted: Wanted, track: str) -> list[Json]:
    """Return that the pods of a revision stand on many machines and in many zones, if they can."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": wanted.selector(track)},
            "matchLabelKeys": ["pod-template-hash"],
        }
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]
