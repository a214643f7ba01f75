"""Options of the target that its manifests depend on.

    --option ingress=nginx --option hostname=digits.example ──read──► Options

What cannot be is refused here, before anything is asked of a cluster.  ``OPTIONS`` has a line for
each, for people.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from modelpack.errors import UsageError, did_you_mean
from modelpack_kubernetes.words import is_dns_name

OPTIONS: Mapping[str, str] = {
    "format": "of the files: yaml, kustomize or helm",
    "gateway": "[NAMESPACE/]NAME of the Gateway that an HTTPRoute is attached to",
    "hostname": "name of the host that requests come for, such as digits.example.com",
    "ingress": "class of the Ingress, such as nginx",
    "kubernetes": "oldest version of the clusters that it is for, such as 1.33",
    "monitoring": "namespace of Prometheus; makes a ServiceMonitor and a PrometheusRule",
    "namespace": "namespace of the deployment",
    "prometheus": "address of Prometheus, for KEDA, such as http://prometheus.monitoring:9090",
    "pull_secret": "name of the Secret that nodes log in to the registry with",
    "registry": "where the image is pushed to and pulled from, such as registry.example/team",
    "runtime_class": "RuntimeClass of the pods, such as nvidia",
    "scaler": "what more replicas are decided by: cpu, adapter (in-flight requests) or keda",
    "storage": "where KServe fetches the model from, such as s3://bucket/digits (mode kserve)",
    "tls": "name of the Secret with the certificate of the host",
    "transformer": "image of another bundle that stands before this one (mode kserve)",
    "wake": "PromQL that is above 0 when somebody asks while no replica is there, for KEDA",
    "weights": "where the models come from: image, volume, copy or pull",
    "weights_from": "image that holds the models (volume, copy), or HOST/REPOSITORY (pull)",
}
"""Options by name, with a line about each."""

OF_THE_FILES = frozenset({"format"})
"""Options that say how files look; what stands in a cluster does not depend on them."""

SCALERS = ("cpu", "adapter", "keda")
WEIGHTS = ("image", "volume", "copy", "pull")
FORMATS = ("yaml", "kustomize", "helm")

OLDEST, NEWEST = (1, 28), (1, 37)
"""Versions of Kubernetes whose schemas the manifests are checked against."""

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._:/@-]{0,254}")
_STORAGE = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9][A-Za-z0-9._/@:-]{0,500}")
_USER = re.compile(r"[^/@\s]*:[^/@\s]*@")
_BUNDLE = re.compile(
    r"(?=[^/]*[.:]|localhost/)[a-z0-9][a-z0-9.-]*(?::\d{1,5})?/[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?:@sha256:[0-9a-f]{64})?"
)
_REGISTRY = re.compile(r"[a-z0-9][a-z0-9.-]*(?::\d{1,5})?(?:/[a-z0-9][a-z0-9._-]*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the options say; each field is the option of its name."""

    namespace: str = "default"
    kubernetes: tuple[int, int] = OLDEST
    registry: str | None = None
    pull_secret: str | None = None
    ingress: str | None = None
    gateway: str | None = None
    hostname: str | None = None
    tls: str | None = None
    scaler: str = "cpu"
    prometheus: str | None = None
    wake: str | None = None
    monitoring: str | None = None
    weights: str = "image"
    weights_from: str | None = None
    storage: str | None = None
    transformer: str | None = None
    runtime_class: str | None = None
    format: str = "yaml"

    @property
    def gateway_namespace(self) -> str | None:
        """Namespace of the Gateway; None: that of the deployment."""
        return self.gateway.partition("/")[0] if self.gateway and "/" in self.gateway else None


def read(options: Mapping[str, str]) -> Options:
    """Return the options as values, those of others left out; raises UsageError."""
    given = {key: value for key, value in options.items() if key in OPTIONS}
    found = {key: value for key, value in given.items() if key != "kubernetes"}
    for key in ("namespace", "ingress", "monitoring", "pull_secret", "tls", "runtime_class"):
        _matched(found, key, _LABEL if key in ("namespace", "monitoring") else None)
    if "kubernetes" in given:
        found |= {"kubernetes": _version(given["kubernetes"])}  # type: ignore[dict-item]
    _one_of(found, "scaler", SCALERS)
    _one_of(found, "weights", WEIGHTS)
    _one_of(found, "format", FORMATS)
    _places(found)
    _together(found)
    return Options(**found)  # type: ignore[arg-type]


def _places(found: Mapping[str, str]) -> None:
    """Raise UsageError for what is no host, address, registry or image."""
    host = found.get("hostname")
    if host is not None and not is_dns_name(host.removeprefix("*.")):
        _refuse("hostname", host, "write a name such as digits.example.com")
    gateway = found.get("gateway")
    if gateway is not None and not (
        gateway.count("/") <= 1 and all(is_dns_name(part) for part in gateway.split("/"))
    ):
        _refuse("gateway", gateway, "write NAME or NAMESPACE/NAME")
    registry = found.get("registry")
    if registry is not None and not _REGISTRY.fullmatch(registry):
        _refuse("registry", registry, "write HOST or HOST/PATH, without a scheme")
    is_bundle = found.get("weights") == "pull"
    for key in ("weights_from", "transformer"):
        if key == "weights_from" and is_bundle:
            continue
        if key in found and ("://" in found[key] or not _IMAGE.fullmatch(found[key])):
            _refuse(key, found[key], "write the reference of an image")
    if is_bundle and not _BUNDLE.fullmatch(found.get("weights_from", "a.b/c")):
        _refuse("weights_from", found["weights_from"], "write HOST/REPOSITORY[@sha256:DIGEST]")
    storage = found.get("storage")
    if storage is not None and not _STORAGE.fullmatch(storage):
        _refuse("storage", storage, "write SCHEME://PLACE, such as s3://bucket/digits")
    address = found.get("prometheus")
    if address is not None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            _refuse("prometheus", address, "write http://NAME.NAMESPACE:9090, without a password")


def _together(found: Mapping[str, str]) -> None:
    """Raise UsageError for options of which one needs or excludes another."""
    if "ingress" in found and "gateway" in found:
        raise UsageError("options 'ingress' and 'gateway': one way in is enough")
    for key in ("hostname", "tls"):
        if key in found and not ("ingress" in found or "gateway" in found):
            raise UsageError(
                f"option '{key}': has a meaning only with 'ingress' or 'gateway'",
                hint="name the class of the Ingress: --option ingress=nginx",
            )
    if "tls" in found and "gateway" in found:
        raise UsageError(
            "option 'tls': a Gateway has the certificates of its listeners itself",
            hint="leave it out; it goes with 'ingress'",
        )
    if found.get("scaler") == "keda" and "prometheus" not in found:
        raise UsageError(
            "option 'scaler': keda has to know where Prometheus is",
            hint="add --option prometheus=http://NAME.NAMESPACE:9090",
        )
    for key in ("prometheus", "wake"):
        if key in found and found.get("scaler") != "keda":
            raise UsageError(
                f"option '{key}': has a meaning only with 'scaler'", hint="add --option scaler=keda"
            )
    if found.get("weights", "image") != "image" and "weights_from" not in found:
        raise UsageError(
            f"option 'weights': {found['weights']} has to know where the models are",
            hint="add --option weights_from=HOST/REPOSITORY"
            if found["weights"] == "pull"
            else "add --option weights_from=REFERENCE, of an image",
        )
    if "weights_from" in found and found.get("weights", "image") == "image":
        raise UsageError("option 'weights_from': has a meaning only with 'weights'")


def _matched(found: Mapping[str, str], key: str, pattern: re.Pattern[str] | None) -> None:
    text = found.get(key)
    if text is None:
        return
    if not (pattern.fullmatch(text) if pattern is not None else is_dns_name(text)):
        _refuse(key, text, "take small letters, digits and '-'")


def _one_of(found: Mapping[str, str], key: str, choices: Sequence[str]) -> None:
    text = found.get(key, choices[0])
    if text not in choices:
        near = did_you_mean(text, choices)
        _refuse(key, text, f"did you mean '{near}'?" if near else f"one of {', '.join(choices)}")


def _version(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"v?(\d{1,3})\.(\d{1,3})(?:\.\d+)?", text)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    if version < OLDEST:
        _refuse("kubernetes", text, f"write 1.{OLDEST[1]} or a later version, such as 1.33")
    return version


def _refuse(key: str, text: str, hint: str) -> None:
    shown = _USER.sub("…@", text)  # who writes a password there shall not find it in a log
    raise UsageError(f"option '{key}': cannot be '{shown[:60]}'", hint=hint)
