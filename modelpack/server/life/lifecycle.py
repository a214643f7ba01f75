"""From start to a clean end of the serving process.

    listen ─► answer probes ─► load, warm up ─► ready ─── SIGTERM ─► drain ─► shut-down hooks ─► 0

What always holds: the port is this process's own or ``PortInUseError``; readiness is true only
between the end of the warm-up and the first signal; every request that was accepted before the
signal is answered, also on connections that nobody had read yet; the process ends within the grace
period and two seconds, whatever the service does.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable
from functools import partial
from time import monotonic, time
from typing import Any

import orjson
import uvloop
from uvicorn.config import Config
from uvicorn.server import ServerState

from modelpack.config.settings import ServerSettings
from modelpack.sdk.openapi import openapi_document
from modelpack.sdk.service import ServiceSpec
from modelpack.server.endpoint import Endpoint
from modelpack.server.http.accepting import Acceptor
from modelpack.server.http.descriptors import raise_limit
from modelpack.server.http.drain import drain
from modelpack.server.http.front import Front
from modelpack.server.http.listening import listen_on, url_of
from modelpack.server.http.protocol import FastProtocol
from modelpack.server.http.tls import context_for
from modelpack.server.life.stopping import EXIT_INTERRUPTED, StopSignals
from modelpack.server.observe.logs import configured, event, log_internal
from modelpack.server.observe.metrics import Metrics
from modelpack.server.observe.snapshot import own
from modelpack.server.runners.place import Place, open_place
from modelpack.server.web.app import MetricsPage, make_app
from modelpack.server.web.pages import page_routes

TICK_S = 0.1
"""How often time-outs are looked for."""

_TICKS_A_SECOND = 10

OnReady = Callable[[str], None]


def serve(
    spec: ServiceSpec, settings: ServerSettings, *, tag: str, on_ready: OnReady | None
) -> int:
    """Serve until told to stop; see ``modelpack.server.run``."""
    # Its Linux wheel sends telemetry unless this is set before the import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    raise_limit()
    with (
        listen_on(settings.host, settings.port) as listener,
        configured(settings.log_format, settings.log_level),
        StopSignals(settings.grace_s) as signals,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        server = Server(spec, settings, listener, tag=tag)
        signals.call(runner.get_loop(), server.stop)
        return runner.run(server.run(on_ready))


class Server:
    """One process's server: its connections, its endpoints, its end."""

    def __init__(
        self,
        spec: ServiceSpec,
        settings: ServerSettings,
        listener: socket.socket,
        *,
        tag: str = "",
        fast_lane: bool | None = None,
    ) -> None:
        """``fast_lane`` None: as ``MODELPACK_FAST_LANE`` says, on unless that is ``0``."""
        if fast_lane is None:
            fast_lane = os.environ.get("MODELPACK_FAST_LANE", "1") != "0"
        self._spec = spec
        self._settings = settings
        self._listener = listener
        self._tag = tag
        self._fast_lane = fast_lane
        self._tls = context_for(settings)
        self._state = ServerState()
        self.front = Front(settings, self._state)
        self.endpoints = [Endpoint(api, settings) for api in spec.apis]
        self.place: Place | None = None
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    def stop(self) -> None:
        """Begin to end; asked for again, end without waiting.  Called on the event loop."""
        if self.front.is_draining:
            self._force.set()
        self.front.is_draining = True
        for connection in list(self._state.connections):
            connection.shutdown()
        self._stop.set()

    async def run(self, on_ready: OnReady | None = None) -> int:
        """Serve to the end; returns 0, 1 when something had to be cut off, 130 when told twice."""
        loop = asyncio.get_running_loop()
        protocol = partial(FastProtocol, self._config(), self._state, {}, loop, front=self.front)
        acceptor = Acceptor(
            self._listener,
            protocol,
            loop,
            self._tls,
            self._settings.max_connections,
            connections=self._state.connections,
            handshake_timeout_s=self._settings.head_timeout_s,
        )
        self.front.left = acceptor.left
        acceptor.start()
        ticking = asyncio.ensure_future(self._tick())
        try:
            self.place = await self._start()
            if self.place is not None:
                self._open(on_ready)
                await self._stop.wait()
        finally:
            grace_s = self._settings.grace_s if self.place is not None else 0.0
            is_clean = await drain(
                acceptor, self._state, self.endpoints, grace_s=grace_s, force=self._force
            )
            ticking.cancel()
            gc.unfreeze()
        if self.place is not None:
            is_clean = await self.place.close() and is_clean
        event("stopped", clean=is_clean)
        if self._force.is_set():
            return EXIT_INTERRUPTED
        return 0 if is_clean else 1

    async def _start(self) -> Place | None:
        """Return the place where the service runs, warm; None when told to stop before."""
        opening = open_place(self._spec, self.endpoints, self._settings, source=None)
        starting = asyncio.ensure_future(opening)
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not starting.done():
            starting.cancel()
            return None
        return starting.result()

    def _open(self, on_ready: OnReady | None) -> None:
        """Take requests."""
        # What is there now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        if self._fast_lane:
            self.front.fast = {e.api.route.encode(): e for e in self.endpoints if e.is_fast}
        self.front.is_ready = True
        url = url_of(self._listener, is_tls=self._tls is not None)
        event("ready", url=url, service=self._spec.name, tag=self._tag)
        if on_ready is not None:
            on_ready(url)

    async def _tick(self) -> None:
        """Keep the clock, and end what takes too long."""
        count = 0
        while True:
            try:
                self.front.now = monotonic()
                for endpoint in self.endpoints:
                    endpoint.expire()
                if count % _TICKS_A_SECOND == 0:
                    self.front.refresh(time())
                    for connection in list(self._state.connections):
                        connection.sweep()  # type: ignore[union-attr]
            except Exception as error:
                log_internal(error)
            count += 1
            await asyncio.sleep(TICK_S)

    def _config(self) -> Config:
        version = self._tag.partition(":")[2] or "0"
        document = orjson.dumps(openapi_document(self._spec, version))
        metrics = Metrics(service=self._spec.name, tag=self._tag)
        page = MetricsPage(metrics, own(self._readings))
        pages = page_routes(self._settings.host, document)
        config = Config(
            make_app(self.endpoints, self.front, page, pages),
            http=FastProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        config.load()
        return config

    def _readings(self) -> list[Any]:
        readings = [endpoint.reading() for endpoint in self.endpoints]
        return [*readings, self.front.reading()]
