"""What the protocol answers besides inference: one function for each page.

    GET  /v2                                        name, version, extensions
    GET  /v2/health/live, /v2/health/ready          by the status; the body is for people
    GET  /v2/models                                 names (KServe)
    GET  /v2/models/{model}                         inputs and outputs; also below /versions/{version}
    GET  /v2/models/{model}/ready, /config, /stats
    GET  /v2/models/stats                           of all models
    POST /v2/repository/index                       all models with their state
    POST /v2/repository/models/{model}/load         the same source again, where that is allowed
    POST /v2/repository/models/{model}/unload       always refused: a service is one thing

The metadata, statistics and repository are those of the Open Inference Protocol and of Triton's
extensions ``statistics``, ``model_configuration`` and ``model_repository``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope, Send

from modelpack.errors import ConflictError, ModelpackError
from modelpack.server.bodies.codecs import parse
from modelpack.server.faces.catalog import Catalog, Served
from modelpack.server.faces.oip.describe import configuration, metadata
from modelpack.server.faces.statistics import statistics
from modelpack.server.problems import Problem, RefusedRequest, problem_from
from modelpack.server.web.incoming import ClientLeft, read_body
from modelpack.server.web.replies import Reply, fields_of, json_reply
from modelpack.version import __version__

EXTENSIONS = (
    "binary_tensor_data", "classification", "generate", "model_configuration", "model_repository",
    "parameters", "schedule_policy", "statistics",
)  # fmt: skip
"""Triton's extensions that are answered here."""

MAX_BODY_BYTES = 64 * 1024
"""Longest body of a request that is no inference."""

PLATFORM = "modelpack_python"


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to a page."""

    scope: Scope
    receive: Receive

    @property
    def model(self) -> str:
        """The model in the path."""
        return str(self.scope["path_params"]["model"])

    @property
    def version(self) -> str:
        """The version in the path; "": none."""
        return str(self.scope["path_params"].get("version", ""))

    async def body(self, most: int = MAX_BODY_BYTES) -> Any:
        """Return the parsed body, ``{}`` when there is none; raises RefusedRequest."""
        text = await read_body(self.receive, most)
        if not text.strip():
            return {}
        try:
            found = parse(text)
        except Exception as error:
            raise RefusedRequest(problem_from(error)) from error
        if not isinstance(found, dict):
            raise RefusedRequest(refusal("the body must be an object"))
        return found


Answer = Callable[[Ask], Awaitable[Reply]]


class Page:
    """The ASGI application around one such function; what that refuses the server says."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; raises RefusedRequest."""
        try:
            reply = await self._answer(Ask(scope, receive))
        except ClientLeft:
            return
        await reply(scope, receive, send)


def refusal(detail: str, status: int = 400) -> Problem:
    """Return the problem of a request that is understood and not done."""
    if status == 403:
        return Problem(403, "not-allowed", "not allowed", detail)
    return Problem(status, "bad-request", "bad request", detail)


class Pages:
    """The pages of one version of the service."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def _model(self, ask: Ask) -> Served:
        return self._catalog.model(ask.model, ask.version)

    async def server(self, _ask: Ask) -> Reply:
        """Name, version and extensions of the server."""
        return json_reply(
            {"name": "modelpack", "version": __version__, "extensions": list(EXTENSIONS)}
        )

    async def live(self, _ask: Ask) -> Reply:
        """The process answers."""
        return json_reply({"live": True})

    async def ready(self, _ask: Ask) -> Reply:
        """The service takes requests, or 503."""
        return self._readiness({"live": True})

    async def model_ready(self, ask: Ask) -> Reply:
        """One model takes requests, or 503."""
        return self._readiness({"name": self._model(ask).name})

    def _readiness(self, facts: dict[str, Any]) -> Reply:
        problem = self._catalog.problem()
        reply = json_reply({**facts, "ready": problem is None}, status=200 if not problem else 503)
        if problem is None:
            return reply
        return Reply(503, reply.content_type, reply.body, problem.headers)

    async def models(self, _ask: Ask) -> Reply:
        """The names of all models."""
        return json_reply({"models": list(self._catalog.models)})

    async def model(self, ask: Ask) -> Reply:
        """Inputs and outputs of a model."""
        return json_reply(metadata(self._model(ask), self._catalog.version, PLATFORM))

    async def config(self, ask: Ask) -> Reply:
        """A model as Triton's configuration has it."""
        return json_reply(configuration(self._model(ask), self._catalog.settings, PLATFORM))

    async def stats(self, ask: Ask) -> Reply:
        """The counts of a model."""
        return await self._stats([self._model(ask)])

    async def all_stats(self, _ask: Ask) -> Reply:
        """The counts of all models."""
        return await self._stats(list(self._catalog.models.values()))

    async def _stats(self, models: list[Served]) -> Reply:
        return json_reply({"model_stats": await statistics(self._catalog, models)})

    async def index(self, ask: Ask) -> Reply:
        """All models with their state; ``{"ready": true}``: only those that take requests."""
        wants_ready = (await ask.body()).get("ready", False)
        if not isinstance(wants_ready, bool):
            raise RefusedRequest(refusal("ready must be true or false"))
        problem = self._catalog.problem()
        state = {"state": "READY", "reason": ""}
        if problem is not None:
            state = {"state": "UNAVAILABLE", "reason": problem.detail or problem.title}
        version = self._catalog.version
        names = list(self._catalog.models) if problem is None or not wants_ready else []
        return json_reply([{"name": name, "version": version, **state} for name in names])

    async def load(self, ask: Ask) -> Reply:
        """Load the service again from where it came, and answer once it serves."""
        parameters = (await self._control(ask)).get("parameters") or {}
        if not isinstance(parameters, dict):
            raise RefusedRequest(refusal("parameters must be an object"))
        if given := [name for name in parameters if name == "config" or name.startswith("file:")]:
            detail = f"the parameter '{given[0][:60]}' is not taken: files come from the service"
            raise RefusedRequest(refusal(f"{detail} that was built or is served"))
        try:
            await self._catalog.reload()
        except ModelpackError as error:
            raise RefusedRequest(_not_loaded(error)) from error
        return json_reply({})

    async def unload(self, ask: Ask) -> Reply:
        """Say why not: all models of a service live and end together."""
        await self._control(ask)
        detail = "the models of a service are one process: to take them away, stop the server"
        raise RefusedRequest(refusal(detail))

    async def _control(self, ask: Ask) -> Any:
        """Return the body of a request that changes what is served; raises RefusedRequest."""
        fields = fields_of(ask.scope)
        if not self._catalog.settings.repository_control:
            detail = "models are loaded only where the server was started with "
            raise RefusedRequest(refusal(f"{detail}MODELPACK_REPOSITORY_CONTROL=true", 403))
        if b"origin" in fields:  # a page in some browser (threat model S13)
            raise RefusedRequest(refusal("models are not loaded for web pages", 403))
        self._model(ask)
        return await ask.body()


def _not_loaded(error: ModelpackError) -> Problem:
    if isinstance(error, ConflictError):
        return Problem(409, "not-loaded", "the service was not loaded", error.message)
    return Problem(400, "not-loaded", "the service was not loaded", error.message)
