"""Objects against schemas: Kubernetes' own for each version, and those of custom resources.

    object ──mistakes(object, "1.33")──► [] or what is wrong

A schema that is missing is a mistake: what nobody checks is not taken for right.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate.utils
from referencing import Registry, Resource

VERSIONS = tuple(
    version
    for version in dict.fromkeys(kubernetes_validate.utils.all_versions())
    if tuple(map(int, version.split(".")[:2])) >= (1, 28)
)
"""Every version from 1.28 on of which there are schemas."""

_CRDS = Path(__file__).parent / "data" / "crds"
_BUILT_IN = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
_CUSTOM = ("serving.kserve.io", "serving.knative.dev", "keda.sh", "monitoring.coreos.com",
           "gateway.networking.k8s.io", "machinelearning.seldon.io")  # fmt: skip
_PODS_OF_SELDON = "1.25.0"
"""The oldest pods that there is a schema of; those in Seldon's own definition are older by one."""


def mistakes(one: dict[str, Any], version: str) -> list[str]:
    """Return what a schema says against an object, as a cluster of that version has it."""
    found = _validator(one["apiVersion"], one["kind"], version).iter_errors(one)
    return [f"{one['kind']} {error.json_path}: {error.message}" for error in found]


@functools.cache
def _validator(api_version: str, kind: str, version: str) -> Any:
    group, _, word = api_version.rpartition("/")
    if group in _CUSTOM:
        schema = json.loads((_CRDS / f"{kind.lower()}_{word}.json").read_text())
        return jsonschema.Draft202012Validator(schema, registry=_definitions(_PODS_OF_SELDON))
    folder = _BUILT_IN / f"v{version}-local-strict"
    prefix = f"{group.split('.')[0]}-" if group else ""
    schema = json.loads((folder / f"{kind.lower()}-{prefix}{word}.json").read_text())
    registry = _definitions(version)
    return jsonschema.Draft202012Validator(schema, registry=registry)


@functools.cache
def _definitions(version: str) -> Any:
    file = _BUILT_IN / f"v{version}-local-strict" / "_definitions.json"
    resource: Any = Resource.from_contents(json.loads(file.read_text()))
    registry: Any = Registry()
    return registry.with_resource(resource.id(), resource).with_resource(file.name, resource)
