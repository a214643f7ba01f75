"""A deployment as a model and an endpoint of Vertex AI: pure.

    Wanted + image ──model──► a version of a model: image, variables, the routes of our own face
                   ──deployed──► that version on machines, so many of them
                   ──endpoint──► what is asked; it says how the calls are shared out

A version and a deployed model are named after their content, so that one which is there is not made
again.  How many machines there are is no part of that name: it can be changed in place.

Sources: Vertex AI API v1 (``models``, ``endpoints``); Vertex AI documentation, "Custom container
requirements for inference" (``AIP_HTTP_PORT``, routes) and "Scale inference nodes".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from modelpack.errors import UsageError
from modelpack_gcp.kept import digits
from modelpack_gcp.sizes import machine_for
from modelpack_gcp.wanted import Wanted

Json = dict[str, Any]

PORT = 8080
HEALTH, PREDICT = "/readyz", "/vertex/predict"
"""Routes of the server's face for Vertex AI; it is told of them by the platform's variables."""

_MOST_TEXT = 128
_OWN_NAMES = re.compile(r"AIP_.*")
_METRICS = "aiplatform.googleapis.com/prediction/online"

OPTIONS: Mapping[str, str] = {
    "access_logs": "yes: a line for each request in Cloud Logging, for money",
    "service_account": "service account that the containers run as; default: one without rights",
    "spot": "yes: spot machines, which may go at any time",
    "target_percent": "use of processors, or of accelerators, that more machines are added at; default 60",
}


def model(wanted: Wanted, image: str) -> Json:
    """Return what a version of the model is made of."""
    wanted.refuse_names(_OWN_NAMES, "Vertex AI")
    env = {"MODELPACK_TAG": wanted.bundle, **wanted.settings.env}
    if empty := sorted(name for name, value in env.items() if not value):
        raise UsageError(
            f"deploy.env.{empty[0]}: Vertex AI takes no variable without a value",
            hint="leave it out: what is not set is empty",
        )
    return {
        "displayName": wanted.id,
        "versionDescription": wanted.bundle[:_MOST_TEXT],
        "labels": wanted.labels(),
        "containerSpec": {
            "imageUri": image,
            "env": [{"name": name, "value": env[name]} for name in sorted(env)],
            "ports": [{"containerPort": PORT}],
            "healthRoute": HEALTH,
            "predictRoute": PREDICT,
            "deploymentTimeout": f"{deployment_s(wanted)}s",
        },
    }


def alias_of(body: Mapping[str, Any]) -> str:
    """Return the alias of the version with that content."""
    return f"r{digits(body)[:12]}"


def deployed(wanted: Wanted, version: str, unit: str) -> Json:
    """Return a version on machines; raises UsageError for machines that there are none of."""
    body: Json = {
        "id": unit,
        "displayName": wanted.id,
        "model": version,
        "dedicatedResources": {"machineSpec": _machine(wanted), **replicas(wanted)},
    }
    if wanted.flag("spot"):
        body["dedicatedResources"]["spot"] = True
    if wanted.flag("access_logs"):
        body["enableAccessLogging"] = True
    if account := wanted.options.get("service_account"):
        body["serviceAccount"] = account
    return body


def unit_of(wanted: Wanted, body: Mapping[str, Any], attempt: int = 0) -> str:
    """Return the id of the deployed model of a version's content: ten digits at most."""
    spec = deployed(wanted, "", "")
    content = {**spec, "dedicatedResources": _machine(wanted), "spot": wanted.flag("spot")}
    number = int(digits([dict(body), content, attempt])[:15], 16) % 9_000_000_000
    return str(1_000_000_000 + number)


def replicas(wanted: Wanted) -> Json:
    """Return how many machines there are, and when there are more; raises UsageError for none."""
    settings = wanted.settings
    if settings.min_replicas == 0:
        raise UsageError(
            "deploy.scaling.min: Vertex AI keeps one machine at least, got 0",
            hint="'gcp-cloud-run' goes to none while nobody asks",
        )
    found: Json = {
        "minReplicaCount": settings.min_replicas,
        "maxReplicaCount": settings.most_replicas,
    }
    if settings.most_replicas > settings.min_replicas:
        has_accelerator = machine_for(settings).accelerator is not None
        metric = "accelerator/duty_cycle" if has_accelerator else "cpu/utilization"
        target = wanted.whole("target_percent", 60, 1, 100)
        found["autoscalingMetricSpecs"] = [{"metricName": f"{_METRICS}/{metric}", "target": target}]
    return found


def endpoint(wanted: Wanted, kept: str) -> Json:
    """Return the endpoint."""
    return {"displayName": wanted.id, "description": kept, "labels": wanted.labels()}


def deployment_s(wanted: Wanted) -> int:
    """Return how long a version may take on new machines: a machine starts, an image is pulled."""
    return min(7200, 1800 + int(wanted.settings.ready_timeout_s))


def _machine(wanted: Wanted) -> Json:
    machine = machine_for(wanted.settings)
    found: Json = {"machineType": machine.type}
    if machine.accelerator is not None:
        found |= {"acceleratorType": machine.accelerator, "acceleratorCount": machine.count}
    return found
