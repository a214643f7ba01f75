"""Deployments that the tests render: one for each thing that can be asked for."""

from __future__ import annotations

from typing import Any

from modelpack_kubernetes.wanted import Wanted, wanted_from

from modelpack.deploy import DeploymentSpec, DeploySettings

BUNDLE = "digits:7c1f0b2e9a44"
KEDA = {"scaler": "keda", "prometheus": "http://prometheus.monitoring:9090"}


def spec(*, name: str = "digits", bundle: str = BUNDLE, **settings: Any) -> DeploymentSpec:
    """Return a spec of one bundle with these settings."""
    return DeploymentSpec(
        name=name,
        bundle=bundle,
        digest="sha256:" + "ab" * 32,
        image="registry.example/team/digits:1",
        settings=DeploySettings(**settings),
    )


def wanted(
    options: dict[str, str] | None = None, *, name: str = "digits", **settings: Any
) -> Wanted:
    """Return what a spec with these settings asks for."""
    return wanted_from(spec(name=name, **settings), options)


CASES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "as it comes": ({}, {}),
    "limits": ({"cpu": 1.5, "memory_bytes": 512 * 2**20, "min_replicas": 3}, {}),
    "by processor time": ({"cpu": 0.5, "max_replicas": 4}, {}),
    "by processor time without a limit": ({"max_replicas": 4, "cooldown_down_s": 60.5}, {}),
    "by requests": ({"max_replicas": 9, "in_flight": 4}, {"scaler": "adapter"}),
    "by KEDA": ({"max_replicas": 9, "in_flight": 4, "cooldown_up_s": 30.0}, KEDA),
    "by KEDA to zero": (
        {"min_replicas": 0, "idle_s": 60.0},
        {**KEDA, "wake": 'sum(rate(nginx_ingress_controller_requests{ingress="digits"}[1m]))'},
    ),
    "by every knob": (
        {"max_replicas": 9, "in_flight": 4, "every_s": 30.0, "window_s": 60.0, "max_up_factor": 1.5,
         "max_down_factor": 0.75, "up_tolerance": 0.05, "down_tolerance": 0.1},
        {"scaler": "adapter", "kubernetes": "1.35"},
    ),
    "by every knob of KEDA": (
        {"max_replicas": 9, "every_s": 30.0, "window_s": 60.0, "max_up_factor": 1.0,
         "max_down_factor": 1.0, "up_tolerance": 0.05},
        KEDA,
    ),
    "public": ({"public": True}, {}),
    "for some": ({"allow": ("10.0.0.0/8", "fd00::/8")}, {}),
    "ingress": (
        {"public": True},
        {"ingress": "nginx", "hostname": "digits.example.com", "tls": "digits-tls"},
    ),
    "ingress for some": ({"allow": ("10.0.0.0/8",)}, {"ingress": "nginx"}),
    "gateway": ({"public": True}, {"gateway": "edge/public", "hostname": "digits.example.com"}),
    "monitored": ({"labels": {"release": "prometheus", "example.com/team": "a.b_c"}},
                  {"monitoring": "monitoring"}),
    "monitored from outside": ({"public": True}, {"monitoring": "monitoring"}),
    "a GPU": ({"accelerator": "nvidia-l4:2", "max_replicas": 2}, {"runtime_class": "nvidia"}),
    "any GPU of a machine": ({"accelerator": "nvidia", "instance": "g6.xlarge"}, {}),
    "a TPU": ({"accelerator": "tpu-v5e:4"}, {}),
    "Neuron": ({"accelerator": "inferentia2:1"}, {}),
    "secrets": (
        {"secrets": {"TOKEN": "env:TOKEN", "KEY": "k8s:digits-keys/api.key", "P": "file:/run/p"}},
        {},
    ),
    "variables": ({"env": {"GREETING": "$(HOME) {{ .Values }} 'a\" : #", "NUMBER": "007"}}, {}),
    "text like numbers": (
        {"env": {"A": "1e3", "B": "y", "C": "0o7", "D": "1_000", "E": "null", "F": "0x1F", "G": "",
                 "H": "2026-01-01", "I": "~", "J": "NO", "K": "-1", "L": ".5", "M": "# no", "N": " a "},
         "labels": {"a": "1e5", "b": "y", "c": "007"}},
        {},
    ),
    "other ports": (
        {"env": {"MODELPACK_GRPC_PORT": "9000", "MODELPACK_METRICS_PORT": "9001",
                 "MODELPACK_GRACE_S": "90"}},
        {"monitoring": "monitoring"},
    ),
    "a registry with a password": (
        {}, {"registry": "registry.example:5000/team", "pull_secret": "pull", "namespace": "ml"}
    ),
    "models of another image": (
        {}, {"weights": "copy", "weights_from": "registry.example/digits-models:2"}
    ),
    "models of a registry": (
        {"max_replicas": 2},
        {"weights": "pull", "weights_from": "registry.example/team/digits", "pull_secret": "pull"},
    ),
    "models of another bundle": (
        {}, {"weights": "pull", "weights_from": "registry.example/d@sha256:" + "cd" * 32}
    ),
    "models as a volume": (
        {},
        {"weights": "volume", "weights_from": "registry.example/digits-models@sha256:" + "cd" * 32,
         "kubernetes": "1.35"},
    ),
    "newer clusters": ({}, {"kubernetes": "1.30"}),
    "kserve": ({"mode": "kserve", "cpu": 1, "min_replicas": 2, "max_replicas": 5}, {}),
    "kserve by requests": ({"mode": "kserve", "min_replicas": 0, "in_flight": 5, "public": True}, {}),
    "kserve canary": ({"mode": "kserve", "canary_percent": 10}, {}),
    "kserve GPU": ({"mode": "kserve", "accelerator": "nvidia-t4:1", "in_flight": 1}, {}),
    "kserve storage": ({"mode": "kserve"}, {"storage": "s3://bucket/digits"}),
    "kserve transformer": (
        {"mode": "kserve"}, {"transformer": "registry.example/prepare:3", "pull_secret": "pull"}
    ),
    "knative": ({"mode": "knative", "min_replicas": 0, "idle_s": 90.0, "cooldown_down_s": 30.0}, {}),
    "knative by every knob": (
        {"mode": "knative", "max_replicas": 9, "window_s": 2.0, "every_s": 30.0, "max_up_factor": 2.0}, {}
    ),
    "knative GPU": (
        {"mode": "knative", "accelerator": "nvidia-l4:1", "public": True, "max_replicas": 3},
        {"pull_secret": "pull", "runtime_class": "nvidia"},
    ),
    "seldon": ({"mode": "seldon", "cpu": 1, "min_replicas": 2, "secrets": {"TOKEN": "env:TOKEN"}}, {}),
    "seldon canary": ({"mode": "seldon", "canary_percent": 10, "public": True}, {"pull_secret": "pull"}),
    "seldon by processor time": ({"mode": "seldon", "cpu": 1, "max_replicas": 5}, {"kubernetes": "1.35"}),
    "seldon by requests": ({"mode": "seldon", "max_replicas": 5, "in_flight": 3}, {"scaler": "adapter"}),
    "seldon by KEDA": (
        {"mode": "seldon", "max_replicas": 9, "in_flight": 4, "window_s": 60.0, "cooldown_down_s": 30.0,
         "max_up_factor": 2.0, "up_tolerance": 0.05},
        KEDA,
    ),
    "seldon GPU": (
        {"mode": "seldon", "accelerator": "nvidia-l4:1", "env": {"MODELPACK_GRPC_PORT": "9000"}},
        {"weights": "copy", "weights_from": "registry.example/digits-models:2"},
    ),
}  # fmt: skip
"""Settings and options, by what they show."""


def of_case(name: str) -> Wanted:
    """Return what a case asks for."""
    settings, options = CASES[name]
    return wanted(options, **settings)
