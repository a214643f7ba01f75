"""Accelerators and machines in the words of Kubernetes.

    "nvidia-l4:2" ──devices_of──► limits, tolerations, what a node must be labelled with

A maker alone (``nvidia:1``) takes any device of its plugin; a kind takes only nodes that say they
have it, in the words of GKE, of NVIDIA's feature discovery or of Karpenter, whichever the cluster
has.  A kind of which no label is known is refused, for it could run on another one.

Facts: Kubernetes documentation, "Schedule GPUs" (extended resources stand in limits); Google
Kubernetes Engine, "About GPUs" and "Plan TPUs" (labels, taints, topologies); NVIDIA
``k8s-device-plugin``, feature discovery (``nvidia.com/gpu.product``); Karpenter, "Well-Known Labels";
AWS Neuron, "Kubernetes" (``aws.amazon.com/neuron``); Habana and AMD device plugins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelpack.deploy import DeploySettings
from modelpack.errors import UsageError
from modelpack_kubernetes.words import Json

_MAKERS = {
    "nvidia": "nvidia.com/gpu",
    "amd": "amd.com/gpu",
    "intel": "gpu.intel.com/i915",
    "gaudi": "habana.ai/gaudi",
    "neuron": "aws.amazon.com/neuron",
}
"""Extended resource by maker."""

_INSTANCE = "node.kubernetes.io/instance-type"
_GKE, _NVIDIA, _KARPENTER = (
    "cloud.google.com/gke-accelerator",
    "nvidia.com/gpu.product",
    "karpenter.k8s.aws/instance-gpu-name",
)

_NVIDIA_KINDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "t4": {_GKE: ("nvidia-tesla-t4",), _NVIDIA: ("Tesla-T4",), _KARPENTER: ("t4",)},
    "v100": {
        _GKE: ("nvidia-tesla-v100",),
        _NVIDIA: ("Tesla-V100-SXM2-16GB", "Tesla-V100-SXM2-32GB"),
        _KARPENTER: ("v100",),
    },
    "a10g": {_NVIDIA: ("NVIDIA-A10G",), _KARPENTER: ("a10g",)},
    "l4": {_GKE: ("nvidia-l4",), _NVIDIA: ("NVIDIA-L4",), _KARPENTER: ("l4",)},
    "l40s": {_NVIDIA: ("NVIDIA-L40S",), _KARPENTER: ("l40s",)},
    "a100": {
        _GKE: ("nvidia-tesla-a100", "nvidia-a100-80gb"),
        _NVIDIA: ("NVIDIA-A100-SXM4-40GB", "NVIDIA-A100-SXM4-80GB", "NVIDIA-A100-80GB-PCIe"),
        _KARPENTER: ("a100",),
    },
    "h100": {
        _GKE: ("nvidia-h100-80gb", "nvidia-h100-mega-80gb"),
        _NVIDIA: ("NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-PCIe"),
        _KARPENTER: ("h100",),
    },
    "h200": {_GKE: ("nvidia-h200-141gb",), _NVIDIA: ("NVIDIA-H200",), _KARPENTER: ("h200",)},
}

_TPUS = {"tpu-v5e": "tpu-v5-lite-podslice", "tpu-v6e": "tpu-v6e-slice"}
_TPU_TOPOLOGIES = {1: "1x1", 4: "2x2", 8: "2x4"}

_NEURON_MACHINES = {
    "inferentia2": ("inf2.xlarge", "inf2.8xlarge", "inf2.24xlarge", "inf2.48xlarge"),
    "trainium": ("trn1.2xlarge", "trn1.32xlarge", "trn1n.32xlarge"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """What a pod needs of its node."""

    limits: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    any_of: tuple[Mapping[str, tuple[str, ...]], ...] = ()
    """Labels with the values that will do, of which one is enough."""

    @property
    def tolerations(self) -> list[Json]:
        """Taints that nodes with such a device have."""
        return [
            {"key": resource, "operator": "Exists", "effect": "NoSchedule"}
            for resource in sorted(self.limits)
        ]

    @property
    def affinity(self) -> Json | None:
        """The labels as node affinity; None: any node will do."""
        if not self.any_of:
            return None
        terms = [
            {
                "matchExpressions": [
                    {"key": key, "operator": "In", "values": list(values)}
                    for key, values in one.items()
                ]
            }
            for one in self.any_of
        ]
        chosen = {"nodeSelectorTerms": terms}
        return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": chosen}}


def devices_of(settings: DeploySettings) -> Devices:
    """Return what the accelerator and the machine come to; raises UsageError for an unknown one."""
    selector = {}
    if settings.instance not in (None, "auto"):
        selector[_INSTANCE] = str(settings.instance)
    kind, count = settings.accelerator_kind, settings.accelerator_count
    if kind is None:
        return Devices(node_selector=selector)
    if kind in _TPUS:
        return _tpu(kind, count, selector)
    if kind in _NEURON_MACHINES:
        any_of = ({_INSTANCE: _NEURON_MACHINES[kind]},)
        limits = {_MAKERS["neuron"]: str(count)}
        return Devices(limits=limits, node_selector=selector, any_of=any_of)
    maker, _, model = kind.partition("-")
    known = _NVIDIA_KINDS if maker == "nvidia" else {}
    if maker not in _MAKERS or (model and model not in known):
        kinds = ", ".join([*_MAKERS, *(f"nvidia-{one}" for one in _NVIDIA_KINDS), *_TPUS])
        raise UsageError(
            f"deploy.resources.accelerator: no label of a node is known for '{kind}'",
            hint=f"with 'resources.instance' a maker will do; known are {kinds}",
        )
    labels = known.get(model, {})
    return Devices(
        limits={_MAKERS[maker]: str(count)},
        node_selector=selector,
        any_of=tuple({key: values} for key, values in labels.items()),
    )


def _tpu(kind: str, count: int, selector: Mapping[str, str]) -> Devices:
    if count not in _TPU_TOPOLOGIES:
        raise UsageError(
            f"deploy.resources.accelerator: one machine has no {count} chips of '{kind}'",
            hint=f"take {kind}:1, {kind}:4 or {kind}:8",
        )
    chosen = {
        "cloud.google.com/gke-tpu-accelerator": _TPUS[kind],
        "cloud.google.com/gke-tpu-topology": _TPU_TOPOLOGIES[count],
    }
    return Devices(limits={"google.com/tpu": str(count)}, node_selector={**selector, **chosen})
