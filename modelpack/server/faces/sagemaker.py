"""SageMaker: the container contract of a model, and the path at which boto3 calls an endpoint.

GET  /ping                             200 when requests are taken
POST /invocations                      JSON, CSV, JSON lines, npy, bytes, pictures, forms
POST /endpoints/NAME/invocations       the same as the ``sagemaker-runtime`` client asks for it, and
                                       piece by piece with ``-response-stream`` behind it
/models …                              with SAGEMAKER_MULTI_MODEL=true: see ``multi_model``

The platform strips all header fields but its own.  ``X-Amzn-SageMaker-Custom-Attributes`` is passed
on, so that what our own header fields say may stand in it, ``name=value`` with semicolons between;
it comes back in the answer.  Behind ``/endpoints`` errors are those of the platform: a container's
becomes a ModelError with status 424, which has the status of the container in it.

Sources: SageMaker developer guide, "Custom inference code with hosting services"; the API model of
``sagemaker-runtime`` (2017-05-13) in botocore.
"""

from __future__ import annotations

from typing import Any, ClassVar

import orjson
from starlette.routing import Route

from modelpack.server.faces import openapi_parts as parts
from modelpack.server.faces.catalog import Catalog
from modelpack.server.faces.dialects import Dialect, Fields
from modelpack.server.faces.event_stream import CONTENT_TYPE, EventStream
from modelpack.server.faces.face import JSON, Face
from modelpack.server.faces.invocations import (
    ERROR,
    FORMS,
    PATH,
    Ping,
    described,
    described_ping,
    message_of,
    wrap,
    write_error,
)
from modelpack.server.faces.scoring import Scoring
from modelpack.server.problems import Headers, Problem
from modelpack.server.web.calls import ApiRoute

ATTRIBUTES = b"x-amzn-sagemaker-custom-attributes"

STREAMED = "-response-stream"
"""End of the path at which boto3 asks for an answer piece by piece."""

PASSED_ON = (
    b"x-request-timeout-ms", b"modelpack-priority", b"modelpack-dtype", b"modelpack-shape",
)  # fmt: skip
"""Header fields of ours that may stand among the custom attributes."""


def passed_on(fields: Fields) -> Fields:
    """Return header fields with those of ours that stand among the custom attributes."""
    attributes = fields.get(ATTRIBUTES)
    if attributes is None:
        return fields
    found = {}
    for one in attributes.split(b";"):
        name, _, value = one.partition(b"=")
        name = name.strip().lower()
        if name in PASSED_ON and name not in fields:
            found[name] = value.strip()
    return {**fields, **found} if found else fields


def answered(fields: Fields) -> Headers:
    """Return the header lines of an answer: the custom attributes go back to who sent them."""
    attributes = fields.get(ATTRIBUTES)
    return () if attributes is None else ((ATTRIBUTES, attributes),)


def write_model_error(problem: Problem, _request_id: bytes) -> tuple[int, bytes, bytes, Headers]:
    """Write what the platform makes of a container's error (a ``WriteProblem``)."""
    message = message_of(problem)
    said: dict[str, Any] = {"Message": message}
    status, kind = 424, b"ModelError"
    if problem.status == 404:  # the platform knows no such endpoint
        status, kind = 400, b"ValidationError"
    elif problem.status == 503:
        status, kind = 503, b"ServiceUnavailable"
    else:
        said = {
            "Message": f"Received client error ({problem.status}) from model: {message}"
            if problem.status < 500
            else f"Received server error ({problem.status}) from model: {message}",
            "OriginalStatusCode": problem.status,
            "OriginalMessage": message,
        }
    return status, JSON, orjson.dumps(said), (*problem.headers, (b"x-amzn-errortype", kind))


def endpoint_name(model: str) -> str:
    """Return the name of a model as an endpoint has it: letters, digits and hyphens."""
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in model)
    return "-".join(part for part in plain.split("-") if part)


class SagemakerFace(Face):
    """The contract of SageMaker's hosting services."""

    name: ClassVar[str] = "sagemaker"
    prefixes: tuple[str, ...] = (PATH, "/ping", "/endpoints")

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        dialect = Dialect(FORMS, "params", wrap, headers=answered)
        scorings = [Scoring(PATH, catalog.default.endpoint, dialect, write_error, passed_on)]
        streams = []
        for model in catalog.models.values():
            path = f"/endpoints/{endpoint_name(model.name)}/invocations"
            asked = Scoring(path, model.endpoint, dialect, write_model_error, passed_on)
            scorings.append(asked)
            streamed = EventStream(ApiRoute(asked, catalog.settings.max_body_bytes))
            streams.append(Route(f"{path}{STREAMED}", streamed, methods=["POST"]))
        self.doors = scorings
        ping = Route("/ping", Ping(catalog, self.write_problem), methods=["GET"])
        self.routes = [ping, *streams]
        if catalog.guests is not None:
            from modelpack.server.faces.multi_routes import MODELS, ModelRoutes

            models = ModelRoutes(catalog, catalog.guests, dialect, write_error, passed_on)
            self.prefixes = (*self.prefixes, MODELS)
            self.routes = [ping, *streams, *models.routes]

    def write_problem(
        self, problem: Problem, request_id: bytes
    ) -> tuple[int, bytes, bytes, Headers]:
        """Say what went wrong as the scoring server of MLflow does."""
        return write_error(problem, request_id)

    def openapi(self) -> dict[str, Any]:
        """Return its path items."""
        items = {
            PATH: described(self.catalog.default, ERROR),
            "/ping": described_ping(ERROR),
        }
        error = parts.record({"Message": parts.TEXT}, {"OriginalStatusCode": parts.INTEGER})
        for model in self.catalog.models.values():
            item = described(model, error)
            responses = item["post"]["responses"]
            kept = {status: responses[status] for status in ("200", "400", "503")}
            refused = parts.said("The container refused it, or failed.", error)
            item["post"]["responses"] = {**kept, "424": refused}
            path = f"/endpoints/{endpoint_name(model.name)}/invocations"
            items[path] = item
            said: dict[str, Any] = {
                "description": "The answer, as an event stream.",
                "content": {CONTENT_TYPE.decode(): {"schema": {}}},
            }
            answers = {**item["post"]["responses"], "200": said}
            post = {**item["post"], "summary": "Predict, piece by piece", "responses": answers}
            items[f"{path}{STREAMED}"] = {"post": post}
        if self.catalog.guests is not None:
            from modelpack.server.faces.multi_routes import openapi

            items |= openapi(ERROR)
        return items
