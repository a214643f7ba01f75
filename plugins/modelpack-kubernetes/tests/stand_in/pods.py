"""What becomes of a pod, by what its container's environment asks for.

FAKE_MODE   (none)          pending, running, ready
            slow            ready after twenty looks instead of two
            crash           ends with status 1 again and again: CrashLoopBackOff
            pull            its image is not to be had: ErrImagePull, then ImagePullBackOff
            unschedulable   no node takes it: an event FailedScheduling
            unready         runs, and /readyz says 503: an event Unhealthy
            sick            is ready, and answers its own example with 500
            quota           is not even made: the namespace has no room
FAKE_LOG    one more line of its log
"""

from __future__ import annotations

import json
from typing import Any

from .store import Item, Json, Store, now

LOOKS_A_SECOND = 1
_QUICK, _SLOW = 2, 20
OVER_QUOTA = (
    'pods "digits" is forbidden: exceeded quota: small, requested: requests.cpu=2, '
    "used: requests.cpu=4, limited: requests.cpu=4"
)
EXAMPLE = {"content": {"application/json": {"example": {"x": [1.0]}}}}


def env_of(spec: Json) -> dict[str, str]:
    """Return the plain variables of a pod's first container."""
    return {one["name"]: one.get("value", "") for one in spec["containers"][0].get("env") or ()}


def is_over_quota(spec: Json) -> bool:
    return env_of(spec).get("FAKE_MODE") == "quota"


def mode_of(pod: Item) -> str:
    return env_of(pod.value["spec"]).get("FAKE_MODE", "")


def is_ready(pod: Item) -> bool:
    conditions = pod.value.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def live_on(store: Store, pod: Item, age: int) -> None:
    """Bring a pod one step on its way; ``age`` is how many looks ago it was made."""
    mode, spec = mode_of(pod), pod.value["spec"]
    name = spec["containers"][0]["name"]
    if missing := _missing_secret(store, pod):
        state = {"waiting": {"reason": "CreateContainerConfigError", "message": missing}}
        store.set_status(pod, status_of(pod, "Pending", name, state))
    elif mode == "unschedulable":
        why = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
        unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        store.set_status(pod, {"phase": "Pending", "conditions": [{**unscheduled, "message": why}]})
        _tell(store, pod, "FailedScheduling", why)
    elif mode == "pull":
        image = spec["containers"][0]["image"]
        reason = "ErrImagePull" if age < _QUICK else "ImagePullBackOff"
        said = f'Back-off pulling image "{image}": not found'
        state = {"waiting": {"reason": reason, "message": said}}
        store.set_status(pod, status_of(pod, "Pending", name, state))
        _tell(store, pod, "Failed", f'Failed to pull image "{image}": not found')
    elif mode == "crash" and age >= 1:
        said = "back-off 10s restarting failed container"
        ended = {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": now()}}
        state = {"waiting": {"reason": "CrashLoopBackOff", "message": said}}
        more = {"restartCount": min(age, 5), "lastState": ended}
        store.set_status(pod, status_of(pod, "Running", name, state, **more))
        _tell(store, pod, "BackOff", "Back-off restarting failed container")
    elif age == 0:
        waiting = {"waiting": {"reason": "ContainerCreating"}}
        store.set_status(pod, status_of(pod, "Pending", name, waiting))
    elif age == 1 or mode == "unready" or (mode == "slow" and age < _SLOW):
        store.set_status(
            pod, status_of(pod, "Running", name, {"running": {"startedAt": _began(pod)}})
        )
        if mode == "unready":
            why = "Readiness probe failed: HTTP probe failed with statuscode: 503"
            _tell(store, pod, "Unhealthy", why)
    else:
        state = {"running": {"startedAt": _began(pod)}}
        store.set_status(pod, status_of(pod, "Running", name, state, is_ready=True))


def log_of(pod: Item) -> list[str]:
    """Return what the container of a pod has written."""
    env = env_of(pod.value["spec"])
    if mode_of(pod) in ("pull", "unschedulable"):
        return []
    lines = ["this is " + env.get("MODELPACK_TAG", pod.name), "asked for /readyz"]
    if mode_of(pod) == "crash":
        lines = [*lines, '{"event": "failed", "error": "the model cannot be read"}']
    return [*lines, *([env["FAKE_LOG"]] if "FAKE_LOG" in env else [])]


def answer_of(
    pod: Item,
    path: str,
    *,
    body: bytes | None = None,
    host: str = "127.0.0.1",
) -> tuple[int, bytes]:
    """Return what the service in a pod says to a request; its pages are for hosts that it knows."""
    mode = mode_of(pod)
    if path == "/openapi.json" and not _knows(pod, host.rpartition(":")[0] or host):
        return 403, b'{"code": "host-refused"}'
    if path == "/readyz":
        ready = mode != "unready"
        return (200 if ready else 503), b'{"status": "ready"}' if ready else b'{"status": "not"}'
    if path == "/openapi.json":
        env, image = env_of(pod.value["spec"]), pod.value["spec"]["containers"][0]["image"]
        tag = env.get("MODELPACK_TAG", image).partition("@")[0]
        info = {"title": "fake", "version": tag.rpartition(":")[2]}
        paths = {"/double": {"post": {"requestBody": EXAMPLE}}}
        return 200, json.dumps({"openapi": "3.1.0", "info": info, "paths": paths}).encode()
    if mode == "sick":
        return 500, b'{"detail": "it is sick"}'
    return 200, b'{"doubled": [2.0]}'


def _knows(pod: Item, host: str) -> bool:
    known = env_of(pod.value["spec"]).get("MODELPACK_ALLOWED_HOSTS", "").split(",")
    return host in ("localhost", *known) or host.replace(".", "").isdigit()


def status_of(
    pod: Item, phase: str, name: str, state: Json, *, is_ready: bool = False, **more: Any
) -> Json:
    """Return the status of a pod with one container."""
    word = "True" if is_ready else "False"
    container = {
        "name": name,
        "ready": is_ready,
        "restartCount": 0,
        "image": pod.value["spec"]["containers"][0]["image"],
        "imageID": "",
        "state": state,
        **more,
    }
    conditions = [
        {"type": "PodScheduled", "status": "True"},
        {"type": "ContainersReady", "status": word},
        {"type": "Ready", "status": word},
    ]
    return {
        "phase": phase,
        "conditions": conditions,
        "containerStatuses": [container],
        "startTime": _began(pod),
    }


def _began(pod: Item) -> str:
    return str(pod.value["metadata"]["creationTimestamp"])


def _missing_secret(store: Store, pod: Item) -> str:
    secret = store.named("Secret")
    for one in pod.value["spec"]["containers"][0].get("env") or ():
        ref = (one.get("valueFrom") or {}).get("secretKeyRef")
        if ref is None or ref.get("optional"):
            continue
        item = store.items.get((secret.key, pod.namespace, ref["name"]))
        if item is None:
            return f'secret "{ref["name"]}" not found'
        if ref["key"] not in {**item.value.get("data", {}), **item.value.get("stringData", {})}:
            return f"couldn't find key {ref['key']} in Secret {pod.namespace}/{ref['name']}"
    return ""


def _tell(store: Store, pod: Item, reason: str, message: str) -> None:
    """Write an event about a pod, once; it goes when the pod does."""
    kind, name = store.named("Event"), f"{pod.name}.{reason.lower()}"
    if (kind.key, pod.namespace, name) in store.items:
        return
    meta = pod.value["metadata"]
    about = {"kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": meta["uid"]}
    owner = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": meta["uid"]}
    value = {
        "metadata": {"name": name, "ownerReferences": [owner]},
        "involvedObject": about,
        "reason": reason,
        "message": message,
        "type": "Warning",
        "count": 1,
        "lastTimestamp": now(),
    }
    store.create(kind, pod.namespace, value, "kubelet")
