"""What a cluster would take and then not run: a broken example for each rule."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from modelpack_kubernetes.checks import problems
from modelpack_kubernetes.manifests import manifests

from modelpack.errors import UsageError

from .validated import mistakes
from .wanted_specs import of_case, wanted

Json = dict[str, Any]
Break = Callable[[Json], None]


def find(objects: list[Json], kind: str) -> Json:
    return next(one for one in objects if one["kind"] == kind)


def pod(one: Json) -> Json:
    found: Json = one["spec"]["template"]["spec"]
    return found


def service(one: Json) -> Json:
    found: Json = pod(one)["containers"][0]
    return found


def put(place: Callable[[Json], Json], **values: Any) -> Break:
    """Return what sets keys of a part of an object."""
    return lambda one: place(one).update(values)


def spec(one: Json) -> Json:
    found: Json = one["spec"]
    return found


def metadata(one: Json) -> Json:
    found: Json = one["metadata"]
    return found


BROKEN: dict[str, tuple[str, str, Break, str]] = {
    # case, kind, what is done to it, what is said
    "a name": ("as it comes", "ServiceAccount", put(metadata, name="Digits_1"), "no DNS name"),
    "a namespace": ("as it comes", "Service", put(metadata, namespace="a.b"), "'a.b' is no namespace"),
    "a label": ("as it comes", "Service", put(metadata, labels={"a b": "c"}), "no key of a label"),
    "a value of a label": (
        "as it comes", "Service", put(metadata, labels={"a": "b c"}), "label 'a' cannot be 'b c'"
    ),
    "an annotation": (
        "as it comes", "Service", put(metadata, annotations={"-a": ""}), "no key of an annotation"
    ),
    "long annotations": (
        "as it comes", "Service", put(metadata, annotations={"a": "x" * 300_000}), "300001 bytes"
    ),
    "a selector": (
        "as it comes", "Deployment",
        lambda one: one["spec"]["selector"]["matchLabels"].update(other="x"), "not find its own pods",
    ),
    "an account": (
        "as it comes", "Deployment", put(pod, serviceAccountName="other"), "'other' is not there"
    ),
    "what is spread": (
        "as it comes", "Deployment",
        lambda one: pod(one)["topologySpreadConstraints"][0]["labelSelector"].update(
            matchLabels={"a": "b"}
        ),
        "spreads other pods than its own over 'kubernetes.io/hostname'",
    ),
    "a quantity": (
        "as it comes", "Deployment", put(service, resources={"limits": {"memory": "512Megs"}}),
        "limits.memory: '512Megs' is no quantity",
    ),
    "more than the limit": (
        "as it comes", "Deployment",
        put(service, resources={"requests": {"memory": "1Gi"}, "limits": {"memory": "1G"}}),
        "requests.memory: 1Gi is above its limit of 1G",
    ),
    "a device without a limit": (
        "as it comes", "Deployment", put(service, resources={"requests": {"nvidia.com/gpu": "1"}}),
        "a device has to stand in 'limits'",
    ),
    "a probe": (
        "as it comes", "Deployment",
        put(service, readinessProbe={"httpGet": {"path": "/readyz", "port": "web"}}),
        "readinessProbe: asks at 'web', which is none of its ports",
    ),
    "the path of a probe": (
        "as it comes", "Deployment",
        put(service, livenessProbe={"httpGet": {"path": "livez", "port": "http"}}),
        "livenessProbe: 'livez' is no path",
    ),
    "a port's name": (
        "as it comes", "Deployment",
        put(service, ports=[{"name": "much-too-long-a-name", "containerPort": 3000}]),
        "'much-too-long-a-name' is no name of a port",
    ),
    "a port's number": (
        "as it comes", "Deployment",
        put(service, ports=[{"name": "http", "containerPort": 70_000}]), "70000 is no port",
    ),
    "a port twice": (
        "as it comes", "Deployment",
        put(service, ports=[{"name": name, "containerPort": 3000} for name in ("http", "b")]),
        "port 3000 stands there twice",
    ),
    "a port's name twice": (
        "as it comes", "Deployment",
        put(service, ports=[{"name": "http", "containerPort": port} for port in (1, 2)]),
        "port 'http' stands there twice",
    ),
    "a variable": (
        "as it comes", "Deployment", put(service, env=[{"name": "A B"}]), "'A B' is no variable"
    ),
    "a variable twice": (
        "as it comes", "Deployment", put(service, env=[{"name": "A"}, {"name": "A"}]),
        "variable 'A' is set twice",
    ),
    "a secret's name": (
        "as it comes", "Deployment",
        put(service, env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "A_B", "key": "c"}}}]),
        "'A_B' is no name of a Secret",
    ),
    "a mount": (
        "as it comes", "Deployment",
        put(service, volumeMounts=[{"name": "cache", "mountPath": "/cache"}]),
        "mounts 'cache', which is no volume",
    ),
    "a volume twice": (
        "as it comes", "Deployment",
        put(pod, volumes=[{"name": "tmp", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]),
        "volume 'tmp' stands there twice",
    ),
    "a wait before the end": (
        "newer clusters", "Deployment", put(pod, terminationGracePeriodSeconds=5),
        "preStop: sleeps 5 s, and the pod has 5 s to end",
    ),
    "a service's name": (
        "as it comes", "Service", put(metadata, name="1digits"), "no label of DNS"
    ),
    "whom a service selects": (
        "as it comes", "Service", put(spec, selector={"app": "digits"}), "Service/digits: selects no pod"
    ),
    "where a service goes": (
        "as it comes", "Service",
        put(spec, ports=[{"name": "http", "port": 80, "targetPort": "web"}]),
        "goes to 'web', which no pod has",
    ),
    "whom a policy selects": (
        "as it comes", "NetworkPolicy", put(spec, podSelector={"matchLabels": {"a": "b"}}),
        "NetworkPolicy/digits: selects no pod",
    ),
    "whom a budget selects": (
        "limits", "PodDisruptionBudget", put(spec, selector={"matchLabels": {"a": "b"}}),
        "PodDisruptionBudget/digits: selects no pod",
    ),
    "what is scaled": (
        "by requests", "HorizontalPodAutoscaler",
        put(spec, scaleTargetRef={"kind": "Deployment", "name": "other"}),
        "scales 'Deployment/other', which is not there",
    ),
    "from many to few": (
        "by requests", "HorizontalPodAutoscaler", put(spec, minReplicas=10),
        "has 10 replicas at least and 9 at most",
    ),
    "from many to few by KEDA": (
        "by KEDA", "ScaledObject", put(spec, minReplicaCount=10), "has 10 replicas at least and 9 at most"
    ),
    "two that say how many": (
        "by KEDA", "Deployment", put(spec, replicas=3), "says how many replicas it has itself"
    ),
    "what is scraped": (
        "monitored", "ServiceMonitor", put(spec, selector={"matchLabels": {"a": "b"}}),
        "selects no Service",
    ),
    "where an Ingress leads": (
        "ingress", "Service", put(metadata, name="other"), "leads to 'Service/digits', which is not"
    ),
    "to which port an Ingress leads": (
        "ingress", "Ingress",
        lambda one: one["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"].update(
            port={"name": "web"}
        ),
        "leads to port 'web' of 'Service/digits', which it does not have",
    ),
    "where a route leads": (
        "gateway", "HTTPRoute",
        lambda one: one["spec"]["rules"][0]["backendRefs"][0].update(port=8080),
        "leads to port '8080' of 'Service/digits'",
    ),
    "a predictor's numbers": (
        "kserve", "InferenceService", lambda one: one["spec"]["predictor"].update(minReplicas=9),
        "predictor: more replicas at least than at most",
    ),
    "a predictor's runtime": (
        "kserve storage", "ServingRuntime", put(metadata, name="other"),
        "its runtime 'digits' is not there",
    ),
    "the name of a revision": (
        "knative", "Service",
        lambda one: one["spec"]["template"]["metadata"].update(name="other-1"),
        "its revision 'other-1' has to begin with 'digits-'",
    ),
    "traffic": (
        "knative", "Service", lambda one: one["spec"]["traffic"][0].update(percent=90),
        "gives 90 % of its traffic away",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_one_is_found(what: str) -> None:
    case, kind, break_it, said = BROKEN[what]
    objects = copy.deepcopy(manifests(of_case(case)))
    break_it(find(objects, kind))
    assert [problem for problem in problems(objects) if said in problem], problems(objects)


def test_a_name_stands_there_once() -> None:
    objects = manifests(wanted())
    assert "Service/digits: stands there twice" in problems([*objects, find(objects, "Service")])


@pytest.mark.parametrize("what", ["a quantity", "a selector", "a name"])
def test_a_schema_does_not_see_it(what: str) -> None:
    """Why there are rules of our own: Kubernetes' schema takes these."""
    case, kind, break_it, _ = BROKEN[what]
    objects = copy.deepcopy(manifests(of_case(case)))
    break_it(find(objects, kind))
    assert [mistakes(one, "1.37.0") for one in objects] == [[]] * len(objects)


def test_nothing_that_could_not_run_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelpack_kubernetes import manifests as made

    monkeypatch.setattr(made, "problems", lambda _: ["Service/digits: selects no pod", "another"])
    with pytest.raises(
        UsageError, match="could not run this: Service/digits: selects no pod, and 1"
    ):
        made.checked(wanted())
