"""Keeps several workers serving from one listening socket, and speaks for all of them.

    listening socket ──inherited──► worker, worker, …          (crew, handle, worker)
    admin socket, signals, swap, scale ──► Supervisor ──channel──► each worker

The supervisor serves nobody itself: it does not load the service, and what a request does cannot
harm it.  What always holds: a connection that nobody has accepted yet outlives any worker, because
the socket stays open here; a worker accepts only when it can serve, but for the first one, which
answers probes while it loads; a worker that cannot even start the first time ends the server.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from modelpack.config.settings import ServerSettings
from modelpack.errors import ConflictError, ModelpackError
from modelpack.frameworks.source import Source
from modelpack.server.faces.registry import spoken
from modelpack.server.http.listening import addresses, url_of
from modelpack.server.http.tls import context_for
from modelpack.server.life.admin import Managed
from modelpack.server.life.channel import Handler, Message, error_from
from modelpack.server.life.crew import Crew
from modelpack.server.life.handle import WorkerProcess, spawn
from modelpack.server.life.outside import Outside
from modelpack.server.life.shared import SharedRunners
from modelpack.server.life.stopping import EXIT_INTERRUPTED
from modelpack.server.life.switching import Switching
from modelpack.server.life.tally import Tally
from modelpack.server.observe.logs import event
from modelpack.server.observe.stats import Reading

_ALONE_AFTER_S = 0.2
"""A worker that was told to stop by itself: so long a group's signal may take to come here too."""

_LAST_WORDS_S = 1.0
"""How long after the grace period a worker may take to answer what is left."""


class Supervisor(Managed):
    """The main process of a server with several workers."""

    def __init__(
        self,
        settings: ServerSettings,
        listener: socket.socket,
        *,
        metrics: socket.socket | None,
        source: Source,
        tag: str,
        outside: Outside,
    ) -> None:
        """Raise UsageError when TLS files cannot be used."""
        is_tls = context_for(settings) is not None
        self.url = url_of(listener, is_tls=is_tls)
        self.facts = {**addresses(self.url, settings), "faces": spoken(settings)}
        self.settings = settings
        self.crew = Crew(
            settings.workers,
            spawn=self._spawn,
            handlers=self._handlers,
            on_gone=self._on_gone,
            on_failure=self._fail,
        )
        self.shared: SharedRunners | None = None
        """The runner processes, when methods run in some; all workers share them."""
        if settings.runner == "process":
            self.shared = SharedRunners(settings, self.crew.tell_all)
        self.switching = Switching(self, source, tag)
        self.outside = outside
        self._tally = Tally()
        self._listener = listener
        self._metrics = metrics
        self._on_ready: Callable[[str], None] | None = None
        self._fatal: ModelpackError | None = None
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    # The life of the whole.

    def stop(self) -> None:
        """Begin to end; asked for again, end without waiting.  Called on the event loop."""
        if self._stop.is_set():
            self._force.set()
        self.outside.stopping()
        self._stop.set()

    async def run(self, on_ready: Callable[[str], None] | None = None) -> int:
        """Serve to the end; returns 0, 1 when something had to be cut off, 130 when told twice.

        Raises what kept the first worker from starting.
        """
        self._on_ready = on_ready
        await self.outside.open(self)
        try:
            await self.crew.fill()
            if self.shared is not None:
                self.crew.keep(self._start_runners(self.shared))
            await self._stop.wait()
        finally:
            is_clean = await self._end()
            self.outside.close()
            os.close(self.crew.share)
        if self._fatal is not None:
            raise self._fatal
        event("stopped", clean=is_clean)
        if self._force.is_set():
            return EXIT_INTERRUPTED
        return 0 if is_clean else 1

    async def _start_runners(self, shared: SharedRunners) -> None:
        """Start the runners, or end: without them no worker becomes ready."""
        try:
            await shared.start(self.switching.version, self.switching.source)
        except ModelpackError as error:
            self._fail(error)

    def _fail(self, error: ModelpackError) -> None:
        """End: the service does not start."""
        self._fatal = self._fatal or error
        self._stop.set()

    async def _end(self) -> bool:
        """End every worker; returns False when one had to be cut off."""
        self._stop.set()
        self.crew.close()
        workers, was_ready = list(self.crew.workers), self.crew.ready
        for worker in workers:
            if worker.state == "starting":
                worker.process.kill()  # it serves nobody, and may be busy for long
            else:
                worker.channel.tell("drain")
        # The workers empty the queue of connections; the last one to close the socket must find it
        # so, and that must not be this process.
        self._listener.close()
        everybody = asyncio.gather(*(worker.until() for worker in workers))
        forced = asyncio.ensure_future(self._force.wait())
        limit_s = self.settings.grace_s + _LAST_WORDS_S
        await asyncio.wait(
            (everybody, forced), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
        )
        if self._force.is_set():
            self.crew.tell_all("force")
            await asyncio.wait((everybody,), timeout=_LAST_WORDS_S)
        forced.cancel()
        for worker in self.crew.workers:
            event("worker-killed", level=logging.ERROR, pid=worker.pid, reason="did not end")
            worker.process.kill()
        await everybody
        self.crew.forget()
        is_clean = await self.shared.close() if self.shared is not None else True
        return is_clean and all(worker.process.returncode == 0 for worker in was_ready)

    # What is said between it and the workers.

    async def _spawn(self, slot: int, listens: bool) -> WorkerProcess:
        return await spawn(
            slot,
            self.switching.version,
            settings=self.settings,
            source=self.switching.source,
            tag=self.switching.tag,
            listens=listens,
            listener=self._listener,
            metrics=self._metrics,
            share=self.crew.share,
        )

    def _handlers(self, worker: WorkerProcess) -> dict[str, Handler]:
        return {
            "ready": partial(self._on_worker_ready, worker),
            "failed": partial(self._on_worker_failed, worker),
            "leaving": lambda _: self.crew.keep(self._on_leaving(worker)),
            "counted": lambda message: self._tally.update(worker, message["readings"]),
            "reload": lambda _: self.swap(self.switching.source, ""),
            "gather": lambda _: self._tally.gather(self.crew.workers, self._readings()),
            **(self.shared.handlers() if self.shared is not None else {}),
        }

    def _readings(self) -> list[Reading]:
        return [self.shared.reading()] if self.shared is not None else []

    def _on_worker_ready(self, worker: WorkerProcess, message: Message) -> None:
        worker.service, worker.runner = message["service"], message["runner"]
        worker.become("ready")
        event("worker-ready", pid=worker.pid)
        if not self.crew.has_served and worker.accepts:
            self.crew.has_served = True
            self.tell_ready(worker.service)
            event("ready", **self.facts, service=worker.service, tag=self.switching.tag)
            if self._on_ready is not None:
                self._on_ready(self.url)
        if self.crew.has_served:
            self._admit()

    def _on_worker_failed(self, worker: WorkerProcess, message: Message) -> None:
        worker.error = error_from(message["error"])

    def _on_gone(self, worker: WorkerProcess) -> None:
        self._tally.retire(worker)

    async def _on_leaving(self, worker: WorkerProcess) -> None:
        """See whether the signal that a worker got was for all; else let another take its place."""
        await asyncio.sleep(_ALONE_AFTER_S)
        if not self._stop.is_set() and worker.state in ("starting", "ready"):
            await self.crew.renew(worker)

    def _admit(self) -> None:
        """Let everybody who can serve the current version accept connections."""
        for worker in self.crew.ready:
            if worker.version == self.switching.version and not worker.accepts:
                worker.accepts = True
                worker.channel.tell("accept")

    # What is managed from outside.

    @property
    def source(self) -> Source | None:
        """Where the service that is served came from."""
        return self.switching.source

    def tell_ready(self, service: str) -> None:
        """Let everybody outside know what is served."""
        self.outside.ready(self.url, service, self.switching.tag)

    async def status(self) -> dict[str, Any]:
        """Return what is served, where and by what."""
        ready = self.crew.ready
        state = "draining" if self._stop.is_set() else "ready" if ready else "starting"
        return {
            "state": state,
            "service": ready[0].service if ready else "",
            "tag": self.switching.tag,
            **self.facts,
            "pid": os.getpid(),
            "workers": [{"pid": one.pid, "state": one.state} for one in self.crew.workers],
            "replicas": self.settings.replicas,
            "runner": ready[0].runner if ready else None,
        }

    async def swap(self, source: Source, tag: str) -> None:
        """Serve another version from now on, all workers or none."""
        self._check_ready()
        await self.switching.swap(source, tag)

    async def scale(self, replicas: int) -> None:
        """Run the service that many times: in shared runners, or in every worker."""
        self._check_ready()
        await self.switching.scale(replicas)
        self.settings = replace(self.settings, replicas=replicas)

    async def set_workers(self, workers: int) -> None:
        """Have that many workers; returns when the new ones serve."""
        self._check_ready()
        async with self.switching.lock:
            self.crew.wanted = workers
            self.settings = replace(self.settings, workers=workers)
            for worker in self.crew.present[workers:]:
                self.crew.dismiss(worker)
            fresh = await self.crew.fill()
            await asyncio.gather(*(worker.until("ready") for worker in fresh))
        for worker in fresh:
            if worker.error is not None:
                raise worker.error

    def _check_ready(self) -> None:
        """Raise ConflictError unless requests are served."""
        if self._stop.is_set() or not self.crew.has_served:
            state = "draining" if self._stop.is_set() else "starting"
            raise ConflictError(f"the server is {state}", hint="try again later")
