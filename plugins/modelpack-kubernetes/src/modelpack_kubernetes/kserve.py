"""A deployment as an InferenceService of KServe.

    Wanted ──► ServiceAccount, InferenceService
               the image of the bundle is a custom predictor; with ``storage`` it is a ServingRuntime
               that takes the bundle, or the one ONNX file, which KServe has fetched
               ``transformer``: the image of another bundle stands before it

KServe runs it by Knative where requests are to be counted, shared out or waited for (``in_flight``,
a canary, ``scaling.min: 0``), and as a plain Deployment otherwise; an annotation says which, so that
no default of a cluster decides.

A transformer is told by arguments where its predictor is; images of modelpack take none, so a few
lines before the server turn them into the variables ``PREDICTOR_HOST`` and ``PREDICTOR_MODEL``.

Facts: KServe documentation, "Custom Predictor", "Deployment Mode" (RawDeployment and Serverless are
called Standard and Knative from 0.16 on, and are still understood), "Canary Rollout"; KServe's
source, ``CustomTransformer.GetContainer`` (``--predictor_host``, ``--model_name``, ``--http_port``);
the schema of ``inferenceservices.serving.kserve.io``.
"""

from __future__ import annotations

from modelpack.errors import UsageError
from modelpack_kubernetes import workload
from modelpack_kubernetes.knative_pod import feature_notes, knative_container
from modelpack_kubernetes.scaling import DEFAULT_IN_FLIGHT, in_flight_target
from modelpack_kubernetes.wanted import Wanted
from modelpack_kubernetes.weights import PYTHON
from modelpack_kubernetes.words import REVISION, SPEC, Json

CONTAINER = "kserve-container"
PORT, PORT_NAME = 8080, "http1"
FORMAT = "modelpack"
"""Name of the model format that the ServingRuntime takes."""

_MODE = "serving.kserve.io/deploymentMode"
_PRIVATE = {
    "networking.kserve.io/visibility": "cluster-local",
    "networking.knative.dev/visibility": "cluster-local",
}
_MOST_CPU_PERCENT = 70
_OF_THE_CLUSTER = (
    *("idle_s", "cooldown_up_s", "cooldown_down_s", "every_s", "window_s"),
    *("max_up_factor", "max_down_factor", "up_tolerance", "down_tolerance"),
)

# What comes as arguments goes into the environment; then the server starts as the image would.
_TRANSFORMER = """\
import os, runpy, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
os.environ["PREDICTOR_HOST"] = given.get("--predictor_host", "")
os.environ["PREDICTOR_MODEL"] = given.get("--model_name", "")
del sys.argv[1:]
runpy.run_module("modelpack.server", run_name="__main__", alter_sys=True)
"""


def is_by_knative(wanted: Wanted) -> bool:
    """Return whether KServe shall run it by Knative."""
    settings = wanted.settings
    return (
        settings.min_replicas == 0
        or settings.canary_percent is not None
        or settings.in_flight is not None
    )


def objects(wanted: Wanted) -> list[Json]:
    """Return account, runtime (where models are fetched) and service; raises UsageError."""
    _check(wanted)
    found = [workload.service_account(wanted)]
    if wanted.options.storage is not None:
        found.append(_runtime(wanted))
    return [*found, inference_service(wanted)]


def inference_service(wanted: Wanted) -> Json:
    """Return the InferenceService; raises UsageError for an accelerator that is not known."""
    settings = wanted.settings
    mode = "Serverless" if is_by_knative(wanted) else "RawDeployment"
    metadata = wanted.metadata(**{_MODE: mode, SPEC: wanted.canonical, REVISION: wanted.revision})
    if not settings.public:
        metadata["labels"] = wanted.labels() | _PRIVATE
    spec: Json = {"predictor": _predictor(wanted)}
    if wanted.options.transformer is not None:
        spec["transformer"] = _transformer(wanted)
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": spec,
    }


def notes(wanted: Wanted) -> list[str]:
    """Return what is done otherwise than asked for, and what the cluster must allow."""
    settings = wanted.settings
    found = []
    if wanted.other_ports:
        names = ", ".join(wanted.other_ports)
        found.append(f"KServe passes on one port, not that for {names}")
    found += [
        f"scaling.{name}: KServe leaves it to the settings of the cluster"
        for name in _OF_THE_CLUSTER
        if getattr(settings, name) is not None
    ]
    if is_by_knative(wanted):
        found += feature_notes(wanted)
    return found


def _check(wanted: Wanted) -> None:
    if wanted.settings.allow:
        raise UsageError(
            "deploy.network.allow: KServe's gateway hides who calls",
            hint="limit it at the gateway, and set network.public",
        )
    for key, why in (
        ("ingress", "KServe makes the way in itself"),
        ("gateway", "KServe makes the way in itself"),
        ("monitoring", "KServe's services have names of their own"),
    ):
        if getattr(wanted.options, key) is not None:
            raise UsageError(
                f"option '{key}': {why}", hint="leave it out; it goes with the mode 'deployment'"
            )


def _predictor(wanted: Wanted) -> Json:
    settings, options = wanted.settings, wanted.options
    by_knative = is_by_knative(wanted)
    spec: Json = {
        "minReplicas": settings.min_replicas,
        "maxReplicas": settings.most_replicas,
        "scaleMetric": "concurrency" if by_knative else "cpu",
        "scaleTarget": in_flight_target(wanted) if by_knative else _MOST_CPU_PERCENT,
        **_pod(wanted),
    }
    if settings.canary_percent is not None:
        spec["canaryTrafficPercent"] = settings.canary_percent
    if options.storage is None:
        made = knative_container(wanted, port=PORT, port_name=PORT_NAME)
        spec["containers"] = [{"name": CONTAINER, **made}]
        return spec
    del spec["volumes"]  # the runtime has them
    spec["model"] = {
        "modelFormat": {"name": FORMAT},
        "protocolVersion": "v2",
        "runtime": wanted.name,
        "storageUri": options.storage,
    }
    return spec


def _pod(wanted: Wanted) -> Json:
    """Return what predictor and transformer have of a pod, but for their containers."""
    spec: Json = {
        "serviceAccountName": wanted.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        **workload.placement(wanted),
    }
    if wanted.options.pull_secret is not None:
        spec["imagePullSecrets"] = [{"name": wanted.options.pull_secret}]
    if not is_by_knative(wanted):
        spec["terminationGracePeriodSeconds"] = workload.grace_s(wanted)
        strategy = {"maxSurge": "25%", "maxUnavailable": 0}
        spec["deploymentStrategy"] = {"type": "RollingUpdate", "rollingUpdate": strategy}
    return spec


def _runtime(wanted: Wanted) -> Json:
    """Return what serves a model that KServe has fetched: the image, without a bundle of its own."""
    made = knative_container(wanted, port=PORT, port_name=PORT_NAME)
    env = [one for one in made["env"] if one["name"] != "MODELPACK_TAG"]
    made["env"] = [{"name": "MODELPACK_BUNDLE", "value": ""}, *env]
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": wanted.metadata(),
        "spec": {
            "supportedModelFormats": [{"name": FORMAT, "version": "1", "autoSelect": False}],
            "protocolVersions": ["v1", "v2"],
            "multiModel": False,
            "containers": [{"name": CONTAINER, **made}],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def _transformer(wanted: Wanted) -> Json:
    """Return the service that stands before the predictor; it has no accelerator."""
    settings = wanted.settings
    made = knative_container(wanted, port=PORT, port_name=PORT_NAME)
    made |= {
        "image": wanted.options.transformer,
        "command": transformer_command(),
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}},
        "env": [
            {"name": "MODELPACK_HOST", "value": "0.0.0.0"},  # noqa: S104  inside the pod
            {"name": "MODELPACK_PORT", "value": str(PORT)},
        ],
    }
    pod = {
        key: value for key, value in _pod(wanted).items() if key not in workload.placement(wanted)
    }
    return {
        "minReplicas": settings.min_replicas,
        "maxReplicas": settings.most_replicas,
        "scaleMetric": "concurrency" if is_by_knative(wanted) else "cpu",
        "scaleTarget": DEFAULT_IN_FLIGHT if is_by_knative(wanted) else _MOST_CPU_PERCENT,
        **pod,
        "containers": [{"name": CONTAINER, **made}],
    }


def transformer_command() -> list[str]:
    """Return what starts a transformer: the server, after KServe's arguments were read."""
    return [PYTHON, "-I", "-u", "-c", _TRANSFORMER]
