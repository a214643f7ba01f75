"""SeldonDeployments: a Deployment and a Service for each predictor, as Seldon's operator makes them.

NAME-PREDICTOR-0-CONTAINER   the Deployment: the component's labels and annotations on it and its pods,
                             its pods' part as it is, but for the security context, which is dropped
NAME-PREDICTOR               the Service, by the label ``seldon-app``, at the port called ``http``

A Deployment is written again only when the pods' part is another one: labels and annotations alone
change nothing.  What no predictor is called any more goes when all that are have their pods.
"""

from __future__ import annotations

import json

from .store import Item, Json, Store, owner_of

GROUP = "machinelearning.seldon.io"
IDENTITY, APP = "seldon-deployment-id", "seldon-app"


def look(store: Store) -> None:
    """Do one step of every SeldonDeployment."""
    if not any(one.group == GROUP for one in store.kinds):
        return
    for item in store.list(store.named("SeldonDeployment", GROUP)):
        if "deletionTimestamp" not in item.value["metadata"]:
            _reconcile(store, item)


def _reconcile(store: Store, item: Item) -> None:
    deployments, services = [], []
    for predictor in item.value["spec"]["predictors"]:
        deployments.append(_deployment(store, item, predictor))
        services.append(_service(store, item, predictor))
    is_ready = all(map(_is_ready, deployments))
    kept = {id(one) for one in (*deployments, *services)}
    for one in store.owned_by(item.value["metadata"]["uid"]) if is_ready else ():
        if id(one) not in kept:
            store.delete(one.kind, one.namespace, one.name)
    state = "Available" if is_ready else "Creating"
    description = ""
    if any(map(_is_given_up, deployments)):
        state = "Failed"
        description = "Deployment is no longer progressing and not available."
    first = services[0].value
    url = f"http://{first['metadata']['name']}.{item.namespace}.svc.cluster.local"
    address = {"url": f"{url}:{first['spec']['ports'][0]['port']}/api/v1.0/predictions"}
    store.set_status(item, {"state": state, "description": description, "address": address})


def _deployment(store: Store, item: Item, predictor: Json) -> Item:
    component = predictor["componentSpecs"][0]
    pod = json.loads(json.dumps(component["spec"]))
    pod.pop("securityContext", None)
    name = f"{item.name}-{predictor['name']}-0-{pod['containers'][0]['name']}"
    own = {IDENTITY: item.name, APP: f"{item.name}-{predictor['name']}"}
    meta = component.get("metadata", {})
    labels = {**own, **predictor.get("labels", {}), **meta.get("labels", {})}
    notes = {**predictor.get("annotations", {}), **meta.get("annotations", {})}
    least = component.get("hpaSpec", {}).get("minReplicas", 1)
    spec = {
        "replicas": component.get("replicas", least),
        "selector": {"matchLabels": own},
        "template": {"metadata": {"labels": labels, "annotations": notes}, "spec": pod},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
    }
    marks = {"labels": labels, "annotations": notes, "ownerReferences": [owner_of(item)]}
    value = {"metadata": {"name": name, **marks}, "spec": spec}
    kind = store.named("Deployment", "apps")
    known = store.items.get((kind.key, item.namespace, name))
    if known is None:
        return store.create(kind, item.namespace, value, "seldon")
    marked = known.value["metadata"]["annotations"].get(_ASKED)
    asked = json.dumps([pod, spec["replicas"]], sort_keys=True)
    if marked != asked:
        value["metadata"]["annotations"] = {**notes, _ASKED: asked}
        return store.replace(kind, item.namespace, name, value, "seldon")
    return known


def _service(store: Store, item: Item, predictor: Json) -> Item:
    name = f"{item.name}-{predictor['name']}"
    kind = store.named("Service")
    known = store.items.get((kind.key, item.namespace, name))
    if known is not None:
        return known
    ports = predictor["componentSpecs"][0]["spec"]["containers"][0]["ports"]
    number = next(one["containerPort"] for one in ports if one["name"] == "http")
    port = {"name": "http", "port": number, "targetPort": number, "protocol": "TCP"}
    meta = {"name": name, "labels": {APP: name}, "ownerReferences": [owner_of(item)]}
    spec = {"type": "ClusterIP", "selector": {APP: name}, "ports": [port]}
    return store.create(kind, item.namespace, {"metadata": meta, "spec": spec}, "seldon")


def _is_ready(deployment: Item) -> bool:
    status, meta = deployment.value.get("status") or {}, deployment.value["metadata"]
    count = deployment.value["spec"]["replicas"]
    return (
        status.get("observedGeneration") == meta["generation"]
        and status.get("updatedReplicas", 0) >= count
        and status.get("availableReplicas", 0) >= count
        and status.get("replicas", 0) == count
    )


def _is_given_up(deployment: Item) -> bool:
    conditions = (deployment.value.get("status") or {}).get("conditions", ())
    return any((one["type"], one["status"]) == ("Progressing", "False") for one in conditions)


_ASKED = "test/asked"
