"""What of the settings each mode does, and why not of the rest."""

from __future__ import annotations

from collections.abc import Mapping

from modelpack.deploy import GROUPS, Capabilities, DeploymentSpec
from modelpack_kubernetes.wanted import SCHEMES

_COMMON = frozenset(
    {
        "mode",
        "cpu",
        "memory_bytes",
        "accelerator",
        "instance",
        "env",
        "secrets",
        "labels",
        "public",
        "allow",
    }
)
_SCALING = frozenset(GROUPS["scaling"])
_TRAFFIC = frozenset({"canary_percent", "bake_s"})

_NETWORK = "a pod stands in the network of its cluster"

_REASONS: Mapping[str, str] = {
    "region": "a cluster stands where it stands; an option of the target says which one",
    "vpc": _NETWORK,
    "subnets": _NETWORK,
    "security_groups": _NETWORK + "; 'network.allow' becomes a NetworkPolicy",
    "host": "a service has the address that its cluster gives it",
    "port": "a service has port 80 in its cluster",
    "grpc_port": "its port answers gRPC as well; the variable MODELPACK_GRPC_PORT opens one more",
}


def capabilities_of(spec: DeploymentSpec) -> Capabilities:  # noqa: ARG001  every mode does the same
    """Return what is done of the settings; pure."""
    return Capabilities(
        heeds=_COMMON | _SCALING | _TRAFFIC, reasons=_REASONS, secret_schemes=SCHEMES
    )
