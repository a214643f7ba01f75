"""KServe v1: ``instances`` in, ``predictions`` out (KServe, data plane v1 protocol).

    GET  /                           {"status": "alive"}; the page for who asks for text/html
    GET  /v1/models                  {"models": [names]}
    GET  /v1/models/{m}              {"name", "ready"}; 503 while it takes no requests
    POST /v1/models/{m}:predict      {"instances": […]} ──► {"predictions": […]}
    POST /v1/models/{m}:explain      the api called ``explain`` ──► {"explanations": […]}

A request that is a CloudEvent is answered with one (``events``).  Where TensorFlow Serving is spoken
too, the status has the fields of both, and one door reads what both send (``v1``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from modelpack.server.door import Door
from modelpack.server.faces import openapi_parts as parts
from modelpack.server.faces.catalog import Catalog, Served, unknown_model
from modelpack.server.faces.face import Face
from modelpack.server.faces.tfserving import no_servable, status_of
from modelpack.server.faces.v1 import EXPLAIN, PREDICT, Shared, is_stream
from modelpack.server.problems import Problem, RefusedRequest, not_found
from modelpack.server.web.pages import VARY
from modelpack.server.web.replies import Reply, json_reply

_ALIVE = parts.record({"status": parts.TEXT})


class KServeFace(Face):
    """The contract of KServe's first protocol."""

    name: ClassVar[str] = "kserve"
    prefixes = ("/v1/models",)
    home = replace(json_reply({"status": "alive"}), headers=(VARY,))

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        self._shared = Shared(catalog)
        self._explains = catalog.api(EXPLAIN)
        self.doors: list[Door] = list(self._doors())
        self.routes: list[BaseRoute] = [
            Route("/v1/models", self._list, methods=["GET"]),
            Route("/v1/models/{model}", self._ready, methods=["GET"]),
            Route("/v1/models/{model}:{verb}", self._refuse, methods=["POST"]),
        ]

    def _doors(self) -> Any:
        for served in self.catalog.models.values():
            if not served.api.is_stream:
                path = f"/v1/models/{served.name}:{PREDICT}"
                yield self._shared.door(path, served, PREDICT)
        explains = self._explains
        if explains is not None and not explains.api.is_stream:
            path = f"/v1/models/{self.catalog.default.name}:{EXPLAIN}"
            yield self._shared.door(path, explains, EXPLAIN)

    async def _list(self, _request: Request) -> Reply:
        """Name the models."""
        return json_reply({"models": list(self.catalog.models)})

    async def _ready(self, request: Request) -> Any:
        """Say whether a model takes requests."""
        name = request.path_params["model"]
        served = self.catalog.models.get(name)
        if served is None:
            if ":" in name:
                raise HTTPException(405, headers={"Allow": "POST"})
            raise RefusedRequest(self._unknown(name))
        problem = self.catalog.problem()
        body: dict[str, Any] = {"name": name, "ready": problem is None}
        if self._shared.has_tensors:
            body |= status_of(self.catalog)
        elif problem is not None:
            raise RefusedRequest(problem)
        if problem is None:
            return json_reply(body)
        plain = json_reply(body, status=problem.status)
        return Reply(plain.status, plain.content_type, plain.body, problem.headers)

    async def _refuse(self, request: Request) -> Reply:
        """Say why nothing answers to a verb of a model."""
        name, verb = request.path_params["model"], request.path_params["verb"]
        raise RefusedRequest(self._refusal(name, verb, request))

    def _refusal(self, name: str, verb: str, request: Request) -> Problem:
        served = self.catalog.models.get(name)
        if served is None:
            return self._unknown(name)
        if verb == PREDICT:
            return is_stream(served)
        if verb == EXPLAIN:
            detail = f"'{name}' has no api called 'explain'"
            return Problem(501, "not-implemented", "not implemented", detail)
        return not_found(request.url.path)

    def _unknown(self, name: str) -> Problem:
        if self._shared.has_tensors:
            return no_servable(name)
        return unknown_model(name, tuple(self.catalog.models))

    def openapi(self) -> dict[str, Any]:
        """Return the paths of all models."""
        models = parts.record({"models": parts.array(parts.TEXT)})
        alive = parts.said("It lives; a page for who asks for text/html.", _ALIVE)
        alive["content"]["text/html"] = {"schema": parts.TEXT}
        items: dict[str, Any] = {
            "/": {"get": parts.operation("Is it alive?", answers={"200": alive})},
            "/v1/models": {"get": parts.operation("Name the models", answers=_ok(models))},
        }
        ready = parts.record({"name": parts.TEXT, "ready": parts.BOOLEAN})
        for served in self.catalog.models.values():
            items[f"/v1/models/{served.name}"] = {
                "get": parts.operation(
                    f"Is {served.name} ready?", answers=_ok(ready), refused=(503,)
                )
            }
        for door in self.doors:
            items[door.path] = {"post": self._described(door)}
        return items

    def _described(self, door: Door) -> dict[str, Any]:
        served = next(one for one in self.catalog.models.values() if one.endpoint is door.endpoint)
        key = "explanations" if door.path.endswith(EXPLAIN) else "predictions"
        return describe(served, key, f"Ask {served.name} about instances")


def describe(served: Served, key: str, summary: str) -> dict[str, Any]:
    """Return the operation of a door that takes instances; ``key`` is that of the answer."""
    body = parts.record({"instances": parts.array(parts.ANYTHING)})
    example = {"instances": parts.example_rows(served)}
    return parts.operation(
        summary,
        body=parts.json_body(body, example),
        answers=_ok(
            parts.record({key: parts.ANYTHING}),
            parts.within(key, parts.example_predictions(served)),
        ),
        refused=parts.INFERENCE,
    )


def _ok(schema: dict[str, Any], example: Any = None) -> dict[str, Any]:
    return {"200": parts.said("The answer.", schema, example=example)}
