"""TorchServe's inference and describe routes, which Multi Model Server has too.

    GET      /ping                               {"status": "Healthy"}; 500 and Unhealthy else
    POST PUT /predictions/{m}[/{version}]        bytes, JSON or a form; see ``handled``
    POST PUT /explanations/{m}                   the same, for the api called ``explain``
    GET      /models, /models/{m}[/{v}|/all]     which models there are, and their workers
    OPTIONS  /                                   these routes as OpenAPI

``PUT`` is what ``curl -T`` sends.  What always holds: models are registered, scaled and removed by
modelpack itself and never here; with SageMaker's multi-model contract on, ``/models`` is that one's.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import orjson
from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from modelpack.server.bodies import forms
from modelpack.server.bodies.binary import DTYPE
from modelpack.server.bodies.media import NPY, is_json, media_type
from modelpack.server.bodies.readers import Read
from modelpack.server.door import Door
from modelpack.server.endpoint import Asked, Endpoint
from modelpack.server.faces import openapi_parts as parts
from modelpack.server.faces.catalog import Catalog, Served, unknown_model
from modelpack.server.faces.face import JSON, Face, error_text
from modelpack.server.faces.handled import Handled
from modelpack.server.problems import Headers, Problem, RefusedRequest
from modelpack.server.web.calls import ApiRoute
from modelpack.server.web.replies import Reply, json_reply

EXPLAIN = "explain"

MOST_LISTED = 100
"""Models of one page, unless ``limit`` says otherwise."""

_TYPES = {
    400: "BadRequestException",
    404: "ResourceNotFoundException",
    405: "MethodNotAllowedException",
    409: "ConflictStatusException",
    413: "RequestEntityTooLargeException",
    503: "ServiceUnavailableException",
}
"""What errors are called, by status; others are ``InternalServerException``."""

_TYPES_OF = {
    "unknown-model": "ModelNotFoundException",
    "unknown-version": "ModelVersionNotFoundException",
}

_NUMBER: dict[str, Any] = {"type": "string", "pattern": "^[0-9]{1,9}$"}
_ERROR = parts.record({"code": parts.INTEGER, "type": parts.TEXT, "message": parts.TEXT})


def write_problem(problem: Problem, _request_id: bytes) -> tuple[int, bytes, bytes, Headers]:
    """Write a problem as TorchServe does: its code, what kind it is, and a message."""
    server = "InternalServerException" if problem.status >= _SERVER else "BadRequestException"
    kind = _TYPES_OF.get(problem.code) or _TYPES.get(problem.status, server)
    body = {"code": problem.status, "type": kind, "message": error_text(problem)}
    return problem.status, JSON, orjson.dumps(body), problem.headers


_SERVER = 500


class TorchDoor(Door):
    """A way in for whatever a handler takes."""

    __slots__ = ()

    def __init__(self, path: str, endpoint: Endpoint) -> None:
        super().__init__(path, endpoint, write_problem)

    def asked(self, fields: Mapping[bytes, bytes]) -> Asked:
        """Return what a head asks for; raises RefusedRequest."""
        endpoint, header = self.endpoint, fields.get(b"content-type", b"")
        plain = {**fields, b"content-type": b"application/json"}
        asked = endpoint.asked(plain)
        kind = media_type(header)
        handled = Handled(endpoint, asked.write)
        if kind == NPY or DTYPE in fields:
            asked = endpoint.asked(fields)  # arrays as bytes, as at the api's own path
            read = asked.read
        else:
            reader = _reader(handled, kind, header)
            read = endpoint.reader.inflating(fields, lambda _: reader)
        return replace(asked, read=read, write_problem=write_problem)


def _reader(handled: Handled, kind: str, header: bytes) -> Read:
    if kind == "application/json" and is_json(header):
        return handled.read_json
    if kind == "multipart/form-data":
        boundary = forms.boundary_of(header)
        return lambda body: handled.read_parts(forms.parse_form(body, boundary))
    if kind == "application/x-www-form-urlencoded":
        return handled.read_fields
    return handled.read_bytes


class TorchServeFace(Face):
    """The contract of TorchServe's inference port, and the describe routes beside it."""

    name: ClassVar[str] = "torchserve"
    prefixes: tuple[str, ...] = ("/predictions", "/explanations")

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        self._describes = catalog.guests is None
        self.doors: list[Door] = list(self._doors())
        limit = catalog.settings.max_body_bytes
        self.routes: list[BaseRoute] = [
            Route("/ping", self._ping, methods=["GET"]),
            Route("/", self._options, methods=["OPTIONS"]),
            *(Route(door.path, ApiRoute(door, limit), methods=["PUT"]) for door in self.doors),
            Route("/predictions/{model}", self._missing, methods=["POST", "PUT"]),
            Route("/predictions/{model}/{version}", self._missing, methods=["POST", "PUT"]),
            Route("/explanations/{model}", self._missing, methods=["POST", "PUT"]),
        ]
        if self._describes:
            self.prefixes = (*self.prefixes, "/models")
            self.routes += [
                Route("/models", self._list, methods=["GET"]),
                Route("/models/{model}", self._describe, methods=["GET"]),
                Route("/models/{model}/{version}", self._describe, methods=["GET"]),
            ]

    def write_problem(
        self, problem: Problem, request_id: bytes
    ) -> tuple[int, bytes, bytes, Headers]:
        """Say what went wrong as TorchServe does."""
        return write_problem(problem, request_id)

    def _doors(self) -> Iterator[Door]:
        catalog = self.catalog
        for served in catalog.models.values():
            yield TorchDoor(f"/predictions/{served.name}", served.endpoint)
            for version in sorted({catalog.version, str(catalog.number)}):
                yield TorchDoor(f"/predictions/{served.name}/{version}", served.endpoint)
        explains = catalog.api(EXPLAIN)
        if explains is not None:
            yield TorchDoor(f"/explanations/{catalog.default.name}", explains.endpoint)

    async def _ping(self, _request: Request) -> Reply:
        """Say whether models can be asked."""
        problem = self.catalog.problem()
        if problem is None:
            return json_reply({"status": "Healthy"})
        return json_reply({"status": "Unhealthy"}, status=500)

    async def _options(self, _request: Request) -> Reply:
        """Describe the routes."""
        info = {"title": self.catalog.service, "version": self.catalog.version}
        return json_reply({"openapi": "3.1.0", "info": info, "paths": self.openapi()})

    async def _missing(self, request: Request) -> Reply:
        """Say what is not there."""
        detail = f"'{self._found(request).name}' has no api called 'explain'"
        raise RefusedRequest(Problem(501, "not-implemented", "not implemented", detail))

    async def _list(self, request: Request) -> Reply:
        """Name the models, a page at a time."""
        limit = _count(request, "limit", MOST_LISTED)
        begin = _count(request, "next_page_token", 0)
        names = list(self.catalog.models)
        page: dict[str, Any] = {
            "models": [
                {"modelName": name, "modelUrl": self.catalog.tag}
                for name in names[begin : begin + limit]
            ]
        }
        if begin + limit < len(names):
            page["nextPageToken"] = str(begin + limit)
        return json_reply(page)

    async def _describe(self, request: Request) -> Reply:
        """Describe a model."""
        return json_reply([self._description(self._found(request))])

    def _found(self, request: Request) -> Served:
        name, version = request.path_params["model"], request.path_params.get("version", "")
        if name not in self.catalog.models:
            raise RefusedRequest(unknown_model(name, tuple(self.catalog.models)))
        return self.catalog.model(name, "" if version == "all" else version)

    def _description(self, served: Served) -> dict[str, Any]:
        catalog, settings = self.catalog, self.catalog.settings
        batch, reading = served.api.batch, served.endpoint.reading()
        began = datetime.fromtimestamp(catalog.began, UTC)
        worker = {
            "id": str(os.getpid()),
            "startTime": began.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "status": "READY" if catalog.problem() is None else "UNLOADING",
            "memoryUsage": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "pid": os.getpid(),
            "gpu": False,
            "gpuUsage": "N/A",
        }
        return {
            "modelName": served.name,
            "modelVersion": catalog.version,
            "modelUrl": catalog.tag,
            "runtime": "python",
            "minWorkers": settings.replicas,
            "maxWorkers": settings.replicas,
            "batchSize": batch.max_batch_size if batch is not None else 1,
            "maxBatchDelay": int(batch.max_wait_ms or 0) if batch is not None else 0,
            "loadedAtStartup": True,
            "workers": [worker],
            "jobQueueStatus": {
                "remainingCapacity": max(0, settings.max_queue_rows - reading.waiting_rows),
                "pendingRequests": reading.waiting_rows,
            },
        }

    def openapi(self) -> dict[str, Any]:
        """Return the paths of all models."""
        status = parts.record({"status": parts.TEXT})
        healthy = {
            "200": parts.said("It takes requests.", status),
            "500": parts.said("It takes none now.", status),
        }
        document = {"200": parts.said("These paths.", parts.record({"paths": {}}))}
        items: dict[str, Any] = {
            "/": {"options": parts.operation("The routes", answers=document)},
            "/ping": {"get": parts.operation("Health", answers=healthy)},
        }
        if self._describes:
            items |= self._descriptions()
        by_endpoint = {one.endpoint: one for one in self.catalog.models.values()}
        for door in self.doors:
            operation = self._operation(by_endpoint[door.endpoint])
            items[door.path] = {"post": operation, "put": operation}
        return items

    def _descriptions(self) -> dict[str, Any]:
        """Return the paths that describe models."""
        models = parts.record({"models": parts.array(parts.record({}))})
        page = [
            parts.query_parameter("limit", "Most models of a page.", _NUMBER),
            parts.query_parameter("next_page_token", "Which page.", _NUMBER),
        ]
        listed = parts.operation(
            "Name the models", answers={"200": parts.said("A page of them.", models)},
            parameters=page, refused=(400,), error=_ERROR,
        )  # fmt: skip
        described = {"200": parts.said("The model.", parts.array(parts.record({})))}
        items: dict[str, Any] = {"/models": {"get": listed}}
        for name in self.catalog.models:
            for path in (f"/models/{name}", f"/models/{name}/all"):
                items[path] = {"get": parts.operation(f"Describe {name}", answers=described)}
        return items

    @staticmethod
    def _operation(served: Served) -> dict[str, Any]:
        api = served.api
        kind = api.returns.media_type if api.returns.is_file else "application/json"
        if api.is_stream:
            kind = "application/x-ndjson"
        example = None if api.is_stream else parts.example_whole(served)
        answer = parts.said("What the api returned.", {}, example=example, media_type=kind)
        answer["content"].setdefault("text/plain", {"schema": parts.TEXT})
        return parts.operation(
            f"Ask {served.name}",
            body=parts.bodies(parts.json_body({}, api.sample()), parts.any_body()),
            answers={"200": answer},
            refused=parts.INFERENCE,
            error=_ERROR,
        )


def _count(request: Request, name: str, default: int) -> int:
    """Return a whole number of the query; raises RefusedRequest (400)."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > _LONGEST or (name == "limit" and not int(text)):
        detail = f"{name}: expected a whole number, got '{text[:40]}'"
        raise RefusedRequest(Problem(400, "bad-request", "bad request", detail))
    return int(text)


_LONGEST = 9
