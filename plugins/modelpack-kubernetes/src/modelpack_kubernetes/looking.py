"""How a workload is, in the words of a deployment, and why it is not running.

    Deployment         generation, replicas, conditions ─┐
    InferenceService   Ready, url                        ├─► Sight(state, detail, url, restarts)
    Knative Service    Ready, url                        ┘        ▲
    SeldonDeployment   its Deployments, state   │        ▲
    its pods           waiting, ended, not scheduled ─────────────┘ why

What a pod waits for decides whether there is hope: an image that is not to be had, a container that
keeps ending or a secret that is not there is a failure; no room on any node is not yet, since a
cluster may grow.  KServe says "not ready" of what is still coming, so only its pods can say failed.

Facts: Kubernetes documentation, "Deployments" (status, conditions), "Pod Lifecycle" (reasons);
Knative serving API, ``status.conditions``; KServe API, InferenceServiceStatus; Seldon Core 1,
``SeldonDeploymentStatus``, and its controller, which sets ``state``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from modelpack.deploy import State
from modelpack_kubernetes.cluster import Cluster
from modelpack_kubernetes.kinds import DEPLOYMENT, KNATIVE_SERVICE, POD, SELDON_DEPLOYMENT
from modelpack_kubernetes.seldon import deployment_name, service_name
from modelpack_kubernetes.standing import Item
from modelpack_kubernetes.words import CANARY, REVISION, Json

HOPELESS = (
    "ErrImageNeverPull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
)
"""Reasons to wait which do not go away by waiting, as the kubelet names them."""

_ENDED_TO_FAIL = 2
"""A container that ended so often and waits to be started again counts as failed."""


_OF_SELDON = "seldon-deployment-id"
"""Label that Seldon's operator puts on all that it makes of a deployment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """How a workload is right now."""

    state: State
    detail: str | None = None
    url: str | None = None
    restarts: int = 0
    since: str | None = None
    """When the oldest of its pods was started."""


def sight_of(cluster: Cluster, item: Item) -> Sight:
    """Return how a workload is; asks for its pods."""
    pods = pods_of(cluster, item)
    restarts = max((_restarts(one) for one in pods if not _is_ready(one)), default=0)
    since = min((s for one in pods if (s := one.get("status", {}).get("startTime"))), default=None)
    why, is_hopeless = why_not(pods)
    if item.kind is DEPLOYMENT:
        state, detail = _of_deployment(item.value)
        url = None
    elif item.kind is SELDON_DEPLOYMENT:
        state, detail = _of_seldon(cluster, item.value)
        url = _url_of_seldon(item.value)
    else:
        state, detail = _of_service(item)
        url = _url_of(item)
    if state is State.STARTING and is_hopeless:
        state = State.FAILED
    if state is not State.RUNNING and why is None:
        why = _said(cluster, pods)
    if state is not State.RUNNING and why:
        detail = why
    return Sight(state=state, detail=detail, url=url, restarts=restarts, since=since)


def pods_of(cluster: Cluster, item: Item) -> list[Json]:
    """Return the pods of a workload, of the revision that it is to run where they say so."""
    found, _ = cluster.find(POD, pod_selector(item))
    if item.kind is DEPLOYMENT:
        template = item.value["spec"]["template"]["metadata"]
    elif item.kind is SELDON_DEPLOYMENT:
        template = item.value["spec"]["predictors"][-1]["componentSpecs"][0]["metadata"]
    else:
        return found
    wanted = (template.get("annotations") or {}).get(REVISION)
    return [one for one in found if _note(one, REVISION) == wanted]


def pod_selector(item: Item) -> dict[str, str]:
    """Return the labels of a workload's pods."""
    meta = item.value["metadata"]
    if item.kind is DEPLOYMENT:
        return dict(item.value["spec"]["selector"].get("matchLabels") or {})
    if item.kind is KNATIVE_SERVICE:
        return {"serving.knative.dev/service": meta["name"]}
    if item.kind is SELDON_DEPLOYMENT:
        return {_OF_SELDON: meta["name"]}
    return {"serving.kserve.io/inferenceservice": meta["name"]}


def all_pods(cluster: Cluster, items: Iterable[Item]) -> list[Json]:
    """Return the pods of workloads, whatever their revision, oldest first."""
    found: dict[str, Json] = {}
    for item in items:
        for one in cluster.find(POD, pod_selector(item))[0]:
            found[str(one["metadata"]["name"])] = one
    return sorted(found.values(), key=lambda one: str(one["metadata"].get("creationTimestamp")))


def why_not(pods: Iterable[Json]) -> tuple[str | None, bool]:
    """Return why pods are not ready, and whether waiting is of no use; the worst one speaks."""
    reasons = [found for one in pods if not _is_ready(one) and (found := _reason(one))]
    hopeless = [text for text, is_so in reasons if is_so]
    if hopeless:
        return hopeless[0], True
    return (reasons[0][0], False) if reasons else (None, False)


def _of_deployment(value: Json) -> tuple[State, str | None]:
    spec, status = value["spec"], value.get("status") or {}
    count = int(spec.get("replicas", 1))
    if int(status.get("observedGeneration") or 0) < int(value["metadata"].get("generation") or 0):
        return State.STARTING, "the cluster has not looked at it yet"
    keys = ("updatedReplicas", "replicas", "availableReplicas")
    updated, there, available = (int(status.get(key) or 0) for key in keys)
    refused = ""
    for one in status.get("conditions") or ():
        said = str(one.get("message") or one.get("reason"))
        if (one.get("type"), one.get("status")) == ("Progressing", "False"):
            return State.FAILED, said
        if (one.get("type"), one.get("status")) == ("ReplicaFailure", "True"):
            if not updated:  # not even the first: a quota or a policy
                return State.FAILED, said
            refused = f": {said}"
    if updated >= count and there == updated and available >= count:
        return State.RUNNING, None if count else "asleep: no replica"
    if updated >= count and available >= count:
        return State.STARTING, f"{max(1, there - updated)} of those before are still ending"
    return State.STARTING, f"{min(updated, available)} of {count} replicas are ready{refused}"


def _of_seldon(cluster: Cluster, value: Json) -> tuple[State, str | None]:
    """Return how a SeldonDeployment is: each predictor's Deployment first, then what is said of it.

    Its status does not say of which generation it is, so what stands is looked at itself.
    """
    name, status = value["metadata"]["name"], value.get("status") or {}
    made, _ = cluster.find(DEPLOYMENT, {_OF_SELDON: name})
    there = {one["metadata"]["name"]: one for one in made}
    for predictor in value["spec"]["predictors"]:
        wanted = predictor["componentSpecs"][0]["metadata"]["annotations"].get(REVISION)
        one = there.get(deployment_name(name, predictor["name"]))
        if one is None or _note(one["spec"]["template"], REVISION) != wanted:
            if status.get("state") == "Failed" and one is None:
                return State.FAILED, str(status.get("description") or "Seldon's operator failed")
            return State.STARTING, "the operator has not looked at it yet"
        state, detail = _of_deployment(one)
        if state is not State.RUNNING:
            return state, detail
    if status.get("state") != "Available":
        return State.STARTING, str(status.get("description") or "not available yet")
    return State.RUNNING, None


def _url_of_seldon(value: Json) -> str:
    """Return where callers in the cluster reach its newest predictor."""
    meta, predictor = value["metadata"], value["spec"]["predictors"][-1]
    ports = predictor["componentSpecs"][0]["spec"]["containers"][0]["ports"]
    service = service_name(meta["name"], predictor["name"])
    return f"http://{service}.{meta['namespace']}.svc:{ports[0]['containerPort']}"


def _of_service(item: Item) -> tuple[State, str | None]:
    """Return how a service of KServe or Knative is, by its condition Ready."""
    status = item.value.get("status") or {}
    generation = int(item.value["metadata"].get("generation") or 0)
    if int(status.get("observedGeneration") or 0) < generation:
        return State.STARTING, "the cluster has not looked at it yet"
    conditions: list[Json] = status.get("conditions") or []
    ready: Json = next((one for one in conditions if one["type"] == "Ready"), {})
    said = str(ready.get("message") or ready.get("reason") or "not ready yet")
    if ready.get("status") == "True":
        return State.RUNNING, None
    if ready.get("status") == "False" and item.kind is KNATIVE_SERVICE:
        return State.FAILED, said
    return State.STARTING, said


def _url_of(item: Item) -> str | None:
    """Return where a service of KServe or Knative answers; a canary has an address of its own.

    None where it has none: what answers at the common one may be the other revision.
    """
    status = item.value.get("status") or {}
    component = (status.get("components") or {}).get("predictor") or {}
    traffic: list[Json] = status.get("traffic") or component.get("traffic") or []
    if len([one for one in traffic if one.get("percent")]) < 2:
        return status.get("url")
    own = [one for one in traffic if one.get("latestRevision") or one.get("tag") == CANARY]
    return own[0].get("url") if own else None


def _reason(pod: Json) -> tuple[str, bool] | None:
    """Return what keeps a pod from being ready, and whether it is hopeless."""
    status = pod.get("status") or {}
    for one in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        state, last = one.get("state") or {}, one.get("lastState") or {}
        waiting = state.get("waiting") or {}
        ended = state.get("terminated") or last.get("terminated") or {}
        reason = waiting.get("reason")
        if reason == "CrashLoopBackOff" or (ended and int(one.get("restartCount") or 0)):
            count = int(one.get("restartCount") or 0)
            words = f"{ended.get('reason', 'Error')}, exit status {ended.get('exitCode', '?')}"
            told = f"the container keeps ending ({reason or 'restarted'}: {words})"
            return told, count >= _ENDED_TO_FAIL
        if reason in (*HOPELESS, "ErrImagePull"):
            return f"{reason}: {waiting.get('message', '')}".rstrip(": "), reason in HOPELESS
    for one in status.get("conditions") or ():
        if one.get("type") == "PodScheduled" and one.get("status") == "False":
            return f"not scheduled: {one.get('message') or one.get('reason')}", False
    return None


def _said(cluster: Cluster, pods: Iterable[Json]) -> str | None:
    """Return the newest warning that the cluster wrote about a pod that is not ready."""
    for pod in pods:
        if _is_ready(pod):
            continue
        name = pod["metadata"]["name"]
        events = cluster.events(name)
        warnings = [one for one in events if one.get("type") == "Warning"]
        if warnings:
            newest = max(warnings, key=lambda one: str(one.get("lastTimestamp") or ""))
            return f"{newest.get('reason')}: {newest.get('message')}"
    return None


def _restarts(pod: Json) -> int:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return max((int(one.get("restartCount") or 0) for one in statuses), default=0)


def _is_ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _note(value: Json, key: str) -> str | None:
    notes: Mapping[str, str] = value["metadata"].get("annotations") or {}
    return notes.get(key)
