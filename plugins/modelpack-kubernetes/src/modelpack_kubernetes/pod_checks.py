"""What a schema does not see of a pod: ports that probes ask at, volumes, quantities, variables.

    part of a pod ──problems_of_pod──► "container 'service': …"

Rules: Kubernetes documentation, "Resource Management for Pods and Containers" (quantities), "Pod
Lifecycle", "Volumes", "Configure Liveness, Readiness and Startup Probes".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from modelpack_kubernetes.words import Json, is_dns_name

_QUANTITY = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
_PORT_NAME = re.compile(r"(?=[a-z0-9-]{1,15}$)(?=.*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def problems_of_pod(pod: Json) -> Iterator[str]:
    """Yield what is wrong with the part of a pod, a line each."""
    volumes = [volume["name"] for volume in pod.get("volumes", ())]
    for name in {name for name in volumes if volumes.count(name) > 1}:
        yield f"volume '{name}' stands there twice"
    containers = [*pod.get("initContainers", ()), *pod.get("containers", ())]
    ports: list[str] = []
    for container in containers:
        where = f"container '{container['name']}'"
        for mount in container.get("volumeMounts", ()):
            if mount["name"] not in volumes:
                yield f"{where} mounts '{mount['name']}', which is no volume of the pod"
        ports += [port.get("name", "") for port in container.get("ports", ())]
        for problem in (*_ports(container), *_variables(container), *_amounts(container)):
            yield f"{where}: {problem}"
        for problem in _probes(container, pod):
            yield f"{where}: {problem}"
    for name in {name for name in ports if name and ports.count(name) > 1}:
        yield f"port '{name}' stands there twice"


def _ports(container: Json) -> Iterator[str]:
    numbers = []
    for port in container.get("ports", ()):
        numbers.append(port["containerPort"])
        if not 0 < port["containerPort"] < 65536:
            yield f"{port['containerPort']} is no port"
        if "name" in port and not _PORT_NAME.fullmatch(port["name"]):
            yield f"'{port['name']}' is no name of a port: 15 small letters, digits and '-'"
    for number in {number for number in numbers if numbers.count(number) > 1}:
        yield f"port {number} stands there twice"


def _variables(container: Json) -> Iterator[str]:
    names = [one["name"] for one in container.get("env", ())]
    for name in {name for name in names if names.count(name) > 1}:
        yield f"variable '{name}' is set twice"
    for one in container.get("env", ()):
        if not _VARIABLE.fullmatch(one["name"]):
            yield f"'{one['name']}' is no variable"
        reference = one.get("valueFrom", {}).get("secretKeyRef")
        if reference is not None and not is_dns_name(reference["name"]):
            yield f"variable '{one['name']}': '{reference['name']}' is no name of a Secret"


def _amounts(container: Json) -> Iterator[str]:
    resources = container.get("resources", {})
    for group in ("requests", "limits"):
        for name, amount in resources.get(group, {}).items():
            if not _QUANTITY.fullmatch(str(amount)):
                yield f"{group}.{name}: '{amount}' is no quantity"
    limits = resources.get("limits", {})
    for name, amount in resources.get("requests", {}).items():
        if name in limits and _is_above(str(amount), str(limits[name])):
            yield f"requests.{name}: {amount} is above its limit of {limits[name]}"
        if "/" in name and name not in limits:
            yield f"requests.{name}: a device has to stand in 'limits'"


def _probes(container: Json, pod: Json) -> Iterator[str]:
    names = {port.get("name") for port in container.get("ports", ())}
    numbers = {port["containerPort"] for port in container.get("ports", ())}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        get = container.get(probe, {}).get("httpGet")
        if get is None:
            continue
        if get["port"] not in names | numbers:
            yield f"{probe}: asks at '{get['port']}', which is none of its ports"
        if not get["path"].startswith("/"):
            yield f"{probe}: '{get['path']}' is no path"
    sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    grace = pod.get("terminationGracePeriodSeconds", 30)
    if sleep >= grace:
        yield f"preStop: sleeps {sleep} s, and the pod has {grace} s to end"


_UNITS = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_UNITS |= {"P": 1e15, "E": 1e18, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_UNITS |= {"Pi": 2.0**50, "Ei": 2.0**60}


def _is_above(one: str, other: str) -> bool:
    """Return whether a quantity is above another; False where one is none."""
    values = [_value(text) for text in (one, other)]
    return None not in values and values[0] > values[1]  # type: ignore[operator]


def _value(text: str) -> float | None:
    match = re.fullmatch(r"([\d.]+)([numkMGTPE]|[KMGTPE]i)?", text)
    return float(match[1]) * _UNITS[match[2] or ""] if match else None
