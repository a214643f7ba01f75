"""OpenAPI 3.1 of a service, made from its signature.

    ServiceSpec ──openapi_document──► dict      one path an api, and the server's own probes

Every body has a real example: the one that the author gave, else one made from the types.  What is
answered to it is shown in its form (``examples``), where the types tell.
Definitions that a schema brings along are moved to ``components/schemas``, where references inside
an OpenAPI document look for them.  Beside the standard words there are

``x-dtype``     dtype of an array (on its schema)
``x-batched``   parameters whose first axis is the batch (on an operation)

Not here: the contracts of other servers (``server.faces.document`` adds those that are on).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from modelpack.sdk.api import ApiSpec, Parameter
from modelpack.sdk.definitions import hoist
from modelpack.sdk.examples import example_answer
from modelpack.sdk.files import ImageValue
from modelpack.sdk.service import ServiceSpec
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.whole import alone, is_one_array

_REFUSALS = {
    "400": "The body is not valid JSON or does not fit the signature; or a header is not understood.",
    "413": "The body is longer than the server takes.",
    "415": "The content type is not one that this api takes.",
    "422": "The values are refused by a declared range or by the service.",
    "429": "The queue is full; Retry-After says when to come back.",
    "500": "The model failed on this request.",
    "503": "The server is starting or stopping.",
    "504": "The request took too long.",
}
_RETRIED = ("429", "503")
"""Refusals that say when to come back."""


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
        "tags": [
            {"name": "apis", "description": "What the service offers."},
            {"name": "health", "description": "Probes and metrics."},
        ],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "parameters": _HEADERS,
            "headers": _ANSWER_HEADERS,
            "responses": {status: _refusal(status, why) for status, why in _REFUSALS.items()},
        },
    }


def _operation(api: ApiSpec, definitions: dict[str, Any]) -> dict[str, Any]:
    title, _, rest = api.doc.partition("\n")
    answers: dict[str, Any] = {"200": _answer(api, definitions)}
    for status in _REFUSALS:
        answers[status] = {"$ref": f"#/components/responses/{status}"}
    operation: dict[str, Any] = {
        "operationId": api.name,
        "tags": ["apis"],
        "summary": title or api.name,
        "description": rest.strip() or title or f"Call '{api.name}'.",
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in _HEADERS],
        "requestBody": {"required": True, "content": _request(api, definitions)},
        "responses": answers,
    }
    if api.batched:
        operation["x-batched"] = list(api.batched)
    whole = alone(api)
    if whole is not None and isinstance(whole.value, TensorValue):
        operation["parameters"] += [
            {"name": name, "in": "header", "schema": schema, "description": what}
            for name, schema, what in _array_headers(whole.value)
        ]
    return operation


def _request(api: ApiSpec, definitions: dict[str, Any]) -> dict[str, Any]:
    schema = hoist(api.input_schema(), definitions)
    for parameter in api.parameters:
        if (default := _default(parameter)) is not _UNSAID:
            schema["properties"][parameter.name]["default"] = default
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


_UNSAID: Any = object()


def _default(parameter: Parameter) -> Any:
    """Return the default of a parameter as JSON has it; ``_UNSAID``: it has none, or none there."""
    if parameter.is_required:
        return _UNSAID
    try:
        default = None if parameter.default is None else parameter.value.encode(parameter.default)
        return json.loads(json.dumps(_plain(default), allow_nan=False))
    except (TypeError, ValueError, AttributeError):
        return _UNSAID  # such as a function that stands for "not given"


def _plain(value: Any) -> Any:
    """Return a value without arrays in it, as JSON has it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [*map(_plain, value)] if isinstance(value, list | tuple) else value


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
        p.name: _file_part(p) if p.value.is_file else hoist(p.value.schema(), definitions)
        for p in api.parameters
    }
    required = [p.name for p in api.parameters if p.is_required]
    return {"type": "object", "properties": properties, "required": required}


def _file_part(parameter: Parameter) -> dict[str, Any]:
    # "format" is what OpenAPI 3.0 said, and what pages and generators still look for.
    media_type = (
        "image/*" if isinstance(parameter.value, ImageValue) else "application/octet-stream"
    )
    return {"type": "string", "format": "binary", "contentMediaType": media_type}


def _answer(api: ApiSpec, definitions: dict[str, Any]) -> dict[str, Any]:
    schema = hoist(api.returns.schema(), definitions)
    if api.nan == "null":
        schema = _with_null(schema)
    headers: dict[str, Any] = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
    if api.is_stream:
        return {
            "description": "One JSON value a line; as server-sent events if asked for.",
            "headers": headers,
            "content": {
                "application/x-ndjson": {"schema": schema},
                "text/event-stream": {"schema": {}},
            },
        }
    if api.returns.is_file:
        file: dict[str, Any] = {api.returns.media_type: {"schema": {}}}
        return {"description": "The file.", "headers": headers, "content": file}
    content = {"application/json": {"schema": schema}}
    if (example := example_answer(api)) is not None:
        content["application/json"]["example"] = _plain(example)
    answer: dict[str, Any] = {
        "description": "What the api returned.",
        "headers": headers,
        "content": content,
    }
    if is_one_array(api.returns):
        answer["content"]["application/octet-stream"] = {"schema": {}}
        answer["content"]["application/x-npy"] = {"schema": {}}
        for name, one, what in _array_headers(None):
            headers[name] = {"schema": one, "description": what}
    return answer


def _with_null(schema: Any) -> Any:
    """Return the schema of an answer in which NaN and infinities are ``null``."""
    if isinstance(schema, list):
        return [_with_null(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    changed = {key: _with_null(one) for key, one in schema.items()}
    if schema.get("type") == "number":
        changed["type"] = ["number", "null"]
    return changed


def _refusal(status: str, why: str) -> dict[str, Any]:
    names = ["X-Request-Id", *(["Retry-After"] if status in _RETRIED else [])]
    return {
        "description": why,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": {"application/problem+json": {"schema": _PROBLEM}},
    }


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
    # A dot in the id: no method of a service can have that name.
    answers: dict[str, Any] = {
        "200": {"description": what, "content": {media_type: {"schema": {}}}}
    }
    if refusal is not None:
        answers["503"] = _refusal("503", refusal)
    operation_id = f"server.{name}"
    return {"operationId": operation_id, "tags": ["health"], "summary": what, "responses": answers}


_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_HEADERS: dict[str, Any] = {
    "RequestId": {
        "name": "X-Request-Id",
        "in": "header",
        "description": "The request's own id, in the answer and in the log; else one is made.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    },
    "Timeout": {
        "name": "X-Request-Timeout-Ms",
        "in": "header",
        "description": "Milliseconds until nobody wants the answer any more.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Priority": {
        "name": "Modelpack-Priority",
        "in": "header",
        "description": "Who is taken from the queue first.",
        "schema": {"enum": ["high", "normal", "low"]},
    },
}
_ANSWER_HEADERS: dict[str, Any] = {
    "X-Request-Id": {
        "description": "The id of the request.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds until it is worth another try.",
        "schema": {"type": "integer", "minimum": 0},
    },
}
_PROBES = {
    "/livez": _probe("livez", "The process answers.", "application/json"),
    "/readyz": _probe("readyz", "It takes requests.", "application/json", "It takes none now."),
    "/metrics": _probe("metrics", "Metrics in the Prometheus text form.", "text/plain"),
}
