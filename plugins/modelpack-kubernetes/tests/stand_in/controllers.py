"""What a cluster does by itself, one look after another.

    Deployment ──► one ReplicaSet for each template ──► Pods ──► a status, and conditions
    InferenceService, Knative Service ──► Pods, Ready, a URL
    SeldonDeployment ──► a Deployment and a Service of each predictor

A new ReplicaSet grows by ``maxSurge`` and the others shrink by what is ready, so that never fewer
than ``replicas - maxUnavailable`` are.  A ReplicaSet keeps the annotations of its Deployment and the
number of its revision.  ``progressDeadlineSeconds`` pass as looks: as many a second as the node says,
one where pods are played, and twenty at least.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from typing import Any

from . import pods, seldon, serving
from .store import Item, Json, Store, owner_of

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"
_LOOK_S = 0.004


class Controllers:
    """Looks at a store again and again, in a thread of its own."""

    def __init__(self, store: Store, address: str, node: Any) -> None:
        self.store, self.address, self.node = store, address, node
        self._ages: dict[str, int] = {}
        self._waited: dict[tuple[str, int], int] = {}
        self._end = threading.Event()
        self.is_paused = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(_LOOK_S):
            if not self.is_paused:
                with self.store.changed:
                    self.look()

    def look(self) -> None:
        """Do one step of everything."""
        store = self.store
        for deployment in store.list(store.named("Deployment", "apps")):
            if "deletionTimestamp" not in deployment.value["metadata"]:
                self._roll(deployment)
        serving.look(store, self.address)
        seldon.look(store)
        for pod in store.list(store.named("Pod")):
            uid = pod.value["metadata"]["uid"]
            age = self._ages.get(uid, 0)
            self._ages[uid] = age + 1
            self.node.live_on(store, pod, age)

    # Deployments

    def _roll(self, deployment: Item) -> None:
        spec = deployment.value["spec"]
        newest, others = self._sets(deployment)
        count, rolling = spec["replicas"], spec["strategy"].get("rollingUpdate") or {}
        surge = _amount(rolling.get("maxSurge", "25%"), count, math.ceil)
        spare = _amount(rolling.get("maxUnavailable", "25%"), count, math.floor)
        if not surge and not spare:
            spare = 1
        total = sum(one.value["spec"]["replicas"] for one in (newest, *others))
        if not spec.get("paused"):
            room = max(0, count + surge - total)
            now_new = newest.value["spec"]["replicas"]
            self._scale(newest, min(count, now_new + room))
            ready = sum(self._ready(one) for one in (newest, *others))
            for one in others:
                # What is not ready goes at once; what is, as far as others are.
                size, well = one.value["spec"]["replicas"], self._ready(one)
                goes = min(size, max(0, ready - (count - spare)) + (size - well))
                self._scale(one, size - goes)
                ready -= min(goes, well)
        self._trim(deployment, others)
        for one in (newest, *others):
            self._fill(one)
        self._say(deployment, newest, others)

    def _sets(self, deployment: Item) -> tuple[Item, list[Item]]:
        """Return the ReplicaSet of the template as it is now, made if need be, and the others."""
        store, spec = self.store, deployment.value["spec"]
        kind = store.named("ReplicaSet", "apps")
        text = json.dumps(spec["template"], sort_keys=True)
        digits = hashlib.sha256(text.encode()).hexdigest()[:10]
        uid = deployment.value["metadata"]["uid"]
        known = [one for one in store.owned_by(uid) if one.kind is kind]
        name = f"{deployment.name}-{digits}"
        newest = next((one for one in known if one.name == name), None)
        others = [one for one in known if one is not newest]
        numbers = [int(one.value["metadata"]["annotations"][REVISION]) for one in others]
        number = str(max(numbers, default=0) + 1)
        kept = _annotations(deployment)
        if newest is None:
            newest = self._make_set(deployment, kind, name, digits, {**kept, REVISION: number})
        meta = newest.value["metadata"]
        own = meta["annotations"].get(REVISION, number)
        wanted = {**kept, REVISION: number if int(own) < int(number) else own}
        if meta["annotations"] != wanted:
            meta["annotations"] = wanted
            store._write(newest, "MODIFIED")
        if deployment.value["metadata"].get("annotations", {}).get(REVISION) != wanted[REVISION]:
            notes = deployment.value["metadata"].setdefault("annotations", {})
            notes[REVISION] = wanted[REVISION]
            store._write(deployment, "MODIFIED")
        return newest, others

    def _make_set(self, deployment: Item, kind: Any, name: str, digits: str, notes: Json) -> Item:
        spec = deployment.value["spec"]
        template = json.loads(json.dumps(spec["template"]))
        template.setdefault("metadata", {}).setdefault("labels", {})[HASH] = digits
        selector = {"matchLabels": {**spec["selector"]["matchLabels"], HASH: digits}}
        labels = template["metadata"]["labels"]
        meta = {
            "name": name,
            "labels": labels,
            "annotations": notes,
            "ownerReferences": [owner_of(deployment)],
        }
        value = {
            "metadata": meta,
            "spec": {"replicas": 0, "selector": selector, "template": template},
        }
        return self.store.create(kind, deployment.namespace, value, "kube-controller-manager")

    def _scale(self, item: Item, count: int) -> None:
        if item.value["spec"]["replicas"] != count:
            item.value["spec"]["replicas"] = count
            self.store._write(item, "MODIFIED")

    def _fill(self, item: Item) -> None:
        """Have as many pods of a ReplicaSet as it says; those that are not ready go first."""
        store, count = self.store, item.value["spec"]["replicas"]
        there = self._pods(item)
        if pods.is_over_quota(item.value["spec"]["template"]["spec"]):
            return
        for _ in range(count - len(there)):
            template = item.value["spec"]["template"]
            self._make_pod(item, template["spec"], template["metadata"])
        for pod in sorted(there, key=pods.is_ready)[: max(0, len(there) - count)]:
            store.delete(pod.kind, pod.namespace, pod.name)

    def _make_pod(self, owner: Item, spec: Json, template: Json) -> None:
        names = {"generateName": f"{owner.name}-", "ownerReferences": [owner_of(owner)]}
        meta = {**template, **names}
        value = {"metadata": meta, "spec": json.loads(json.dumps(spec))}
        self.store.create(
            self.store.named("Pod"), owner.namespace, value, "kube-controller-manager"
        )

    def _pods(self, owner: Item) -> list[Item]:
        found = self.store.owned_by(owner.value["metadata"]["uid"])
        return [one for one in found if one.kind.kind == "Pod"]

    def _ready(self, replica_set: Item) -> int:
        return sum(pods.is_ready(pod) for pod in self._pods(replica_set))

    def _trim(self, deployment: Item, others: list[Item]) -> None:
        most = deployment.value["spec"]["revisionHistoryLimit"]
        idle = [one for one in others if not one.value["spec"]["replicas"] and not self._pods(one)]
        idle.sort(key=lambda one: int(one.value["metadata"]["annotations"][REVISION]))
        for one in idle[: max(0, len(idle) - most)]:
            self.store.delete(one.kind, one.namespace, one.name)
            others.remove(one)

    def _say(self, deployment: Item, newest: Item, others: list[Item]) -> None:
        value = deployment.value
        generation, count = value["metadata"]["generation"], value["spec"]["replicas"]
        updated, ready = len(self._pods(newest)), self._ready(newest)
        total = updated + sum(len(self._pods(one)) for one in others)
        all_ready = ready + sum(self._ready(one) for one in others)
        is_done = ready >= count and updated == total
        waited_for = (value["metadata"]["uid"], generation)
        self._waited[waited_for] = waited = 0 if is_done else self._waited.get(waited_for, 0) + 1
        progress = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}
        if is_done:
            progress["reason"] = "NewReplicaSetAvailable"
        elif waited > max(20, value["spec"]["progressDeadlineSeconds"] * self.node.LOOKS_A_SECOND):
            what = f'ReplicaSet "{newest.name}" has timed out progressing.'
            progress |= {"status": "False", "reason": "ProgressDeadlineExceeded", "message": what}
        available = {"type": "Available", "status": "True" if all_ready >= count else "False"}
        conditions = [available, progress]
        if pods.is_over_quota(value["spec"]["template"]["spec"]):
            why = {"reason": "FailedCreate", "message": pods.OVER_QUOTA}
            conditions.append({"type": "ReplicaFailure", "status": "True", **why})
        status = {
            "observedGeneration": generation,
            "replicas": total,
            "updatedReplicas": updated,
            "readyReplicas": all_ready,
            "availableReplicas": all_ready,
            "unavailableReplicas": max(0, total - all_ready),
            "conditions": conditions,
        }
        self.store.set_status(deployment, {key: one for key, one in status.items() if one != 0})


def _annotations(deployment: Item) -> Json:
    notes = deployment.value["metadata"].get("annotations", {})
    return {key: one for key, one in notes.items() if key != REVISION}


def _amount(value: Any, count: int, round_: Any) -> int:
    if isinstance(value, str) and value.endswith("%"):
        return int(round_(count * int(value[:-1]) / 100))
    return int(value)
