"""OpenAPI 3.1 of a service, made from its signature.

    ServiceSpec ──openapi_document──► dict      one path an api, and the server's own probes

Every body has a real example.  Definitions that a schema brings along are moved to
``components/schemas``, where references inside an OpenAPI document look for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from modelpack.sdk.api import ApiSpec
from modelpack.sdk.files import ImageValue
from modelpack.sdk.service import ServiceSpec
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.whole import alone, is_one_array

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_REFUSALS = {
    "400": "The body is not valid JSON or does not fit the signature.",
    "413": "The body is longer than the server takes.",
    "415": "The content type is not one that this api takes.",
    "422": "The values are refused by a declared range or by the service.",
    "429": "The queue is full; Retry-After says when to come back.",
    "500": "The model failed on this request.",
    "503": "The server is starting or stopping.",
    "504": "The request took too long.",
}


def openapi_document(spec: ServiceSpec, version: str) -> dict[str, Any]:
    """Return the OpenAPI document of a service; ``version`` is the bundle's."""
    definitions: dict[str, Any] = {"Problem": _problem_schema()}
    paths: dict[str, Any] = {api.route: {"post": _operation(api, definitions)} for api in spec.apis}
    for route, what in _PROBES.items():
        paths[route] = {"get": what}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": spec.name,
            "version": version,
            "description": spec.doc or f"The service '{spec.name}'.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": "apis"}, {"name": "health"}],
        "paths": paths,
        "components": {"schemas": definitions},
    }


def _operation(api: ApiSpec, definitions: dict[str, Any]) -> dict[str, Any]:
    title, _, rest = api.doc.partition("\n")
    answers: dict[str, Any] = {"200": _answer(api, definitions)}
    for status, why in _REFUSALS.items():
        answers[status] = {
            "description": why,
            "content": {"application/problem+json": {"schema": _PROBLEM}},
        }
    operation: dict[str, Any] = {
        "operationId": api.name,
        "tags": ["apis"],
        "summary": title or api.name,
        "description": rest.strip() or title or f"Call '{api.name}'.",
        "requestBody": {"required": True, "content": _request(api, definitions)},
        "responses": answers,
    }
    whole = alone(api)
    if whole is not None and isinstance(whole.value, TensorValue):
        operation["parameters"] = [
            {"name": name, "in": "header", "schema": schema, "description": what}
            for name, schema, what in _array_headers(whole.value)
        ]
    return operation


def _request(api: ApiSpec, definitions: dict[str, Any]) -> dict[str, Any]:
    schema = hoist(api.input_schema(), definitions)
    content: dict[str, Any] = {"application/json": {"schema": schema, "example": api.sample()}}
    files = [p for p in api.parameters if p.value.is_file]
    if files:
        content["multipart/form-data"] = {"schema": _multipart(api, definitions)}
    whole = alone(api)
    if whole is not None:
        content["application/octet-stream"] = {"schema": {}}
        if isinstance(whole.value, ImageValue):
            content["image/*"] = {"schema": {}}
        elif isinstance(whole.value, TensorValue):
            content["application/x-npy"] = {"schema": {}}
    return content


def _array_headers(value: TensorValue | None) -> list[tuple[str, dict[str, Any], str]]:
    """Return name, schema and meaning of the headers of an array's bytes."""
    dtype: dict[str, Any] = {"type": "string"}
    shape: dict[str, Any] = {"type": "string", "pattern": r"^\d*(,\d+)*$"}
    if value is not None:
        dtype["enum"] = [value.spec.dtype]
        shape["examples"] = [",".join(map(str, np.shape(value.example())))]
    return [
        ("Modelpack-Dtype", dtype, "Dtype of the array, with application/octet-stream."),
        ("Modelpack-Shape", shape, "Its shape, with application/octet-stream: 2,784."),
    ]


def _multipart(api: ApiSpec, definitions: dict[str, Any]) -> dict[str, Any]:
    properties = {
        p.name: {} if p.value.is_file else hoist(p.value.schema(), definitions)
        for p in api.parameters
    }
    required = [p.name for p in api.parameters if p.is_required]
    return {"type": "object", "properties": properties, "required": required}


def _answer(api: ApiSpec, definitions: dict[str, Any]) -> dict[str, Any]:
    schema = hoist(api.returns.schema(), definitions)
    if api.is_stream:
        return {
            "description": "One JSON value a line; as server-sent events if asked for.",
            "content": {
                "application/x-ndjson": {"schema": schema},
                "text/event-stream": {"schema": {"type": "string"}},
            },
        }
    if api.returns.is_file:
        return {"description": "The file.", "content": {api.returns.media_type: {"schema": {}}}}
    answer: dict[str, Any] = {
        "description": "What the api returned.",
        "content": {"application/json": {"schema": schema}},
    }
    if is_one_array(api.returns):
        answer["content"]["application/octet-stream"] = {"schema": {}}
        answer["content"]["application/x-npy"] = {"schema": {}}
        answer["headers"] = {
            name: {"schema": schema, "description": what}
            for name, schema, what in _array_headers(None)
        }
    return answer


def hoist(schema: Any, definitions: dict[str, Any]) -> Any:
    """Move the ``$defs`` of a schema into ``definitions`` and point its references there."""
    if isinstance(schema, list):
        return [hoist(one, definitions) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    for name, one in schema.get("$defs", {}).items():
        definitions[name] = hoist(one, definitions)
    moved = {}
    for key, value in schema.items():
        if key == "$ref" and isinstance(value, str):
            moved[key] = value.replace("#/$defs/", "#/components/schemas/")
        elif key != "$defs":
            moved[key] = hoist(value, definitions)
    return moved


def _problem_schema() -> dict[str, Any]:
    text = {"type": "string"}
    issue = {"type": "object", "properties": {"pointer": text, "expected": text, "got": text}}
    return {
        "type": "object",
        "description": "Why a request was not answered (RFC 9457).",
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "code": text,
            "request_id": text,
            "errors": {"type": "array", "items": issue},
        },
        "required": ["type", "title", "status", "code", "request_id"],
    }


def _probe(name: str, what: str, media_type: str, refusal: str | None = None) -> dict[str, Any]:
    answers: dict[str, Any] = {
        "200": {"description": what, "content": {media_type: {"schema": {}}}}
    }
    if refusal is not None:
        answers["503"] = {
            "description": refusal,
            "content": {"application/problem+json": {"schema": _PROBLEM}},
        }
    return {"operationId": name, "tags": ["health"], "summary": what, "responses": answers}


_PROBES = {
    "/livez": _probe("livez", "The process answers.", "application/json"),
    "/readyz": _probe("readyz", "It takes requests.", "application/json", "It takes none now."),
    "/metrics": _probe("metrics", "Metrics in the Prometheus text form.", "text/plain"),
}
