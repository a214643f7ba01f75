"""The OpenAPI document of everything that answers: apis, probes, and every contract that is on.

    openapi_document(spec) ──────────────────┐
    face.openapi(), by path ─┬───────────────┴─► document_of ──► /openapi.json
      the same in a version ─┘

Each contract has a tag with its name; each of its operations that tag and an id of its own.  What
always holds: a path and method that two have is described by the one that answers it: the service's
own first, then the contracts in their order; of contracts it has both tags.  An id never comes twice.

``x-grpc`` says what OpenAPI has no words for: the port and the services of gRPC, if it is on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from modelpack.config.settings import ServerSettings
from modelpack.sdk.openapi import openapi_document
from modelpack.sdk.service import ServiceSpec
from modelpack.server.faces.face import Face
from modelpack.server.faces.in_versions import in_versions
from modelpack.server.faces.registry import Faces

TITLES: Mapping[str, str] = {
    "oip": "Open Inference Protocol v2, with Triton's extensions",
    "kserve": "KServe v1",
    "tfserving": "TensorFlow Serving REST",
    "torchserve": "TorchServe",
    "seldon": "Seldon Core v1",
    "sagemaker": "Amazon SageMaker container contract",
    "mlflow": "MLflow scoring server",
    "vertex": "Vertex AI custom container",
    "azureml": "Azure Machine Learning online endpoint",
    "cloudrun": "Cloud Run",
    "tasks": "Asynchronous tasks",
}
"""What the contracts are called where people read of them."""

GRPC_SERVICES: Mapping[str, str] = {
    "inference.GRPCInferenceService": "",
    "tensorflow.serving.PredictionService": "tfserving",
    "tensorflow.serving.ModelService": "tfserving",
    "org.pytorch.serve.grpc.inference.InferenceAPIsService": "torchserve",
    "grpc.health.v1.Health": "",
    "grpc.reflection.v1.ServerReflection": "",
    "grpc.reflection.v1alpha.ServerReflection": "",
}
"""Services that gRPC has, and the contract that each needs; "": it is always there."""

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
"""Keys of a path item that are operations."""

Document = dict[str, Any]


def document_of(
    spec: ServiceSpec, faces: Faces, settings: ServerSettings, *, version: str
) -> Document:
    """Return the document of one version of a service; ``version`` is the bundle's."""
    document = openapi_document(spec, version)
    if settings.metrics_port is not None:
        del document["paths"]["/metrics"]  # they are asked for elsewhere
    if settings.grpc_port is not None:
        names = {face.name for face in faces.all}
        services = [name for name, needs in GRPC_SERVICES.items() if not needs or needs in names]
        document["x-grpc"] = {"port": settings.grpc_port, "services": services}
    own = {api.route for api in spec.apis}
    ids = {one["operationId"] for item in document["paths"].values() for one in _operations(item)}
    for face in faces.all:
        if items := {**face.openapi()}:
            items |= in_versions(face, items)
            document["tags"].append({"name": face.name, "description": title_of(face)})
            _add(document, face, items, own, ids)
    return document


def title_of(face: Face) -> str:
    """Return what a contract is called where people read of it."""
    return TITLES.get(face.name, face.name)


def _add(
    document: Document, face: Face, items: Mapping[str, Any], own: set[str], ids: set[str]
) -> None:
    """Add the paths of a contract; ``own`` are those of the service, which nothing is added to."""
    refusals = document["components"]["responses"]
    for path, item in items.items():
        if path in own:
            continue
        there = document["paths"].setdefault(path, {})
        for key, one in item.items():
            if key in there:
                _share(there[key], face.name)
            elif key in METHODS:
                operation_id = _id_for(face.name, key, path, ids)
                ids.add(operation_id)
                answers = _named(face.name, one["responses"], refusals)
                facts = {"operationId": operation_id, "tags": [face.name]}
                there[key] = {**facts, **one, "responses": answers}
            else:
                there[key] = one


def _named(face: str, answers: Mapping[str, Any], refusals: Document) -> Document:
    """Put the refusals of a contract where they stand once, as most are the same everywhere."""
    named: Document = {}
    for status, answer in answers.items():
        named[status] = answer
        if int(status) >= 400 and "$ref" not in answer:
            number, name = 1, f"{face}.{status}"
            while refusals.setdefault(name, answer) != answer:
                number += 1
                name = f"{face}.{status}.{number}"
            named[status] = {"$ref": f"#/components/responses/{name}"}
    return named


def _share(one: Any, face: str) -> None:
    """Say that a contract has an operation, too, which another one describes."""
    if isinstance(one, dict) and face not in one.get("tags", [face]):
        one["tags"].append(face)


def _operations(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for key, one in item.items() if key in METHODS]


def _id_for(face: str, method: str, path: str, taken: set[str]) -> str:
    """Return an id such as ``oip.get.v2.health.live``."""
    words = re.findall(r"\w+", path)
    made = ".".join([face, method, *words])
    number, free = 1, made
    while free in taken:
        number += 1
        free = f"{made}.{number}"
    return free
