"""The paths of the protocol for the OpenAPI document.

    Catalog ──paths──► {"/v2": {"get": …}, "/v2/models/digits/infer": {"post": …}, …}

Paths with a version are those without one: ``faces.in_versions`` adds them.
"""

from __future__ import annotations

from typing import Any

import orjson

from modelpack.sdk.examples import example_answer
from modelpack.server.bodies.media import BINARY
from modelpack.server.faces import openapi_parts as parts
from modelpack.server.faces.catalog import Catalog, Served
from modelpack.server.faces.oip.write import HEADER_LENGTH, AnswerWriter

_NAME = parts.record({"name": parts.TEXT})
_READY = parts.record({"ready": parts.BOOLEAN})
_STATS = parts.record({"model_stats": parts.array(_NAME)})
_TENSOR = parts.record(
    {"name": parts.TEXT, "datatype": parts.TEXT, "shape": parts.array(parts.INTEGER)}
)
_ANSWER = parts.record(
    {"model_name": parts.TEXT, "outputs": parts.array(_TENSOR)},
    {"model_version": parts.TEXT, "id": parts.TEXT},
)
_GENERATED = parts.record({"model_name": parts.TEXT}, {"model_version": parts.TEXT})
_EVENTS = "text/event-stream"


def paths(catalog: Catalog) -> dict[str, Any]:
    """Return the path items of all models and of the server."""
    items: dict[str, Any] = {
        "/v2": _get("What the server is", _NAME),
        "/v2/": _get("What the server is", _NAME),
        "/v2/health/live": _get("Does the server live?", parts.record({"live": parts.BOOLEAN})),
        "/v2/health/ready": _readiness("Does the server take requests?"),
        "/v2/models": _get(
            "Names of the models", parts.record({"models": parts.array(parts.TEXT)})
        ),
        "/v2/models/stats": _get("Counts of all models", _STATS),
        "/v2/repository/index": _index(),
    }
    for served in catalog.models.values():
        items |= _of_model(served, catalog.version)
        if catalog.settings.repository_control:  # else they only say that they are turned off
            items |= _control_of(served)
    return items


def _of_model(served: Served, version: str) -> dict[str, Any]:
    name, root = served.name, f"/v2/models/{served.name}"
    inputs = parts.record({"name": parts.TEXT, "inputs": parts.array(_TENSOR)})
    return {
        root: _get(f"Inputs and outputs of {name}", inputs),
        f"{root}/ready": _readiness(f"Does {name} take requests?"),
        f"{root}/config": _get(f"{name} as a configuration of Triton", _NAME),
        f"{root}/stats": _get(f"Counts of {name}", _STATS),
        f"{root}/infer": {"post": _infer(served, version)},
        f"{root}/infer_stream": {"post": _infer(served, version, is_stream=True)},
        f"{root}/generate": {"post": _generate(served)},
        f"{root}/generate_stream": {"post": _generate(served, is_stream=True)},
    }


def _control_of(served: Served) -> dict[str, Any]:
    root = f"/v2/repository/models/{served.name}"
    refused = "Refused: all models of a service end together"
    return {
        f"{root}/load": {"post": _control("Load the service again")},
        f"{root}/unload": {"post": _control(refused)},
    }


def _get(summary: str, schema: parts.Schema) -> dict[str, Any]:
    return {"get": parts.operation(summary, answers={"200": parts.said("The answer.", schema)})}


def _readiness(summary: str) -> dict[str, Any]:
    answers = {
        "200": parts.said("It does.", _READY),
        "503": parts.said("It does not.", _READY),
    }
    return {"get": parts.operation(summary, answers=answers)}


def _infer(served: Served, version: str, *, is_stream: bool = False) -> dict[str, Any]:
    inputs = parts.example_tensors(served)
    tensors = parts.array(parts.tensor_schema(served.inputs))
    schema = parts.record({"inputs": tensors}, {"id": parts.TEXT, "parameters": {"type": "object"}})
    # An api that streams refuses "infer", and says what to ask for.
    works = inputs is not None and (is_stream or not served.api.is_stream)
    example = {"inputs": inputs} if works else None
    answer = None if served.api.is_stream else example_answer(served.api)
    if answer is not None:
        write = AnswerWriter(served, version).writer(None, b"", is_binary=False)
        answer = orjson.loads(write(answer)[1])
    said = parts.said("Named tensors.", _ANSWER, example=answer)
    said["content"][BINARY] = {"schema": {}}
    if is_stream:
        said = parts.said("An answer an event.", {}, media_type=_EVENTS)
    length = parts.header_parameter(
        HEADER_LENGTH.decode().title(), "How long the JSON is before the bytes", parts.INTEGER
    )
    return parts.operation(
        f"{'Stream from' if is_stream else 'Ask'} {served.name}",
        body=parts.bodies(parts.json_body(schema, example), parts.any_body()),
        answers={"200": said},
        parameters=[length],
        refused=parts.INFERENCE,
    )


def _generate(served: Served, *, is_stream: bool = False) -> dict[str, Any]:
    body = parts.json_body({"type": "object"}, served.api.sample())
    said = parts.said("The answer, with its parts as keys.", _GENERATED)
    if is_stream:
        said = parts.said("A piece an event.", {}, media_type=_EVENTS)
    return parts.operation(
        f"{'Stream' if is_stream else 'Generate'} with {served.name}",
        body=body,
        answers={"200": said},
        refused=parts.INFERENCE,
    )


def _index() -> dict[str, Any]:
    body = parts.json_body(parts.record({}, {"ready": parts.BOOLEAN}), {"ready": True})
    models = parts.array(parts.record({"name": parts.TEXT, "state": parts.TEXT}))
    operation = parts.operation(
        "All models with their state",
        body={**body, "required": False},
        answers={"200": parts.said("The models.", models)},
        refused=(400, 413),
    )
    return {"post": operation}


def _control(summary: str) -> dict[str, Any]:
    return parts.operation(
        summary,
        body={**parts.json_body(parts.record({}, {"parameters": {}})), "required": False},
        answers={"200": parts.said("It is done.", {"type": "object"})},
        refused=(400, 403, 409, 413),
    )
