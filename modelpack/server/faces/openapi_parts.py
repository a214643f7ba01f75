"""Parts of the OpenAPI document: what a contract's ``openapi()`` is put together from.

    def openapi(self):
        infer = operation(
            "Infer", body=json_body(schema, example), answers={"200": said("The answer.", schema)},
            refused=INFERENCE,
        )
        return {"/v2/models/digits/infer": {"post": infer}}

    example_tensors(served)       the api's own example as tensors      ─┐ examples that work when sent
    example_rows(served)          the same, one instance a row           ─┘
    example_whole(served)         the answer to it, as far as types tell
    example_predictions(served)   the same, one prediction a row

Ids and tags are added by ``document``, which also leaves out the paths that are not the contract's
in the end.  Paths are written out, with the names of the models in them: ``{version}`` is the only
thing that is worth a parameter.  Schemas are JSON Schema 2020-12, as OpenAPI 3.1 has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from modelpack.sdk.examples import example_answer
from modelpack.sdk.tensor import TensorValue
from modelpack.server.bodies.codecs import dump
from modelpack.server.bodies.media import BINARY, JSON
from modelpack.server.faces.catalog import Served
from modelpack.server.faces.predictions import packer, predictions
from modelpack.server.faces.tensors import DTYPES, InputPort, bare
from modelpack.server.problems import RefusedRequest

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
INTEGER: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
ANYTHING: Schema = {}

INFERENCE = (400, 413, 415, 422, 429, 500, 503, 504)
"""Statuses with which an inference call may be refused, besides what the contract adds."""

REFUSALS: Mapping[int, str] = {
    400: "The request is not valid, or does not fit the api.",
    403: "The operator has not turned this on.",
    404: "There is no such model or version.",
    405: "The path answers to other methods.",
    409: "It cannot be done in this state.",
    410: "It was there, and is no more.",
    413: "The body is longer than the server takes.",
    415: "The content type or coding is not one that is read here.",
    422: "The values are refused by a declared range or by the service.",
    429: "The queue is full; Retry-After says when to come back.",
    500: "The model failed on this request.",
    501: "There is no such thing here.",
    503: "The server is starting or stopping; Retry-After.",
    504: "The request took too long.",
    507: "There is no memory for one more model.",
}
"""What each status of a refusal means."""


def record(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """Return the schema of an object with these keys; others may be there, too."""
    schema: Schema = {"type": "object", "properties": {**required, **(optional or {})}}
    if required:
        schema["required"] = list(required)
    return schema


def array(items: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


ERROR = record({"error": TEXT})
"""``{"error": "..."}``, as ``face.write_error`` writes it."""


def said(
    what: str,
    schema: Schema | None = None,
    *,
    example: Any = None,
    media_type: str = JSON,
) -> dict[str, Any]:
    """Return an answer; ``schema`` None: it has no body."""
    if schema is None:
        return {"description": what}
    return {"description": what, "content": {media_type: _media(schema, example)}}


def json_body(schema: Schema, example: Any = None) -> dict[str, Any]:
    """Return a request body in JSON, which has to be there."""
    return {"required": True, "content": {JSON: _media(schema, example)}}


def any_body(*media_types: str) -> dict[str, Any]:
    """Return a request body of bytes in any of these content types."""
    return {"required": True, "content": {one: {"schema": {}} for one in media_types or (BINARY,)}}


def bodies(*several: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request body that may be in any of several forms."""
    content: dict[str, Any] = {}
    for one in several:
        content.update(one["content"])
    return {"required": all(one.get("required") for one in several), "content": content}


def operation(
    summary: str,
    *,
    answers: Mapping[str, Any],
    body: Mapping[str, Any] | None = None,
    parameters: Sequence[Mapping[str, Any]] = (),
    refused: Sequence[int] = (),
    error: Schema = ERROR,
    description: str = "",
) -> dict[str, Any]:
    """Return one method of a path.

    answers     by status, as text: ``{"200": said(...)}``
    refused     statuses of refusals, all of which have the same form
    error       schema of that form, the contract's own
    """
    made: dict[str, Any] = {"summary": summary}
    if description:
        made["description"] = description
    if parameters:
        made["parameters"] = list(parameters)
    if body is not None:
        made["requestBody"] = dict(body)
    refusals = {str(status): said(REFUSALS[status], error) for status in refused}
    made["responses"] = {**refusals, **answers}
    return made


def path_parameter(name: str, what: str, known: Sequence[str] = ()) -> dict[str, Any]:
    """Return a ``{name}`` of a path; ``known``: the only values that are answered."""
    schema: Schema = {"type": "string", "enum": list(known)} if known else dict(TEXT)
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": what}


def header_parameter(name: str, what: str, schema: Schema = TEXT) -> dict[str, Any]:
    """Return a header that a request may have."""
    return {"name": name, "in": "header", "schema": dict(schema), "description": what}


def query_parameter(name: str, what: str, schema: Schema = TEXT) -> dict[str, Any]:
    """Return a part of the query that a request may have."""
    return {"name": name, "in": "query", "schema": dict(schema), "description": what}


def own_types(served: Served) -> tuple[str, ...]:
    """Return the content types in which the api itself answers."""
    api = served.api
    if api.is_stream:
        return ("application/x-ndjson", "text/event-stream")
    return (api.returns.media_type,) if api.returns.is_file else (JSON,)


def example_tensors(served: Served) -> list[dict[str, Any]] | None:
    """Return the api's example as tensors of the Open Inference Protocol, in JSON.

    None: a file is among them, which has no form in JSON there.
    """
    sample = served.api.sample()
    tensors = []
    for port in served.inputs:
        if port.name in sample:
            tensor = _tensor(port, sample[port.name])
            if tensor is None:
                return None
            tensors.append(tensor)
    return tensors


def example_rows(served: Served) -> list[Any]:
    """Return the api's example as instances: a value each, or an object when there are several.

    An api without batches has one instance, which is the whole example.
    """
    api, sample = served.api, served.api.sample()
    if api.batch is None:
        rows = [dict(sample)]
    else:
        count = len(sample[api.batched[0]])
        rows = [
            {name: one[row] if name in api.batched else one for name, one in sample.items()}
            for row in range(count)
        ]
    return [next(iter(one.values())) if len(one) == 1 else one for one in rows]


def example_whole(served: Served) -> Any:
    """Return the answer to the api's example as JSON has it; None: the types do not tell."""
    return _plain(example_answer(served.api))


def example_predictions(served: Served) -> Any:
    """Return the answer to ``example_rows``, one prediction a row; None: the types do not tell."""
    answer = example_answer(served.api)
    if answer is None:
        return None
    rows = example_rows(served)
    pack = packer(served.api, as_tensors=False)
    packed = answer if pack is None else pack(answer)
    try:
        return _plain(predictions(packed, len(rows), is_each=served.api.batch is None))
    except RefusedRequest:  # it has no rows, which its answers then say
        return None


def _plain(value: Any) -> Any:
    return None if value is None else orjson.loads(dump(value))


def within(key: str, example: Any) -> Any:
    """Return an example as the only key of an object; None: there is none."""
    return None if example is None else {key: example}


def tensor_schema(ports: Sequence[InputPort]) -> Schema:
    """Return the schema of the tensors that a request to an api may have."""
    datatypes = sorted({port.datatype for port in ports})
    required = {
        "name": {"enum": [port.name for port in ports]},
        "shape": array({"type": "integer", "minimum": 0}),
        "datatype": {"enum": datatypes},
    }
    return record(required, {"data": array({}), "parameters": {"type": "object"}})


def _tensor(port: InputPort, raw: Any) -> dict[str, Any] | None:
    value = bare(port.parameter.value)
    if value.is_file or raw is None:
        return None
    is_array = isinstance(value, TensorValue) or port.shape == (-1,)
    elements = raw if is_array else [raw]
    if port.datatype == "BYTES" and not isinstance(value, TensorValue):
        elements = [one if isinstance(one, str) else _json(one) for one in elements]
    dtype = DTYPES.get(port.datatype, object)
    shape = np.array(elements, dtype=dtype).shape
    return {"name": port.name, "shape": list(shape), "datatype": port.datatype, "data": elements}


def _json(one: Any) -> str:
    return orjson.dumps(one).decode()


def _media(schema: Schema, example: Any) -> dict[str, Any]:
    return {"schema": schema} if example is None else {"schema": schema, "example": example}
