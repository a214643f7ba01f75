"""Where the paths of the protocol lead.

    /v2/models/{model}[/versions/{version}]/infer ──► InferDoor, one for each model and version
    …/generate ──► GenerateDoor        …/generate_stream, …/infer_stream ──► Streamed
    everything else ──► Pages

An api that streams has no door: its answers are no single ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from starlette.routing import BaseRoute, Route

from modelpack.sdk.api import Arguments
from modelpack.server.bodies.simd import is_numeric
from modelpack.server.door import Door
from modelpack.server.faces.catalog import Catalog, Served
from modelpack.server.faces.face import Face
from modelpack.server.faces.oip.document import paths
from modelpack.server.faces.oip.generate import GenerateDoor, Prompts
from modelpack.server.faces.oip.infer import InferDoor, Reader, header_length
from modelpack.server.faces.oip.pages import Answer, Ask, Page, Pages, refusal
from modelpack.server.faces.oip.plan import Planner
from modelpack.server.faces.oip.stream import Streamed
from modelpack.server.faces.oip.write import AnswerWriter
from modelpack.server.observe.payloads.recorded import Recorded
from modelpack.server.problems import RefusedRequest
from modelpack.server.web.replies import Reply

_MODEL = "/v2/models/{model}"
_VERSION = "/versions/{version}"


class OipFace(Face):
    """The Open Inference Protocol, with Triton's extensions."""

    name: ClassVar[str] = "oip"
    prefixes = ("/v2",)

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        self._pages = Pages(catalog)
        doors: list[Door] = []
        streams: list[BaseRoute] = []
        for served in catalog.models.values():
            reader = Reader(served.endpoint, Planner(served, AnswerWriter(served, catalog.version)))
            prompts = Prompts(served, catalog.version)
            for path in self.paths_of(served):
                doors += self._doors(served, path, reader, prompts)
                streams += self._streams(served, path, reader, prompts)
        self.doors = doors
        self.routes = [*streams, *self._page_routes()]

    def paths_of(self, served: Served) -> list[str]:
        """Return the beginnings of the paths of a model: without a version, and with each."""
        base = f"/v2/models/{served.name}"
        versions = dict.fromkeys((self.catalog.version, str(self.catalog.number)))
        return [base, *(f"{base}/versions/{version}" for version in versions)]

    def _doors(self, served: Served, path: str, reader: Reader, prompts: Prompts) -> list[Door]:
        endpoint, settings = served.endpoint, self.catalog.settings
        if endpoint.api.is_stream:
            return []
        infer = InferDoor(
            f"{path}/infer",
            endpoint,
            self.write_problem,
            reader,
            may_pack=settings.accept_encoding,
            is_quick=all(is_numeric(one.value) for one in endpoint.api.parameters),
        )
        return [infer, GenerateDoor(f"{path}/generate", endpoint, self.write_problem, prompts)]

    def _streams(
        self, served: Served, path: str, reader: Reader, prompts: Prompts
    ) -> list[BaseRoute]:
        endpoint = served.endpoint

        def read_tensors(fields: Mapping[bytes, bytes], body: bytes) -> Arguments:
            header = header_length(fields)
            inflate = endpoint.reader.inflating(fields, lambda _: lambda b: reader.read(header, b))
            return inflate(body)

        def read_text(fields: Mapping[bytes, bytes], body: bytes) -> Arguments:
            return endpoint.reader.inflating(fields, lambda _: prompts.arguments)(body)

        def streamed(end: str, read: Any, *, as_events: bool) -> Route:
            most = self.catalog.settings.max_body_bytes
            app = Streamed(
                endpoint, read, self.write_problem, max_body_bytes=most, as_events=as_events
            )
            return Route(f"{path}/{end}", Recorded(app, endpoint, self.name), methods=["POST"])

        routes: list[BaseRoute] = [
            streamed("generate_stream", read_text, as_events=True),
            streamed("infer_stream", read_tensors, as_events=True),
        ]
        if endpoint.api.is_stream:
            routes.append(streamed("generate", read_text, as_events=False))
        return routes

    def _page_routes(self) -> list[BaseRoute]:
        pages = self._pages
        get: dict[str, Answer] = {
            "/v2": pages.server,
            "/v2/": pages.server,
            "/v2/health/live": pages.live,
            "/v2/health/ready": pages.ready,
            "/v2/models": pages.models,
            "/v2/models/stats": pages.all_stats,
        }
        for end, answer in (
            ("", pages.model),
            ("/ready", pages.model_ready),
            ("/config", pages.config),
            ("/stats", pages.stats),
        ):
            get[_MODEL + end] = get[_MODEL + _VERSION + end] = answer
        post: dict[str, Answer] = {
            "/v2/repository/index": pages.index,
            "/v2/repository/models/{model}/load": pages.load,
            "/v2/repository/models/{model}/unload": pages.unload,
        }
        for end in ("infer", "generate", "generate_stream", "infer_stream"):
            # Those of models that there are come before.
            post[f"{_MODEL}/{end}"] = post[f"{_MODEL}{_VERSION}/{end}"] = self._unknown
        return [
            *(self._route(path, answer, "GET") for path, answer in get.items()),
            *(self._route(path, answer, "POST") for path, answer in post.items()),
        ]

    async def _unknown(self, ask: Ask) -> Reply:
        served = self.catalog.model(ask.model, ask.version)
        if served.api.is_stream:
            detail = f"'{served.name}' streams: ask for infer_stream or generate_stream"
            raise RefusedRequest(refusal(detail))
        raise RefusedRequest(refusal(f"'{ask.model[:100]}' has no such call", 404))

    def _route(self, path: str, answer: Answer, method: str) -> Route:
        return Route(path, Page(answer), methods=[method])

    def openapi(self) -> dict[str, Any]:
        """Return the paths of all models and of the server."""
        return paths(self.catalog)
