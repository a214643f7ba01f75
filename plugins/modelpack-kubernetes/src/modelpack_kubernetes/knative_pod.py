"""A pod as Knative takes it, for its own Services and for those that KServe makes of it.

    Wanted ──knative_container──► one port, no lifecycle, the security context in the container
           ──feature_notes──► what its operator has to allow for the rest

Facts: Knative documentation, "Feature and extension flags" (``config-features``); Knative Serving,
``pkg/apis/serving/fieldmask.go`` (fields that its webhook takes at all).
"""

from __future__ import annotations

from modelpack_kubernetes import workload
from modelpack_kubernetes.devices import devices_of
from modelpack_kubernetes.wanted import Wanted
from modelpack_kubernetes.words import Json

_GRACE, _GRACE_S = "MODELPACK_GRACE_S", "30"
"""What a server that finds itself on Knative would else make seven seconds, as on Cloud Run."""


def knative_container(wanted: Wanted, *, port: int, port_name: str) -> Json:
    """Return the container as Knative takes it: one port, no lifecycle, its own security context."""
    made = workload.container(wanted, port=port, port_name=port_name)
    del made["lifecycle"]
    made["ports"] = made["ports"][:1]
    if not any(one["name"] == _GRACE for one in made["env"]):
        made["env"].append({"name": _GRACE, "value": _GRACE_S})
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        made[name] = made[name] | {"httpGet": made[name]["httpGet"] | {"port": port}}
    made["securityContext"] = workload.confined() | {
        "runAsNonRoot": True,
        "runAsUser": workload.USER,
        "runAsGroup": workload.USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return made


def feature_notes(wanted: Wanted) -> list[str]:
    """Return what Knative takes only where its operator allows it."""
    devices = devices_of(wanted.settings)
    flags = {
        "kubernetes.podspec-affinity": devices.affinity is not None,
        "kubernetes.podspec-nodeselector": bool(devices.node_selector),
        "kubernetes.podspec-runtimeclassname": wanted.options.runtime_class is not None,
        "kubernetes.podspec-tolerations": bool(devices.tolerations),
    }
    asked = [flag for flag, is_needed in flags.items() if is_needed]
    return [f"Knative has to allow {', '.join(asked)} in its 'config-features'"] if asked else []
