"""One version of the service as this process serves it: its endpoints, its pages, where it runs.

    ServiceSpec ──Generation──► load ──► current: takes the requests ──retire──► gone
                                  └──► discard, when it is not wanted after all

A server has one that takes requests.  While a version is swapped there is a second one that loads,
or one that finishes the calls it has.  What always holds: a call is answered by the generation that
read its head, and a generation is closed when no call of it is left, or when its time is over.
"""

from __future__ import annotations

import asyncio
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from modelpack.config.settings import ServerSettings
from modelpack.frameworks.source import Source
from modelpack.sdk.service import ServiceSpec
from modelpack.server.door import Door
from modelpack.server.endpoint import Endpoint, HttpCall
from modelpack.server.faces.catalog import Catalog
from modelpack.server.faces.document import document_of
from modelpack.server.faces.registry import open_faces
from modelpack.server.http.front import Front
from modelpack.server.observe.logs import event
from modelpack.server.observe.metrics import Metrics
from modelpack.server.observe.processes import Processes
from modelpack.server.observe.snapshot import Gather
from modelpack.server.observe.stats import ApiStats, Reading
from modelpack.server.observe.watching import Watching
from modelpack.server.runners.place import Place
from modelpack.server.web.app import MetricsPage, make_app
from modelpack.server.web.mounts import Mounts
from modelpack.server.web.pages import page_routes
from modelpack.server.web.ready import Ready

if TYPE_CHECKING:
    from modelpack.server.faces.face import Face
    from modelpack.server.faces.multi_model import Guests
    from modelpack.server.tasks.engine import Tasks

_STEP_S = 0.01


class Switch:
    """The application that connections know: the one of the current generation."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on to whoever answers at this moment."""
        await self.app(scope, receive, send)


class Generation:
    """One version of the service with its endpoints."""

    _names = count()

    def __init__(
        self,
        spec: ServiceSpec,
        settings: ServerSettings,
        front: Front,
        *,
        tag: str,
        number: int,
        source: Source | None,
        watching: Watching,
        gather: Gather,
        processes: Processes,
        tasks: Tasks | None = None,
        guests: Guests | None = None,
    ) -> None:
        """``gather`` asks all parts of the server for its metrics, not this version alone.

        ``number`` counts the versions that this process has had, from 1; ``tasks`` and ``guests``
        are those of the process, None: it takes none.
        """
        self.name = str(next(self._names))
        """Tells it from the others of this process."""
        self.spec = spec
        self.tag = tag
        self.source = source
        self.endpoints = [Endpoint(api, settings, watching) for api in spec.apis]
        ready = Ready(front, self.endpoints)
        self.catalog = Catalog(
            spec,
            self.endpoints,
            ready,
            settings,
            tag=tag,
            number=number,
            gather=gather,
            guests=guests,
        )
        """What it serves, as other contracts name it."""
        self._name_payloads()
        self.faces = open_faces(self.catalog, self._own_faces(tasks))
        """The other contracts that are spoken."""
        self.place: Place | None = None
        """Where it runs, once it is loaded."""
        metrics = Metrics(service=spec.name, tag=tag, processes=processes)
        self.metrics = MetricsPage(metrics, gather)
        version = tag.partition(":")[2] or "0"
        pages = page_routes(
            settings.host,
            lambda: orjson.dumps(document_of(spec, self.faces, settings, version=version)),
            home=self.faces.home,
        )
        here = self.metrics if settings.metrics_port is None else None
        self.mounts = Mounts(spec.mounts, settings.host)
        """Other applications of the service's author."""
        own = [Door(endpoint.api.route, endpoint) for endpoint in self.endpoints]
        own = [door for door in own if door.path not in self.faces.claimed]
        self._doors = [*own, *self.faces.doors]
        routes = [*pages, *self.faces.routes]
        self.app: ASGIApp = make_app(
            self._doors, front, ready, here, pages=routes, mounted=self.mounts.routes
        )

    def _own_faces(self, tasks: Tasks | None) -> list[Face]:
        if tasks is None:
            return []
        from modelpack.server.tasks.face import TasksFace

        return [TasksFace(self.catalog, tasks, self.spec)]

    def _name_payloads(self) -> None:
        """Let events of the payload log say what they are of."""
        for model in self.catalog.models.values():
            if model.endpoint.payloads is not None:
                model.endpoint.payloads.name(self.spec.name, model.name, self.catalog.version)

    @property
    def fast_routes(self) -> dict[bytes, Door]:
        """Doors of the fast lane, by raw path."""
        return {door.path.encode(): door for door in self._doors if door.endpoint.is_fast}

    def readings(self) -> list[Reading]:
        """Return the state of every api, and of what they run in."""
        readings = [endpoint.reading() for endpoint in self.endpoints]
        if self.place is not None:
            readings.append(Reading(ApiStats(""), None, 0, runners=self.place.stats))
        return readings

    async def finish(self, state: ServerState, limit_s: float) -> bool:
        """Return once no call is left, or after ``limit_s``; False: some were still there."""
        tasks = set(state.tasks)  # the application may be busy with any of these
        end = monotonic() + limit_s
        while self._is_busy(state, tasks):
            if monotonic() >= end:
                for task in tasks:
                    task.cancel()
                event("cut-off", tag=self.tag, tasks=len([t for t in tasks if not t.done()]))
                return False
            await asyncio.sleep(_STEP_S)
        return True

    def close(self) -> None:
        """Answer 503 to what is left; may be called again."""
        for endpoint in self.endpoints:
            endpoint.close()

    async def end(self) -> bool:
        """End what is mounted and where it runs; returns False when a shut-down hook failed."""
        is_clean = await self.mounts.stop()
        if self.place is not None:
            is_clean = await self.place.close() and is_clean
        return is_clean

    def _is_busy(self, state: ServerState, tasks: set[asyncio.Task[Any]]) -> bool:
        """Say whether a call of this generation waits, runs, or is still being read."""
        own = set(self.endpoints)
        if any(endpoint.stats.in_flight for endpoint in own) or any(not t.done() for t in tasks):
            return True
        cycles: list[object] = [getattr(one, "cycle", None) for one in state.connections]
        return any(
            isinstance(cycle, HttpCall) and cycle.endpoint in own and not cycle.response_complete  # type: ignore[attr-defined]
            for cycle in cycles
        )
