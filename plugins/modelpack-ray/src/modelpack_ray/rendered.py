"""What would be sent, as files: Serve's list with this one application, and a RayService.

    serve.yaml        for ``serve deploy`` or PUT /api/serve/applications/
    rayservice.yaml   for KubeRay, where the packages lie in a place that new nodes find too
    packages/*.zip    what has to lie there, when the bundle is in the store of this machine

Values of secrets are in none of them: the RayService takes them from a Secret of Kubernetes, as variables
of the containers.

Sources: Ray's documentation, "Serve config files"; KubeRay's API reference, ``RayService`` (ray.io/v1); for
its name ``ValidateRayServiceMetadata`` and ``MaxRayServiceNameLength`` of KubeRay's operator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from modelpack.deploy import DeploymentSpec, DeploySettings, Fact
from modelpack.errors import BundleNotFoundError
from modelpack_ray.kept import Kept
from modelpack_ray.node.service import SECRET
from modelpack_ray.packages import names_of, node_package, package_of, under_one_folder
from modelpack_ray.planning import facts_of
from modelpack_ray.wanted import Place, application, application_name, route_of

IMAGE = "rayproject/ray:2.60.0-py311"
"""Image of the nodes, unless told; its Python is that for which bundles are locked by default."""

_HEAD_CPU, _HEAD_MEMORY = "1", "4Gi"
_NODE_MEMORY = 2 << 30
_MOST_LETTERS = 47
_NO_TIME = "1970-01-01T00:00:00Z"


def files_of(
    spec: DeploymentSpec, place: Place, http: Mapping[str, Fact], image: str | None
) -> dict[str, bytes]:
    """Return the files by their paths."""
    kept = Kept(spec=spec, route=route_of(spec, place), since=_NO_TIME, is_settled=True)
    app = application(application_name(spec, facts_of(spec, place)), kept, place)
    serve = {"proxy_location": "EveryNode", "http_options": dict(http), "applications": [app]}
    files = {"serve.yaml": _yaml(serve)}
    if not place.storage.is_cluster:
        in_pods = {**serve, "http_options": {"host": "0.0.0.0", "port": 8000}}  # noqa: S104
        service = ray_service(spec, _yaml(in_pods).decode(), image or IMAGE)
        files["rayservice.yaml"] = _yaml(service)
        names = names_of(spec)
        try:
            files[f"packages/{names.bundle}"] = under_one_folder(package_of(spec))
            files[f"packages/{names.node}"] = under_one_folder(node_package())
        except BundleNotFoundError:
            pass  # it is in another store; the files name it all the same
    return files


def ray_service(spec: DeploymentSpec, serve_config: str, image: str) -> dict[str, Any]:
    """Return the RayService: a head, and as many nodes as there may be replicas."""
    settings = spec.settings
    labels = {"app.kubernetes.io/managed-by": "modelpack", "app.kubernetes.io/name": spec.name}
    fewest = max(settings.min_replicas, 1)
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": _dns(spec.name), "labels": labels},
        "spec": {
            "serveConfigV2": serve_config,
            "rayClusterConfig": {
                "enableInTreeAutoscaling": settings.most_replicas > fewest,
                "headGroupSpec": {
                    # No replica of a service beside the head: what it does must not starve.
                    "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},  # noqa: S104
                    "template": _pod(
                        "ray-head", image, {"cpu": _HEAD_CPU, "memory": _HEAD_MEMORY}, spec
                    ),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": "replicas",
                        "replicas": fewest,
                        "minReplicas": settings.min_replicas,
                        "maxReplicas": settings.most_replicas,
                        "rayStartParams": {},
                        "template": _pod("ray-worker", image, _resources(settings), spec),
                    }
                ],
            },
        },
    }


def _pod(
    name: str, image: str, resources: Mapping[str, str], spec: DeploymentSpec
) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": name,
        "image": image,
        "resources": {"requests": dict(resources), "limits": dict(resources)},
    }
    if spec.settings.secrets:
        container["env"] = [
            {
                "name": f"{SECRET}{variable}",
                "valueFrom": {
                    "secretKeyRef": {"name": f"{_dns(spec.name)}-secrets", "key": variable}
                },
            }
            for variable in sorted(spec.settings.secrets)
        ]
    return {"spec": {"containers": [container]}}


def _resources(settings: DeploySettings) -> dict[str, str]:
    """Return what a node needs: that of a replica, and for Ray itself."""
    memory = (settings.memory_bytes or _NODE_MEMORY) + _NODE_MEMORY
    found = {"cpu": f"{1.0 if settings.cpu is None else settings.cpu:g}", "memory": str(memory)}
    kind = settings.accelerator_kind
    if kind is not None:
        vendor = "amd.com/gpu" if kind.startswith("amd") else "nvidia.com/gpu"
        found[vendor] = str(settings.accelerator_count)
    return found


def _dns(name: str) -> str:
    """Return a name as KubeRay takes that of a RayService: a label of RFC 1035, not too long.

    One that has to be cut ends with six digits of the whole.
    """
    label = name.replace("_", "-").replace(".", "-").strip("-")
    label = label if label[:1].isalpha() else f"m-{label}"
    if len(label) <= _MOST_LETTERS:
        return label
    digits = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{label[: _MOST_LETTERS - 7].rstrip('-')}-{digits}"


def _yaml(value: Mapping[str, Any]) -> bytes:
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
    return text.encode()
