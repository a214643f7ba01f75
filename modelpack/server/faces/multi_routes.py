"""The routes of SageMaker's multi-model endpoints; ``multi_model`` says what they mean.

request ──► ModelRoutes ──load, unload──► Guests
POST /models/NAME/invoke ──► the door of that model's api ──► ``ApiRoute``
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from modelpack.errors import InputError, ModelpackError
from modelpack.server.bodies.codecs import parse
from modelpack.server.faces import openapi_parts as parts
from modelpack.server.faces.catalog import Catalog
from modelpack.server.faces.dialects import Dialect
from modelpack.server.faces.multi_model import (
    Guest,
    Guests,
    LoadedAlreadyError,
    NoMemoryError,
    NoModelError,
    described,
)
from modelpack.server.faces.scoring import Scoring, Wishes
from modelpack.server.observe.logs import log_internal
from modelpack.server.problems import (
    BadJson,
    Problem,
    RefusedRequest,
    WriteProblem,
    problem_from,
)
from modelpack.server.web.calls import ApiRoute
from modelpack.server.web.incoming import ClientLeft, read_body
from modelpack.server.web.replies import Reply, json_reply, problem_reply

MODELS, MODEL, INVOKE = "/models", "/models/{model}", "/models/{model}/invoke"

_MAX_BODY = 64 * 1024


class ModelRoutes:
    """Answers the routes of one server's guests."""

    def __init__(
        self,
        catalog: Catalog,
        guests: Guests,
        dialect: Dialect,
        write: WriteProblem,
        wishes: Wishes,
    ) -> None:
        self._guests = guests
        self._dialect = dialect
        self._write = write
        self._wishes = wishes
        self._limit = catalog.settings.max_body_bytes
        self._wait_s = catalog.settings.request_timeout_s
        self.routes = [
            Route(MODELS, self._said(self._load), methods=["POST"]),
            Route(MODELS, self._said(self._list), methods=["GET"]),
            Route(MODEL, self._said(self._show), methods=["GET"]),
            Route(MODEL, self._said(self._unload), methods=["DELETE"]),
            Route(INVOKE, _Plain(self._invoke), methods=["POST"]),
        ]

    def _said(self, answer: Any) -> ASGIApp:
        """Return an application that sends what ``answer(scope, receive)`` returns."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                reply: Reply = await answer(scope, receive)
            except ClientLeft:
                return
            except RefusedRequest as refused:
                reply = problem_reply(refused.problem, scope, self._write)
            await reply(scope, receive, send)

        return _Plain(app)

    async def _load(self, _scope: Scope, receive: Receive) -> Reply:
        name, url = _asked_for(await read_body(receive, _MAX_BODY))
        try:
            guest = await self._guests.load(name, url)
        except LoadedAlreadyError as error:
            raise RefusedRequest(
                Problem(409, "already-loaded", "already loaded", str(error))
            ) from None
        except NoMemoryError as error:
            raise RefusedRequest(Problem(507, "no-memory", "no memory", str(error))) from None
        except NoModelError as error:
            raise RefusedRequest(
                Problem(400, "not-loaded", "the model was not loaded", str(error))
            ) from None
        except ModelpackError as error:
            log_internal(error)
            detail = error.message
            raise RefusedRequest(
                Problem(500, "not-loaded", "the model was not loaded", detail)
            ) from error
        return json_reply(described(guest))

    async def _list(self, scope: Scope, _receive: Receive) -> Reply:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        guests, token = self._guests.page(query.get("next_page_token", [""])[0])
        listed: dict[str, Any] = {"models": [described(one) for one in guests]}
        if token is not None:
            listed["nextPageToken"] = token
        return json_reply(listed)

    async def _show(self, scope: Scope, _receive: Receive) -> Reply:
        return json_reply(described(self._guest(scope)))

    async def _unload(self, scope: Scope, _receive: Receive) -> Reply:
        named = described(self._guest(scope))
        await self._guests.unload(named["modelName"], self._wait_s)
        return json_reply(named)

    async def _invoke(self, scope: Scope, receive: Receive, send: Send) -> None:
        guest = self._guests.get(scope["path_params"]["model"])
        if guest is None:
            problem = _unknown(scope["path_params"]["model"])
            await problem_reply(problem, scope, self._write)(scope, receive, send)
            return
        if guest.door is None:
            guest.door = self._door(guest)
        await guest.door(scope, receive, send)

    def _guest(self, scope: Scope) -> Guest:
        name = scope["path_params"]["model"]
        guest = self._guests.get(name)
        if guest is None:
            raise RefusedRequest(_unknown(name))
        return guest

    def _door(self, guest: Guest) -> ASGIApp:
        path = f"{MODELS}/{guest.name}/invoke"
        door = Scoring(path, guest.default, self._dialect, self._write, self._wishes)
        door.face = "sagemaker"
        return ApiRoute(door, self._limit)


class _Plain:
    """Lets Starlette take a function for an ASGI application, and not for a view."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _asked_for(body: bytes) -> tuple[str, str]:
    """Return name and folder of the model to load; raises RefusedRequest (400)."""
    try:
        raw = parse(body)
        if not isinstance(raw, dict):
            raise InputError.at("", "an object with model_name and url", "something else")
        for key in ("model_name", "url"):
            if not isinstance(raw.get(key), str) or not 0 < len(raw[key]) <= 1024:
                raise InputError.at(
                    f"/{key}", "a text", "none" if key not in raw else "another value"
                )
    except (BadJson, InputError) as error:
        raise RefusedRequest(problem_from(error)) from None
    return raw["model_name"], raw["url"]


def _unknown(name: str) -> Problem:
    return Problem(404, "unknown-model", "unknown model", f"no model '{name[:100]}' is loaded")


def openapi(error: parts.Schema) -> dict[str, Any]:
    """Return the path items of the routes."""
    one = parts.record({"modelName": parts.TEXT, "modelUrl": parts.TEXT})
    listed = parts.record({"models": parts.array(one)}, {"nextPageToken": parts.TEXT})
    asked = parts.record({"model_name": parts.TEXT, "url": parts.TEXT})
    named = [parts.path_parameter("model", "Name of the model.")]
    token = parts.query_parameter("next_page_token", "Token of the page.")
    said = parts.said

    def operation(what: str, answer: parts.Schema, *refused: int, **more: Any) -> dict[str, Any]:
        answers = {"200": said("Done.", answer)}
        return parts.operation(what, answers=answers, refused=refused, error=error, **more)

    body = parts.json_body(asked)
    return {
        MODELS: {
            "post": operation("Load a model", one, 400, 409, 413, 500, 507, body=body),
            "get": operation("List the models", listed, parameters=[token]),
        },
        MODEL: {
            "get": operation("Show a model", one, 404, parameters=named),
            "delete": operation("Unload a model", one, 404, parameters=named),
        },
        INVOKE: {
            "post": operation(
                "Predict", {}, 404, *parts.INFERENCE, parameters=named, body=parts.json_body({})
            )
        },
    }
