"""Services of KServe and Knative: pods of their revisions, Ready, and addresses.

Knative Service     the revisions that ``traffic`` names have pods; each tag has a URL of its own
InferenceService    the newest revision, and with ``canaryTrafficPercent`` the one before it too
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from urllib.parse import urlsplit

from . import pods
from .store import Item, Json, Store, now, owner_of

REVISION = "serving.knative.dev/revision"
SERVING = (
    ("serving.kserve.io", "InferenceService", "serving.kserve.io/inferenceservice"),
    ("serving.knative.dev", "Service", "serving.knative.dev/service"),
)


def look(store: Store, address: str) -> None:
    """Do one step of every such service."""
    for group, kind, label in SERVING:
        if any(one.group == group for one in store.kinds):
            for item in store.list(store.named(kind, group)):
                if "deletionTimestamp" not in item.value["metadata"]:
                    _serve(store, address, item, label)


def answer(store: Store, path: str) -> tuple[int, bytes]:
    """Return what the way in from outside answers; most of all requests go to the largest share."""
    for group, kind, _ in SERVING:
        for item in store.list(store.named(kind, group)) if _has(store, group) else ():
            for url, names in _ways(item):
                way = urlsplit(url).path
                if path.startswith(f"{way}/"):
                    there = [one for one in _pods(store, item) if _revision(one) in names]
                    ready = [one for one in there if pods.is_ready(one)]
                    return pods.answer_of(ready[0], path.removeprefix(way)) if ready else (503, b"")
    return 404, b""


def _ways(item: Item) -> Iterable[tuple[str, list[str]]]:
    status = item.value.get("status") or {}
    shares = sorted(_traffic(status), key=lambda one: -int(one.get("percent") or 0))
    for one in shares:
        if "url" in one:
            yield one["url"], [one["revisionName"]]
    if "url" in status and shares:
        yield status["url"], [shares[0]["revisionName"]]


def _traffic(status: Json) -> list[Json]:
    component = status.get("components", {}).get("predictor", {})
    return list(status.get("traffic") or component.get("traffic") or ())


def _serve(store: Store, address: str, item: Item, label: str) -> None:
    spec, value = _pod_spec(item), item.value
    newest = _name(item, spec)
    if not any(_revision(one) == newest for one in _pods(store, item)):
        _make_pod(store, item, spec, {label: item.name, REVISION: newest})
    there = _pods(store, item)
    mine = [one for one in there if _revision(one) == newest]
    well = any(map(pods.is_ready, mine))
    shares = _shares(
        item, newest, [_revision(one) for one in there], f"{address}/ingress/{item.namespace}"
    )
    if well:
        kept = [one["revisionName"] for one in shares]
        for one in there:
            if _revision(one) not in kept:
                store.delete(one.kind, one.namespace, one.name)
    status = {
        "observedGeneration": value["metadata"]["generation"],
        "conditions": [_ready(item, mine, well=well)],
        "url": f"{address}/ingress/{item.namespace}/{item.name}",
    }
    if label == SERVING[1][2]:
        status |= {"latestCreatedRevisionName": newest, "traffic": shares}
    else:
        status["components"] = {"predictor": {"latestCreatedRevision": newest, "traffic": shares}}
    store.set_status(item, status)


def _shares(item: Item, newest: str, known: list[str], address: str) -> list[Json]:
    """Return who gets which share; of KServe, the revision before the newest is the other one."""
    spec = item.value["spec"]
    if "predictor" not in spec:
        asked = spec.get("traffic") or [{"latestRevision": True, "percent": 100}]
        found = [{"revisionName": newest, **one} for one in asked]
        for one in found:
            if one.get("tag"):
                one["url"] = f"{address}/{one['tag']}-{item.name}"
        return found
    share = spec["predictor"].get("canaryTrafficPercent")
    former = [one for one in known if one != newest]
    mine = {"latestRevision": True, "percent": 100, "revisionName": newest}
    if share is None or not former:
        return [mine]
    other = {"latestRevision": False, "percent": 100 - share, "revisionName": former[0]}
    tagged = {"tag": "latest", "url": f"{address}/latest-{item.name}"}
    return [{**mine, "percent": share, **tagged}, other]


def _ready(item: Item, mine: list[Item], *, well: bool) -> Json:
    ready: Json = {"type": "Ready", "status": "True" if well else "Unknown"}
    if not well and mine and pods.mode_of(mine[0]) in ("crash", "pull", "unschedulable"):
        why = "Container failed with: the model cannot be read"
        ready |= {"status": "False", "reason": "RevisionFailed", "message": why}
    former = item.value.get("status", {}).get("conditions", [{}])[0]
    is_same = former.get("status") == ready["status"]
    ready["lastTransitionTime"] = former["lastTransitionTime"] if is_same else now()
    return ready


def _pods(store: Store, item: Item) -> list[Item]:
    found = store.owned_by(item.value["metadata"]["uid"])
    return [one for one in found if one.kind.kind == "Pod"]


def _make_pod(store: Store, item: Item, spec: Json, labels: Json) -> None:
    names = {"generateName": f"{labels[REVISION]}-", "ownerReferences": [owner_of(item)]}
    value = {"metadata": {**names, "labels": labels}, "spec": json.loads(json.dumps(spec))}
    store.create(store.named("Pod"), item.namespace, value, "controller")


def _name(item: Item, spec: Json) -> str:
    """Return the name of the newest revision."""
    template = item.value["spec"].get("template") or {}
    digits = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:10]
    named = (template.get("metadata") or {}).get("name")
    return str(named or f"{item.name}-predictor-{digits}")


def _pod_spec(item: Item) -> Json:
    """Return the pod that a service stands for, with a name for its container."""
    spec = item.value["spec"]
    found = spec["predictor"] if "predictor" in spec else spec["template"]["spec"]
    keys = ("containers", "volumes", "serviceAccountName", "securityContext")
    pod = json.loads(json.dumps({key: found[key] for key in keys if key in found}))
    for one in pod["containers"]:
        one.setdefault("name", "kserve-container")
    return dict(pod)


def _revision(pod: Item) -> str:
    return str(pod.value["metadata"]["labels"].get(REVISION, ""))


def _has(store: Store, group: str) -> bool:
    return any(one.group == group for one in store.kinds)
