"""Seldon Core v1: messages in and out (SeldonMessage, ``prediction.proto`` in its JSON form).

    POST /api/v1.0/predictions    and /api/v0.1/predictions; see ``messages``
    POST /api/v1.0/feedback       and /api/v0.1/feedback: counted and logged
    GET  /api/v1.0/metadata[/{model}]
    GET  /health/ping, /health/status, /api/v1.0/health/status, /seldon.json

A message says nothing of models: it goes to the service's default api.  ``/predict`` stays the api's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import orjson
from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from modelpack.errors import InputError
from modelpack.server.bodies.media import is_json, media_type
from modelpack.server.door import Door
from modelpack.server.endpoint import Asked
from modelpack.server.faces import openapi_parts as parts
from modelpack.server.faces.catalog import Catalog, Served, unknown_model
from modelpack.server.faces.face import JSON, Face, error_text
from modelpack.server.faces.messages import Messages, check_feedback
from modelpack.server.faces.v1 import is_stream
from modelpack.server.observe.logs import event
from modelpack.server.problems import (
    BadJson,
    Headers,
    Problem,
    RefusedRequest,
    problem_from,
    unsupported_media_type,
)
from modelpack.server.web.incoming import ClientLeft, read_body
from modelpack.server.web.replies import REQUEST_ID, Reply, json_reply, problem_reply

_HEALTH = ("/health/ping", "/health/status", "/api/v1.0/health/status")
_VERSIONS = ("v1.0", "v0.1")
_READ = frozenset({"", "application/json", "application/x-www-form-urlencoded", "text/plain"})
_ERROR = parts.record({"status": parts.record({"code": parts.INTEGER, "info": parts.TEXT})})


def write_problem(problem: Problem, _request_id: bytes) -> tuple[int, bytes, bytes, Headers]:
    """Write a problem as a message with nothing but its status."""
    reason = "MICROSERVICE_BAD_DATA" if problem.status < _SERVER else "MICROSERVICE_INTERNAL_ERROR"
    status = {"code": -1, "info": error_text(problem), "reason": reason, "status": "FAILURE"}
    return problem.status, JSON, orjson.dumps({"status": status}), problem.headers


_SERVER = 500


class SeldonDoor(Door):
    """A way in for messages."""

    __slots__ = ("_messages",)

    def __init__(self, path: str, served: Served, tag: str) -> None:
        super().__init__(path, served.endpoint, write_problem)
        self._messages = Messages(served, tag)

    def asked(self, fields: Mapping[bytes, bytes]) -> Asked:
        """Return what a head asks for; raises RefusedRequest."""
        _check_type(fields)
        as_json = {**fields, b"content-type": b"application/json"}
        read = self.endpoint.reader.inflating(as_json, lambda _: self._messages.read)
        asked = self.endpoint.asked(as_json)
        return replace(asked, read=read, write_problem=write_problem)


class SeldonFace(Face):
    """The contract of Seldon's first protocol."""

    name: ClassVar[str] = "seldon"
    prefixes = ("/api/v1.0", "/api/v0.1")

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        default = catalog.default
        paths = [f"/api/{version}" for version in _VERSIONS]
        if default.api.is_stream:
            answers = [
                Route(f"{path}/predictions", self._refuse, methods=["POST"]) for path in paths
            ]
        else:
            answers = []
            self.doors = [SeldonDoor(f"{path}/predictions", default, catalog.tag) for path in paths]
        self.routes: list[BaseRoute] = [
            *answers,
            *(Route(f"{path}/feedback", self._feedback, methods=["POST"]) for path in paths),
            *(Route(path, self._health, methods=["GET"]) for path in _HEALTH),
            Route("/api/v1.0/metadata", self._graph, methods=["GET"]),
            Route("/api/v1.0/metadata/{model}", self._metadata, methods=["GET"]),
            Route("/seldon.json", self._document, methods=["GET"]),
        ]

    def write_problem(
        self, problem: Problem, request_id: bytes
    ) -> tuple[int, bytes, bytes, Headers]:
        """Say what went wrong as Seldon does."""
        return write_problem(problem, request_id)

    async def _refuse(self, request: Request) -> Reply:
        return problem_reply(is_stream(self.catalog.default), request.scope, write_problem)

    async def _feedback(self, request: Request) -> Any:
        """Take what was made of an answer: counted and logged, and nothing learns from it."""
        try:
            fields = dict(request.scope["headers"])
            _check_type(fields)
            body = await read_body(request.receive, self.catalog.settings.max_body_bytes)
            reward = check_feedback(body)
        except ClientLeft:
            return _nobody
        except (RefusedRequest, InputError, BadJson) as error:
            return problem_reply(problem_from(error), request.scope, write_problem)
        request_id = request.scope[REQUEST_ID].decode("latin-1")
        self.catalog.default.endpoint.stats.add_feedback(reward)
        event("feedback", service=self.catalog.service, reward=reward, request_id=request_id)
        return json_reply({"meta": {"puid": request_id}})

    async def _health(self, request: Request) -> Reply:
        """Say whether messages are taken."""
        problem = self.catalog.problem()
        if problem is not None:
            return problem_reply(problem, request.scope, write_problem)
        return json_reply({"status": "ok"})

    async def _graph(self, _request: Request) -> Reply:
        """Describe the service as a graph of one model."""
        default = self.catalog.default
        model = self._description(default)
        ports = {"graphinputs": model["inputs"], "graphoutputs": model["outputs"]}
        return json_reply({"name": self.catalog.service, "models": {default.name: model}, **ports})

    async def _metadata(self, request: Request) -> Reply:
        """Describe a model."""
        name = request.path_params["model"]
        served = self.catalog.models.get(name)
        if served is None:
            problem = unknown_model(name, tuple(self.catalog.models))
            return problem_reply(problem, request.scope, write_problem)
        return json_reply(self._description(served))

    def _description(self, served: Served) -> dict[str, Any]:
        return {
            "name": served.name,
            "versions": [self.catalog.version],
            "platform": "modelpack",
            "inputs": [_port(port) for port in served.inputs],
            "outputs": [_port(port) for port in served.outputs.declared],
        }

    async def _document(self, _request: Request) -> Reply:
        """Describe the routes."""
        info = {"title": self.catalog.service, "version": self.catalog.version}
        return json_reply({"openapi": "3.1.0", "info": info, "paths": self.openapi()})

    def openapi(self) -> dict[str, Any]:
        """Return the paths that messages come in at."""
        message = parts.record({}, {"data": {}, "jsonData": {}, "strData": {}, "binData": {}})
        health = {"200": parts.said("It takes messages.", parts.record({"status": parts.TEXT}))}
        items: dict[str, Any] = {
            path: {"get": parts.operation("Health", answers=health, refused=(503,), error=_ERROR)}
            for path in _HEALTH
        }
        described = {"200": parts.said("What there is.", parts.record({}))}
        known = ["/seldon.json", "/api/v1.0/metadata"]
        known += [f"/api/v1.0/metadata/{name}" for name in self.catalog.models]
        for path in known:
            items[path] = {"get": parts.operation("Describe", answers=described)}
        feedback = parts.operation(
            "Take feedback",
            body=parts.json_body(parts.record({}, {"reward": parts.NUMBER}), {"reward": 1.0}),
            answers={"200": parts.said("It was taken.", parts.record({"meta": {}}))},
            refused=(400, 413, 415),
            error=_ERROR,
        )
        items |= {f"/api/{version}/feedback": {"post": feedback} for version in _VERSIONS}
        example = {"jsonData": self.catalog.default.api.sample()}
        answer = Messages(self.catalog.default, self.catalog.tag).example()
        for door in self.doors:
            items[door.path] = {
                "post": parts.operation(
                    "Answer a message",
                    body=parts.json_body(message, example),
                    answers={"200": parts.said("The answer.", message, example=answer)},
                    refused=parts.INFERENCE,
                    error=_ERROR,
                )
            }
        return items


def _check_type(fields: Mapping[bytes, bytes]) -> None:
    header = fields.get(b"content-type", b"")
    kind = media_type(header)
    if kind not in _READ or (kind == "application/json" and not is_json(header)):
        got = f"'{header.decode('latin-1')}'"
        raise RefusedRequest(unsupported_media_type(got, ["application/json"]))


def _port(port: Any) -> dict[str, Any]:
    return {"name": port.name, "datatype": port.datatype, "shape": list(port.shape)}


async def _nobody(_scope: Any, _receive: Any, _send: Any) -> None:
    """Answer nothing: the client has left."""
