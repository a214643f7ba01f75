"""A deployment as files, for those who apply them by other means: kubectl, kustomize, Helm, GitOps.

    format=yaml        manifests.yaml                    kubectl apply --server-side -f manifests.yaml
    format=kustomize   base/, overlays/example/          kubectl apply --server-side -k overlays/example
    format=helm        Chart.yaml, values.yaml, …        helm install NAME DIR        (``chart``)

Pure; the same spec gives the same bytes.  No file holds the value of a secret: the head of each says
which Secret has to be there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelpack_kubernetes import chart
from modelpack_kubernetes.manifests import checked, warnings
from modelpack_kubernetes.wanted import Wanted
from modelpack_kubernetes.words import Json
from modelpack_kubernetes.yaml_text import as_yaml


def files(wanted: Wanted) -> dict[str, bytes]:
    """Return the files by their path; raises UsageError for what cannot be."""
    if wanted.options.format == "helm":
        return chart.files(wanted, head(wanted))
    objects = checked(wanted)
    if wanted.options.format == "kustomize":
        return _kustomization(wanted, objects)
    text = as_yaml(*objects)
    how = "#   kubectl apply --server-side -f manifests.yaml\n"
    return {"manifests.yaml": (head(wanted) + how + text).encode()}


def head(wanted: Wanted) -> str:
    """Return comments: what it is, which Secrets have to be there before it, and what to mind."""
    lines = [f"# {wanted.deployment} ({wanted.bundle}), as modelpack would apply it."]
    needed: dict[str, list[str]] = {}
    for variable, place in sorted(wanted.secrets.items()):
        needed.setdefault(place.secret, []).append(f"{place.key} (for {variable})")
    lines += [
        f"# The Secret '{secret}' has to be there, with {', '.join(keys)}."
        for secret, keys in sorted(needed.items())
    ]
    if not _has_host(wanted.image):
        lines.append(
            f"# warning: nodes have to know the image '{wanted.image}'; '--option registry=HOST' says where"
            " it is"
        )
    lines += [f"# warning: {one}" for one in warnings(wanted)]
    return "".join(f"{line}\n" for line in lines)


def _has_host(image: str) -> bool:
    """Return whether a reference names a registry: its first part is a host."""
    host, slash, _ = image.partition("/")
    return bool(slash) and (host == "localhost" or "." in host or ":" in host)


def _kustomization(wanted: Wanted, objects: Sequence[Json]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    names = []
    for one in objects:
        name = f"{one['kind'].lower()}.yaml"
        names.append(name)
        found[f"base/{name}"] = as_yaml(one).encode()
    base = {**_KUSTOMIZATION, "resources": names}
    found["base/kustomization.yaml"] = (head(wanted) + as_yaml(base)).encode()
    found["overlays/example/kustomization.yaml"] = _overlay(wanted, objects)
    return found


def _overlay(wanted: Wanted, objects: Sequence[Json]) -> bytes:
    """Return an overlay that changes nothing yet: its image, and replicas where these are fixed."""
    repository, sign, rest = _split(wanted.image)
    image: dict[str, str] = {"name": repository}
    if sign:
        image["digest" if sign == "@" else "newTag"] = rest
    overlay: Json = {**_KUSTOMIZATION, "resources": ["../../base"], "images": [image]}
    fixed = [
        {"name": one["metadata"]["name"], "count": one["spec"]["replicas"]}
        for one in objects
        if one["kind"] == "Deployment" and "replicas" in one["spec"]
    ]
    if fixed:
        overlay["replicas"] = fixed
    return (_OVERLAY + as_yaml(overlay)).encode()


def _split(image: str) -> tuple[str, str, str]:
    """Return repository, ``:`` or ``@``, and tag or digest of an image's reference."""
    if "@" in image:
        repository, _, digest = image.partition("@")
        return repository, "@", digest
    repository, colon, tag = image.rpartition(":")
    return (repository, ":", tag) if colon and "/" not in tag else (image, "", "")


_KUSTOMIZATION: Mapping[str, str] = {
    "apiVersion": "kustomize.config.k8s.io/v1beta1",
    "kind": "Kustomization",
}
_OVERLAY = """\
# An overlay to copy: what differs from one cluster to the next stands here, and not in the base.
#   kubectl apply --server-side -k overlays/example
"""
