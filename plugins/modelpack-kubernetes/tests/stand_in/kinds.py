"""The kinds that the stand-in has: where they are found, and which schema they are held against."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object, as discovery names it."""

    group: str
    version: str
    kind: str
    plural: str
    definition: str | None = None
    """Name in the definitions of Kubernetes' own schemas; None: a custom resource."""
    crd: str | None = None
    """File of the custom resource's schema."""
    short: tuple[str, ...] = ()
    is_namespaced: bool = True
    has_status: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> tuple[str, str]:
        """Group and plural: what one kind is, whatever its version."""
        return self.group, self.plural


def _core(kind: str, plural: str, *short: str, **more: bool) -> Kind:
    return Kind("", "v1", kind, plural, f"io.k8s.api.core.v1.{kind}", None, short, **more)


def _api(group: str, version: str, kind: str, plural: str, *short: str, **more: bool) -> Kind:
    package = group.removesuffix(".k8s.io")
    definition = f"io.k8s.api.{package}.{version}.{kind}"
    return Kind(group, version, kind, plural, definition, None, short, **more)


def _crd(group: str, version: str, kind: str, plural: str, short: str) -> Kind:
    file = f"{kind.lower()}_{version}.json"
    return Kind(group, version, kind, plural, None, file, (short,), has_status=True)


KINDS = (
    _core("Namespace", "namespaces", "ns", is_namespaced=False, has_status=True),
    _core("Node", "nodes", "no", is_namespaced=False, has_status=True),
    _core("Pod", "pods", "po", has_status=True),
    _core("Service", "services", "svc", has_status=True),
    _core("ServiceAccount", "serviceaccounts", "sa"),
    _core("Secret", "secrets"),
    _core("ConfigMap", "configmaps", "cm"),
    _core("Event", "events", "ev"),
    _api("apps", "v1", "Deployment", "deployments", "deploy", has_status=True),
    _api("apps", "v1", "ReplicaSet", "replicasets", "rs", has_status=True),
    _api("apps", "v1", "ControllerRevision", "controllerrevisions"),
    _api("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa"),
    _api("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "pdb"),
    _api("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "netpol"),
    _api("networking.k8s.io", "v1", "Ingress", "ingresses", "ing"),
    _api("coordination.k8s.io", "v1", "Lease", "leases"),
)

CUSTOM = (
    _crd("serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices", "isvc"),
    _crd("serving.knative.dev", "v1", "Service", "services", "ksvc"),
    _crd("machinelearning.seldon.io", "v1", "SeldonDeployment", "seldondeployments", "sdep"),
    _crd("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects", "so"),
    _crd("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors", "smon"),
    _crd("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules", "promrule"),
    _crd("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes", "hr"),
)
"""Kinds of other projects, which a cluster has when they are installed there."""
