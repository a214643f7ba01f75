"""From start to a clean end of one serving process.

    listen ─► answer probes ─► load, warm up ─► ready ─── SIGTERM ─► drain ─► shut-down hooks ─► 0
                                                  └── swap(source) ─► another version, nothing lost

What always holds: readiness is true only between the end of the warm-up and the first signal; every
request that was accepted before the signal is answered, also on connections that nobody had read
yet; the process ends within the grace period and two seconds, whatever the service does.

``versions`` has what answers, ``starting`` puts a process together, ``supervisor`` runs several.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from starlette.types import ASGIApp
from uvicorn.server import ServerState

from modelpack.config.settings import ServerSettings
from modelpack.frameworks.source import Source
from modelpack.sdk.service import ServiceSpec
from modelpack.server.endpoint import Endpoint
from modelpack.server.faces.registry import spoken
from modelpack.server.http.accepting import Acceptor
from modelpack.server.http.descriptors import Taken
from modelpack.server.http.drain import drain
from modelpack.server.http.front import Front
from modelpack.server.http.listening import addresses, url_of
from modelpack.server.http.protocol import FastProtocol, config_for
from modelpack.server.http.sharing import Share
from modelpack.server.http.tls import context_for
from modelpack.server.life.gathering import gather_here
from modelpack.server.life.kept_port import KeptPort
from modelpack.server.life.stopping import EXIT_INTERRUPTED
from modelpack.server.life.versions import Versions, settle
from modelpack.server.observe.load import Load, load_of
from modelpack.server.observe.logs import event, log_internal
from modelpack.server.observe.snapshot import Gather
from modelpack.server.observe.stats import Reading
from modelpack.server.runners.place import Place
from modelpack.server.web.app import metrics_app

if TYPE_CHECKING:
    from modelpack.server.grpc.server import GrpcServer
    from modelpack.server.http.connection import GuardedProtocol
    from modelpack.server.observe.payloads.log import PayloadLog
    from modelpack.server.runners.process.place import Runners
    from modelpack.server.tasks.engine import Tasks

TICK_S = 0.1
"""How often time-outs are looked for."""

LAST_PAYLOADS_S = 0.2
"""What the payload log has at least to send what is left, when the grace period is over."""

_TICKS_A_SECOND = 10

OnReady = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a process has beside its own settings, when it is one of several."""

    metrics_listener: socket.socket | None = None
    """Where metrics are asked for; None: on the same socket as everything else."""
    share: Share | None = None
    """How many connections the other processes have that accept from the same socket."""
    gather: Gather | None = None
    """Asks all processes for their metrics; None: there are no others."""
    is_one_of_several: bool = False
    """True: somebody else says when the server is ready."""
    runners: Callable[[Source | None], Runners | None] = lambda _: None
    """Gives the runner processes for a version; None: it starts its own, if it wants any."""


class Server:
    """One process's server: its connections, what answers them, its end."""

    def __init__(
        self,
        spec: ServiceSpec,
        settings: ServerSettings,
        listener: socket.socket,
        *,
        tag: str = "",
        source: Source | None = None,
        fast_lane: bool | None = None,
        around: Surroundings | None = None,
    ) -> None:
        """``source`` is how the service can be opened again, by other processes too.

        ``fast_lane`` None: as ``MODELPACK_FAST_LANE`` says, on unless that is ``0``.
        Raises UsageError when TLS files cannot be used.
        """
        if fast_lane is None:
            fast_lane = os.environ.get("MODELPACK_FAST_LANE", "1") != "0"
        around = around or Surroundings()
        self._settings = settings
        self._listener = listener
        self._around = around
        self._tls = context_for(settings)
        self._state = ServerState()
        self.front = Front(settings, self._state)
        self.versions = Versions(
            settings,
            self.front,
            self._state,
            fast_lane=fast_lane,
            gather=around.gather or gather_here(self.readings),
            runners=around.runners,
        )
        self.versions.tasks = self._tasks = self._make_tasks(spec.name)
        self.versions.payloads = self.payloads = self._make_payload_log()
        self.versions.begin(spec, tag, source)
        self._acceptor: Acceptor | None = None
        self._kept_port = KeptPort.from_env(
            self._open_own_door,
            lambda: self.versions.current.catalog.problem() is None,
            self._state.connections,
            self._load,
        )
        self._grpc = self._make_grpc()
        self._metrics_front = Front(settings, self._state)
        self._stop = asyncio.Event()
        self._force = asyncio.Event()
        self._hands_over = False

    def _make_payload_log(self) -> PayloadLog | None:
        if self._settings.payload_log_url is None:
            return None
        from modelpack.server.observe.payloads.log import open_log

        return open_log(self._settings)

    def _make_tasks(self, service: str) -> Tasks | None:
        if not self._settings.tasks:
            return None
        from modelpack.server.tasks.engine import Tasks

        versions = self.versions
        return Tasks(
            self._settings, service, lambda: versions.current.catalog, lambda: versions.replicas
        )

    @property
    def endpoints(self) -> list[Endpoint]:
        """The endpoints of every version that may still have calls."""
        return self.versions.endpoints

    @property
    def place(self) -> Place | None:
        """Where the service runs; None while it is not loaded."""
        return self.versions.place

    @property
    def state(self) -> str:
        """``starting``, ``ready`` or ``draining``."""
        if self.front.is_draining:
            return "draining"
        return "ready" if self.front.is_ready else "starting"

    @property
    def url(self) -> str:
        """Where it answers."""
        return url_of(self._listener, is_tls=self._tls is not None)

    @property
    def facts(self) -> dict[str, Any]:
        """Where it answers, by what is spoken there."""
        return {**addresses(self.url, self._settings), "faces": spoken(self._settings)}

    def readings(self) -> list[Reading]:
        """Return what the metrics show of this process."""
        acceptor = self._acceptor
        connections = None if acceptor is None else self._kept_port.added_to(acceptor.stats)
        tasks = None if self._tasks is None else self._tasks.stats
        payloads = None if self.payloads is None else self.payloads.stats
        own = replace(self.front.reading(), connections=connections, tasks=tasks, payloads=payloads)
        return [*self.versions.readings(), own]

    def _load(self) -> Load:
        stats = (endpoint.stats for endpoint in self.endpoints)
        tasks = None if self._tasks is None else self._tasks.stats
        connections = cast("set[GuardedProtocol]", self._state.connections)
        return load_of(stats, connections, others=len(self._state.tasks), tasks=tasks)

    def warn(self) -> None:
        """Let readiness be false and each answer the last of its connection; nothing ends yet."""
        self.front.is_draining = self._metrics_front.is_draining = True
        for connection in list(self._state.connections):
            connection.shutdown()

    def stop(self) -> None:
        """Begin to end.  Called on the event loop, like all of these."""
        self.warn()
        self._stop.set()

    def retire(self) -> None:
        """Begin to end while other processes go on accepting from the same socket."""
        self._hands_over = True
        self.stop()

    def force(self) -> None:
        """End without waiting for requests."""
        self.stop()
        self._force.set()

    def listen(self) -> None:
        """Accept connections from now on."""
        if self._acceptor is None:
            self._acceptor = self._open_own_door(self._listener, self._around.share)
            self._acceptor.start()
            self._join()
            if self._grpc is not None:
                self._grpc.left = self._left
                self._grpc.open()
                self.front.http2 = self._grpc.take

    async def run(self, on_ready: OnReady | None = None, *, is_quiet: bool = False) -> int:
        """Serve to the end; returns 0, 1 when something had to be cut off, 130 when told twice.

        ``is_quiet``: accept nobody until ``listen`` is called.
        """
        ticking = asyncio.ensure_future(self._tick())
        metrics = None
        if self.payloads is not None:
            self.payloads.open()
        try:
            if not is_quiet:
                self.listen()
            if self._around.metrics_listener is not None:
                metrics = self._open_door(
                    self._around.metrics_listener,
                    metrics_app(self.versions.metrics, self._metrics_front),
                    self._metrics_front,
                )
                metrics.start()
            if await self._start():
                self._open(on_ready)
                await self._stop.wait()
        finally:
            if metrics is not None:
                metrics.close()
            self._kept_port.leave()
            ends_at = monotonic() + self._grace_s
            calls = self._end_calls()
            is_clean = await self._drain()
            self._kept_port.close()
            is_clean = await calls and is_clean
            if self._tasks is not None:
                await self._tasks.close()
            ticking.cancel()
            gc.unfreeze()
        is_clean = await self.versions.close() and is_clean
        if self.payloads is not None:
            await self.payloads.close(max(LAST_PAYLOADS_S, ends_at - monotonic()), self._force)
        if not self._around.is_one_of_several:
            event("stopped", clean=is_clean)
        if self._force.is_set():
            return EXIT_INTERRUPTED
        return 0 if is_clean else 1

    async def _drain(self) -> bool:
        """Let the connections end; returns False when some had to be cut off."""
        if self._acceptor is None:
            return True
        return await drain(
            self._acceptor,
            self._state,
            self.endpoints,
            grace_s=self._grace_s,
            force=self._force,
            hands_over=self._hands_over,
            is_busy=self._is_busy,
            is_said=self.front.is_ready or self._stop.is_set(),
        )

    def _is_busy(self) -> bool:
        return self._kept_port.is_opening or (self._tasks is not None and self._tasks.is_busy)

    @property
    def _grace_s(self) -> float:
        return self._settings.grace_s if self.front.is_ready else 0.0

    def _make_grpc(self) -> GrpcServer | None:
        if self._settings.grpc_port is None:
            return None
        # Its library writes lines of its own beside the log, one for each handshake that fails.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from modelpack.server.grpc.server import GrpcServer

        return GrpcServer(self._settings, lambda: self.versions.current.catalog, self.front.ids)

    def _end_calls(self) -> asyncio.Future[bool]:
        """Begin to end the calls of gRPC; what comes back is False when some had to be cut off.

        The connections of HTTP are drained meanwhile, and the queues stay open for both.
        """
        if self._grpc is None:
            nothing = asyncio.get_running_loop().create_future()
            nothing.set_result(True)
            return nothing
        ending = asyncio.ensure_future(self._grpc.close(self._grace_s))
        if self._grace_s:  # else no call runs, and the drain would cut it off before it begins
            tasks: set[Any] = self._state.tasks
            tasks.add(ending)
            ending.add_done_callback(tasks.discard)
        return ending

    def _open_door(
        self, listener: socket.socket, app: ASGIApp, front: Front, share: Share | None = None
    ) -> Acceptor:
        """Return what accepts the connections of one socket; it is not started."""
        loop = asyncio.get_running_loop()
        acceptor = Acceptor(
            listener,
            partial(FastProtocol, config_for(app), self._state, {}, loop, front=front),
            loop,
            self._tls,
            self._settings.max_connections,
            connections=Taken(
                self._state.connections, lambda: self._grpc.relayed if self._grpc else 0
            ),
            handshake_timeout_s=self._settings.head_timeout_s,
            share=share,
        )
        front.left, front.is_full = acceptor.left, lambda: acceptor.is_full
        return acceptor

    def _open_own_door(self, listener: socket.socket, share: Share | None) -> Acceptor:
        acceptor = self._open_door(listener, self.versions.switch, self.front, share)
        self.front.left = self._left  # of all doors
        return acceptor

    def _left(self) -> None:
        if self._acceptor is not None:
            self._acceptor.left()
        self._kept_port.left()

    def _join(self) -> None:
        if self.front.is_ready and self._acceptor is not None:
            self._kept_port.join()

    async def _start(self) -> bool:
        """Load the service and warm it up; returns False when told to stop before."""
        if self._tasks is not None:
            await self._tasks.open()
        starting = asyncio.ensure_future(self.versions.load())
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not starting.done():
            starting.cancel()
            return False
        starting.result()
        return True

    def _open(self, on_ready: OnReady | None) -> None:
        """Take requests."""
        settle()
        self.front.is_ready = True
        self._join()
        now = self.versions.current
        if not self._around.is_one_of_several:
            event("ready", **self.facts, service=now.spec.name, tag=now.tag)
        if on_ready is not None:
            on_ready(self.url)

    async def _tick(self) -> None:
        """Keep the clock, and end what takes too long."""
        count = 0
        fronts = (self.front, self._metrics_front)
        while True:
            try:
                for front in fronts:
                    front.now = monotonic()
                for endpoint in self.endpoints:
                    endpoint.expire()
                if count % _TICKS_A_SECOND == 0:
                    for front in fronts:
                        front.refresh()
                # A tenth of them each time: ten thousand at once would hold everybody up.
                connections = list(self._state.connections)
                for connection in connections[count % _TICKS_A_SECOND :: _TICKS_A_SECOND]:
                    connection.sweep()  # type: ignore[union-attr]
            except Exception as error:
                log_internal(error)
            count += 1
            await asyncio.sleep(TICK_S)
