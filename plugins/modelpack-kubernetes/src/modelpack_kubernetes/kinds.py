"""The kinds of objects that are read, applied or removed here, and their paths.

    {"apiVersion": "apps/v1", "kind": "Deployment", …} ──kind_of──► Kind ──path──► /apis/apps/v1/…

A short table instead of discovery: what is not in it is never made, so never looked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind in one version."""

    api_version: str
    name: str
    plural: str

    @property
    def group(self) -> str:
        """What stands before the slash of the version; empty for the core."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str, name: str | None = None, sub: str | None = None) -> str:
        """Return the path of all objects in a namespace, of one, or of something below one."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        path = f"{root}/namespaces/{quote(namespace, safe='')}/{self.plural}"
        if name is not None:
            path += f"/{quote(name, safe=':')}"
        return f"{path}/{sub}" if sub else path

    def title(self, name: str) -> str:
        """Return ``KIND/NAME``; Knative's Service is told from the plain one."""
        is_other = self.name == "Service" and self.group
        return f"{'KnativeService' if is_other else self.name}/{name}"


POD = Kind("v1", "Pod", "pods")
SERVICE = Kind("v1", "Service", "services")
EVENT = Kind("v1", "Event", "events")
SECRET = Kind("v1", "Secret", "secrets")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
CONTROLLER_REVISION = Kind("apps/v1", "ControllerRevision", "controllerrevisions")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
INFERENCE_SERVICE = Kind("serving.kserve.io/v1beta1", "InferenceService", "inferenceservices")
KNATIVE_SERVICE = Kind("serving.knative.dev/v1", "Service", "services")
SELDON_DEPLOYMENT = Kind("machinelearning.seldon.io/v1", "SeldonDeployment", "seldondeployments")

WORKLOADS: Mapping[str, Kind] = {
    "deployment": DEPLOYMENT,
    "kserve": INFERENCE_SERVICE,
    "knative": KNATIVE_SERVICE,
    "seldon": SELDON_DEPLOYMENT,
}
"""What a deployment mainly is, by its mode."""

MADE = (
    Kind("networking.k8s.io/v1", "Ingress", "ingresses"),
    Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"),
    Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects"),
    Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    Kind("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors"),
    Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors"),
    Kind("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules"),
    INFERENCE_SERVICE,
    KNATIVE_SERVICE,
    SELDON_DEPLOYMENT,
    DEPLOYMENT,
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    SERVICE,
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    Kind("v1", "ConfigMap", "configmaps"),
    SECRET,
    Kind("v1", "ServiceAccount", "serviceaccounts"),
    Kind("serving.kserve.io/v1alpha1", "ServingRuntime", "servingruntimes"),
    CONTROLLER_REVISION,
)
"""Every kind that a deployment may have, in the order in which they are removed."""

_BY_NAME = {(one.api_version, one.name): one for one in (*MADE, POD, EVENT, LEASE)}


def kind_of(manifest: Mapping[str, Any]) -> Kind:
    """Return the kind of a manifest; raises KeyError for one that is never made here."""
    return _BY_NAME[manifest["apiVersion"], manifest["kind"]]
