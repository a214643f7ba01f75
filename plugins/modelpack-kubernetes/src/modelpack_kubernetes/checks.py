"""What a schema does not see: names that meet, numbers that fit, text that is a quantity.

    [objects] ──problems──► ["Service/digits: selects no pod …", …]      empty: nothing is wrong

Asked of every plan before it is shown, and of every rendering before it is written.  A cluster would
take most of this and then not work.

Rules: Kubernetes documentation, "Object Names and IDs", "Labels and Selectors", "Resource Management"
(quantities), "Pod Lifecycle", "Service"; API conventions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from modelpack_kubernetes.pod_checks import problems_of_pod
from modelpack_kubernetes.words import Json, is_dns_name, is_label_key, is_label_value

_SERVICE_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")

_WORKLOADS = ("Deployment",)
_PODS: Mapping[str, Callable[[Json], list[Json]]] = {
    "Deployment": lambda one: [one["spec"]["template"]["spec"]],
    "ServingRuntime": lambda one: [one["spec"]],
    "InferenceService": lambda one: list(one["spec"].values()),
    "SeldonDeployment": lambda one: [part["spec"] for part in _components(one)],
}


def problems(objects: Sequence[Json]) -> list[str]:
    """Return what is wrong with objects that are applied together, a line each."""
    found = [*_names(objects)]
    for one in objects:
        where = f"{one['kind']}/{one['metadata']['name']}"
        rules = [_metadata, *_RULES.get(one["kind"], ())]
        found += [f"{where}: {problem}" for rule in rules for problem in rule(one, objects)]
        for pod in _pods(one):
            found += [f"{where}: {problem}" for problem in problems_of_pod(pod)]
    return found


def _names(objects: Sequence[Json]) -> Iterator[str]:
    seen: set[tuple[str, str, str]] = set()
    for one in objects:
        metadata = one["metadata"]
        key = (one["kind"] + one["apiVersion"], metadata.get("namespace", ""), metadata["name"])
        if key in seen:
            yield f"{one['kind']}/{metadata['name']}: stands there twice"
        seen.add(key)


def _metadata(one: Json, objects: Sequence[Json]) -> Iterator[str]:  # noqa: ARG001
    metadata = one["metadata"]
    if not is_dns_name(metadata["name"]):
        yield "its name is no DNS name"
    if "namespace" in metadata and not _SERVICE_NAME.fullmatch(metadata["namespace"]):
        yield f"'{metadata['namespace']}' is no namespace"
    yield from _labels(metadata.get("labels", {}))
    size = 0
    for key, value in metadata.get("annotations", {}).items():
        size += len(key) + len(value.encode())
        if not is_label_key(key):
            yield f"'{key}' is no key of an annotation"
    if size > 256 * 1024:
        yield f"its annotations have {size} bytes, at most 262144 are taken"


def _labels(labels: Mapping[str, Any]) -> Iterator[str]:
    for key, value in labels.items():
        if not is_label_key(key):
            yield f"'{key}' is no key of a label"
        if not isinstance(value, str) or not is_label_value(value):
            yield f"label '{key}' cannot be '{value}'"


def _pods(one: Json) -> list[Json]:
    if one["kind"] == "Service" and one["apiVersion"].startswith("serving.knative.dev/"):
        return [one["spec"]["template"]["spec"]]
    found = _PODS.get(one["kind"])
    return [] if found is None else found(one)


# Rules of one kind of object.


def _workload(one: Json, objects: Sequence[Json]) -> Iterator[str]:
    spec, wanted = one["spec"], one["spec"]["selector"]["matchLabels"]
    labels = spec["template"]["metadata"]["labels"]
    yield from _labels(labels)
    if not _selects(wanted, labels):
        yield "its selector does not find its own pods"
    account = spec["template"]["spec"].get("serviceAccountName")
    if account and account not in _named(objects, "ServiceAccount"):
        yield f"its account '{account}' is not there"
    for constraint in spec["template"]["spec"].get("topologySpreadConstraints", ()):
        if not _selects(constraint["labelSelector"]["matchLabels"], labels):
            yield f"it spreads other pods than its own over '{constraint['topologyKey']}'"


def _service(one: Json, objects: Sequence[Json]) -> Iterator[str]:
    if one["apiVersion"] != "v1":
        return
    if not _SERVICE_NAME.fullmatch(one["metadata"]["name"]):
        yield "its name is no label of DNS: 63 small letters, digits and '-', a letter first"
    pods = _found_by(one["spec"]["selector"], objects)
    if not pods:
        yield "selects no pod"
    for pod in pods:
        ports = [port for container in pod["containers"] for port in container.get("ports", ())]
        names = {port.get("name") for port in ports} | {port["containerPort"] for port in ports}
        for port in one["spec"]["ports"]:
            if port["targetPort"] not in names:
                yield f"port '{port['name']}' goes to '{port['targetPort']}', which no pod has"


def _selecting(one: Json, objects: Sequence[Json]) -> Iterator[str]:
    selector = one["spec"].get("podSelector") or one["spec"].get("selector") or {}
    if not _found_by(selector.get("matchLabels", {}), objects):
        yield "selects no pod"


def _monitor(one: Json, objects: Sequence[Json]) -> Iterator[str]:
    wanted = one["spec"]["selector"]["matchLabels"]
    services = [other for other in objects if other["kind"] == "Service"]
    if not any(_selects(wanted, service["metadata"]["labels"]) for service in services):
        yield "selects no Service"


def _scaler(one: Json, objects: Sequence[Json]) -> Iterator[str]:
    spec = one["spec"]
    target = spec["scaleTargetRef"]
    if target["name"] not in _named(objects, target.get("kind", "Deployment")):
        yield f"scales '{target.get('kind', 'Deployment')}/{target['name']}', which is not there"
    least = spec.get("minReplicas", spec.get("minReplicaCount", 1))
    most = spec.get("maxReplicas", spec.get("maxReplicaCount", 1))
    if least > most:
        yield f"has {least} replicas at least and {most} at most"
    scaled = [one for one in objects if one["metadata"]["name"] == target["name"]]
    if any(one["kind"] == target.get("kind") and "replicas" in one["spec"] for one in scaled):
        yield f"'{target['name']}' says how many replicas it has itself"


def _components(one: Json) -> list[Json]:
    return [part for each in one["spec"]["predictors"] for part in each["componentSpecs"]]


def _graph(one: Json, objects: Sequence[Json]) -> Iterator[str]:
    """Yield what Seldon's webhook refuses, and what its operator makes nothing of."""
    predictors = one["spec"]["predictors"]
    names = [each["name"] for each in predictors]
    if len(set(names)) != len(names):
        yield "two predictors have one name"
    total = sum(each["traffic"] for each in predictors if not each.get("shadow"))
    if total != 100:
        yield f"gives {total} % of its traffic away, not 100 %"
    accounts = _named(objects, "ServiceAccount")
    for each in predictors:
        containers = {
            container["name"]
            for part in each["componentSpecs"]
            for container in part["spec"]["containers"]
        }
        if each["graph"]["name"] not in containers:
            yield f"{each['name']}: no container is called '{each['graph']['name']}', as its node is"
        for part in each["componentSpecs"]:
            yield from _labels(part["metadata"]["labels"])
            if part["spec"].get("serviceAccountName") not in accounts:
                yield f"{each['name']}: its account is not there"
            yield from _limits(each["name"], part)


def _limits(name: str, part: Json) -> Iterator[str]:
    ways = [key for key in ("replicas", "hpaSpec", "kedaSpec") if key in part]
    if len(ways) != 1:
        yield f"{name}: says how many pods there are by {' and '.join(ways) or 'nothing'}"
    hpa, keda = part.get("hpaSpec", {}), part.get("kedaSpec", {})
    least = hpa.get("minReplicas", keda.get("minReplicaCount", 1))
    most = hpa.get("maxReplicas", keda.get("maxReplicaCount", least))
    if least > most:
        yield f"{name}: more replicas at least than at most"


def _predictor(one: Json, objects: Sequence[Json]) -> Iterator[str]:
    for name, part in one["spec"].items():
        if part.get("minReplicas", 0) > part.get("maxReplicas", 1):
            yield f"{name}: more replicas at least than at most"
        runtime = part.get("model", {}).get("runtime")
        if runtime is not None and runtime not in _named(objects, "ServingRuntime"):
            yield f"{name}: its runtime '{runtime}' is not there"


def _revisions(one: Json, objects: Sequence[Json]) -> Iterator[str]:  # noqa: ARG001
    if not one["apiVersion"].startswith("serving.knative.dev/"):
        return
    spec, name = one["spec"], one["metadata"]["name"]
    revision = spec["template"]["metadata"].get("name", "")
    if revision and not (revision.startswith(f"{name}-") and len(revision) <= 63):
        yield f"its revision '{revision}' has to begin with '{name}-', 63 characters at most"
    total = sum(target.get("percent", 0) for target in spec.get("traffic", ()))
    if total != 100:
        yield f"gives {total} % of its traffic away, not 100 %"


def _way_in(one: Json, objects: Sequence[Json]) -> Iterator[str]:
    services = {other["metadata"]["name"]: other for other in objects if other["kind"] == "Service"}
    for name, port in _backends(one):
        if name not in services:
            yield f"leads to 'Service/{name}', which is not there"
        elif port not in {
            value
            for entry in services[name]["spec"]["ports"]
            for value in (entry["name"], entry["port"])
        }:
            yield f"leads to port '{port}' of 'Service/{name}', which it does not have"


def _backends(one: Json) -> Iterator[tuple[str, Any]]:
    for rule in one["spec"]["rules"]:
        for backend in rule.get("backendRefs", ()):
            yield backend["name"], backend["port"]
        for path in rule.get("http", {}).get("paths", ()):
            service = path["backend"]["service"]
            yield service["name"], service["port"].get("name", service["port"].get("number"))


_RULES: Mapping[str, Sequence[Callable[[Json, Sequence[Json]], Iterator[str]]]] = {
    "Deployment": (_workload,),
    "Service": (_service, _revisions),
    "NetworkPolicy": (_selecting,),
    "PodDisruptionBudget": (_selecting,),
    "HorizontalPodAutoscaler": (_scaler,),
    "ScaledObject": (_scaler,),
    "ServiceMonitor": (_monitor,),
    "InferenceService": (_predictor,),
    "SeldonDeployment": (_graph,),
    "Ingress": (_way_in,),
    "HTTPRoute": (_way_in,),
}


def _selects(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return bool(wanted) and wanted.items() <= labels.items()


def _templates(one: Json) -> list[Json]:
    """Return the pods' templates of what has some: labels and their part."""
    if one["kind"] == "SeldonDeployment":
        return _components(one)
    return [one["spec"]["template"]] if one["kind"] in _WORKLOADS else []


def _found_by(wanted: Mapping[str, str], objects: Sequence[Json]) -> list[Json]:
    """Return the pods' parts of the workloads whose pods have the labels."""
    return [
        template["spec"]
        for one in objects
        for template in _templates(one)
        if _selects(wanted, template["metadata"]["labels"])
    ]


def _named(objects: Sequence[Json], kind: str) -> set[str]:
    return {one["metadata"]["name"] for one in objects if one["kind"] == kind}
