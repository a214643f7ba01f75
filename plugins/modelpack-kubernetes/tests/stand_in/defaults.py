"""What the API server adds to an object, and what it refuses beyond the schema.

    with_defaults   fields that have a value when nobody gives one, quantities in their short form
    mistakes        selectors, names, quantities, fields that never change, and the like

Only what our manifests touch.  Source: the defaults and validation of Kubernetes' API reference.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]|")
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi|)")
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}


def with_defaults(kind: str, value: dict[str, Any]) -> dict[str, Any]:
    """Return an object as the API server keeps it."""
    value = copy.deepcopy(value)
    spec = value.get("spec")
    if not isinstance(spec, dict):
        return value
    if kind == "Deployment":
        _set(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
        strategy = spec.setdefault("strategy", {"type": "RollingUpdate"})
        if strategy.get("type", "RollingUpdate") == "RollingUpdate":
            _set(strategy, type="RollingUpdate")
            rolling = strategy.setdefault("rollingUpdate", {})
            _set(rolling, maxUnavailable="25%", maxSurge="25%")
    if kind in ("Deployment", "ReplicaSet"):
        _pod_defaults(spec["template"].setdefault("spec", {}))
    if kind == "Pod":
        _pod_defaults(spec)
    if kind == "Service" and "ports" in spec:
        _set(spec, type="ClusterIP", sessionAffinity="None", clusterIP="10.96.0.7")
        for port in spec.get("ports") or ():
            _set(port, protocol="TCP", targetPort=port["port"])
    return value


def _pod_defaults(spec: dict[str, Any]) -> None:
    _set(spec, restartPolicy="Always", dnsPolicy="ClusterFirst", securityContext={})
    _set(spec, terminationGracePeriodSeconds=30, schedulerName="default-scheduler")
    for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
        _set(container, terminationMessagePath="/dev/termination-log", resources={})
        image = container.get("image", "")
        is_latest = ":" not in image.rpartition("/")[2] or image.endswith(":latest")
        _set(container, imagePullPolicy="Always" if is_latest else "IfNotPresent")
        for port in container.get("ports") or ():
            _set(port, protocol="TCP")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in container:
                _set(container[probe], timeoutSeconds=1, periodSeconds=10, successThreshold=1)
                _set(container[probe], failureThreshold=3)
                if "httpGet" in container[probe]:
                    _set(container[probe]["httpGet"], scheme="HTTP")
        for amounts in container["resources"].values():
            if isinstance(amounts, dict):
                amounts.update({key: _short(one) for key, one in amounts.items()})


def _set(target: dict[str, Any], **values: Any) -> None:
    for key, value in values.items():
        if target.get(key) is None:
            target[key] = value


def shortened(value: Any) -> Any:
    """Return a configuration with its quantities as they are kept, so that they compare."""
    if isinstance(value, list):
        return [shortened(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key: shortened(one) for key, one in value.items()}
    for sort in ("limits", "requests"):
        if isinstance(found.get(sort), dict):
            found[sort] = {key: _short(one) for key, one in found[sort].items()}
    return found


def _short(value: Any) -> str:
    """Return a quantity as the API server writes it: ``1000m`` is ``1``, ``1024Mi`` is ``1Gi``."""
    text = str(value)
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return text
    number, unit = Decimal(match[1]), match[2]
    if unit in _BINARY:
        amount = int(number * _BINARY[unit])
        for name, size in sorted(_BINARY.items(), key=lambda one: -one[1]):
            if amount and amount % size == 0:
                return f"{amount // size}{name}"
        return str(amount)
    if unit in ("m", ""):
        milli = int(number * (1 if unit == "m" else 1000))
        return str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"
    return text


def mistakes(
    kind: str, value: Mapping[str, Any], former: Mapping[str, Any] | None
) -> Iterator[str]:
    """Yield what is wrong with an object whose types are right."""
    meta, spec = value["metadata"], value.get("spec") or {}
    if not _NAME.fullmatch(meta["name"]) or len(meta["name"]) > (63 if kind == "Service" else 253):
        yield "metadata.name: Invalid value: a lowercase RFC 1123 subdomain must consist of …"
    for key, one in (meta.get("labels") or {}).items():
        if not _LABEL_VALUE.fullmatch(str(one)) or len(key.rpartition("/")[2]) > 63:
            yield f'metadata.labels: Invalid value: "{one}"'
    if kind in ("Deployment", "ReplicaSet"):
        yield from _workload(spec, former)
    if kind == "Service" and not spec.get("ports") and spec.get("clusterIP") != "None":
        yield "spec.ports: Required value"
    least = spec.get("minReplicas") or 1
    if kind == "HorizontalPodAutoscaler" and spec["maxReplicas"] < least:
        yield "spec.maxReplicas: Invalid value: must be at least minReplicas"
    if former is not None and kind == "ControllerRevision" and value["data"] != former["data"]:
        yield "data: Invalid value: field is immutable"


def _workload(spec: Mapping[str, Any], former: Mapping[str, Any] | None) -> Iterator[str]:
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    wanted = spec["selector"].get("matchLabels") or {}
    if not wanted or any(labels.get(key) != one for key, one in wanted.items()):
        yield "spec.template.metadata.labels: Invalid value: `selector` does not match template `labels`"
    if former is not None and former["spec"]["selector"] != spec["selector"]:
        yield "spec.selector: Invalid value: field is immutable"
    pod = spec["template"].get("spec") or {}
    volumes = {one["name"] for one in pod.get("volumes") or ()}
    for number, one in enumerate(pod.get("containers") or ()):
        where = f"spec.template.spec.containers[{number}]"
        if not one.get("image"):
            yield f"{where}.image: Required value"
        ports = [port.get("name") for port in one.get("ports") or ()]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            port = ((one.get(probe) or {}).get("httpGet") or {}).get("port")
            if isinstance(port, str) and port not in ports:
                yield f"{where}.{probe}.httpGet.port: Invalid value: no port '{port}'"
        for mount in one.get("volumeMounts") or ():
            if mount["name"] not in volumes:
                yield f'{where}.volumeMounts: Not found: "{mount["name"]}"'
        for sort, amounts in (one.get("resources") or {}).items():
            for key, amount in amounts.items() if isinstance(amounts, dict) else ():
                if not _QUANTITY.fullmatch(str(amount)):
                    yield f"{where}.resources.{sort}.{key}: Invalid value: quantities must match"
