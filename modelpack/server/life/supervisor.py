"""Keeps several workers serving from one listening socket, and speaks for all of them.

    listening socket ──inherited──► worker, worker, …          (handle, worker)
    admin socket, signals, swap, scale ──► Supervisor ──channel──► each worker
    a worker dies ──► back-off ──► another one

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
from time import monotonic
from typing import Any

from modelpack.config.settings import ServerSettings
from modelpack.errors import ConflictError, ModelpackError, UserCodeError
from modelpack.frameworks.source import Source
from modelpack.server.http.listening import url_of
from modelpack.server.http.sharing import Share
from modelpack.server.http.tls import context_for
from modelpack.server.life.admin import Managed
from modelpack.server.life.channel import Handler, Message, error_from
from modelpack.server.life.handle import WorkerProcess, spawn
from modelpack.server.life.outside import Outside
from modelpack.server.life.shared import SharedRunners
from modelpack.server.life.stopping import EXIT_INTERRUPTED
from modelpack.server.life.switching import Switching
from modelpack.server.life.tally import Tally
from modelpack.server.observe.logs import event, log_internal
from modelpack.server.observe.stats import Reading

MAX_WORKERS = 256

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
        self.settings = settings
        self.workers: list[WorkerProcess] = []
        self.tally = Tally()
        self.outside = outside
        self.switching = Switching(self, source, tag)
        self.shared = SharedRunners(settings, self._tell_all) if _shares(settings) else None
        self._listener = listener
        self._metrics = metrics
        self._share = Share.create(MAX_WORKERS)
        self._back_off = BackOff()
        self._wanted = settings.workers
        self._on_ready: Callable[[str], None] | None = None
        self._is_open = False
        self._fatal: ModelpackError | None = None
        self._tasks: set[asyncio.Future[Any]] = set()
        self._stop = asyncio.Event()
        self._force = asyncio.Event()
        self._filling = asyncio.Lock()

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
            for number in range(self._wanted):
                await self.start_worker(listens=number == 0)
            if self.shared is not None:
                self.keep(self._start_runners(self.shared))
            await self._stop.wait()
        finally:
            is_clean = await self._end()
            self.outside.close()
            os.close(self._share)
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
            self._fatal = self._fatal or error
            self._stop.set()

    async def _end(self) -> bool:
        """End every worker; returns False when one had to be cut off."""
        self._stop.set()
        workers = list(self.workers)
        was_ready = [worker for worker in workers if worker.state == "ready"]
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
            for worker in workers:
                worker.channel.tell("force")
            await asyncio.wait((everybody,), timeout=_LAST_WORDS_S)
        forced.cancel()
        for worker in workers:
            if worker.state != "gone":
                event("worker-killed", level=logging.ERROR, pid=worker.pid, reason="did not end")
                worker.process.kill()
        await everybody
        for task in list(self._tasks):
            task.cancel()
        is_clean = await self.shared.close() if self.shared is not None else True
        return is_clean and all(worker.process.returncode == 0 for worker in was_ready)

    # The life of one worker.

    async def start_worker(self, *, listens: bool = False) -> WorkerProcess:
        """Start one more; raises OSError."""
        taken = {worker.slot for worker in self.workers}
        worker = await spawn(
            next(slot for slot in range(MAX_WORKERS) if slot not in taken),
            self.switching.version,
            settings=self.settings,
            source=self.switching.source,
            tag=self.switching.tag,
            listens=listens,
            listener=self._listener,
            metrics=self._metrics,
            share=self._share,
        )
        self.workers.append(worker)
        self.keep(self._watch(worker))
        return worker

    def keep(self, work: Any) -> None:
        """Let something run beside, and hear of it when it fails."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log_internal(error)

    async def _watch(self, worker: WorkerProcess) -> None:
        """Listen to a worker until it is gone, and start another one if it should be there."""
        await worker.channel.serve(self._handlers(worker))
        status = await worker.reap()
        was = worker.state
        worker.become("gone")
        self.workers.remove(worker)
        self.tally.retire(worker)
        Share(self._share, worker.slot).leave()
        if was == "ending" or self._stop.is_set():
            return
        if not self._is_open:
            self._give_up(worker, status)
            return
        lived_s = monotonic() - worker.began
        event("worker-lost", level=logging.ERROR, pid=worker.pid, status=status, was=was)
        if worker.error is not None:
            event("not-made", level=logging.ERROR, error=worker.error.message)
        await asyncio.sleep(self._back_off.next_delay_s(lived_s if was == "ready" else 0.0))
        await self._fill()

    async def _fill(self) -> list[WorkerProcess]:
        """Start as many workers as are missing; returns them."""
        fresh = []
        async with self._filling:
            while not self._stop.is_set() and len(self.present) < self._wanted:
                # While nobody serves, somebody has to say so.
                listens = not any(one.accepts for one in self.present)
                fresh.append(await self.start_worker(listens=listens))
        return fresh

    def _give_up(self, worker: WorkerProcess, status: int) -> None:
        """End: the service does not start."""
        if self._fatal is None:
            self._fatal = worker.error or UserCodeError(
                f"a worker ended as it started, with status {status}",
                hint="see what it wrote; --workers 1 starts the service in this process",
            )
        self._stop.set()

    def _handlers(self, worker: WorkerProcess) -> dict[str, Handler]:
        return {
            "ready": partial(self._on_worker_ready, worker),
            "failed": partial(self._on_failed, worker),
            "leaving": lambda _: self.keep(self._on_leaving(worker)),
            "counted": lambda message: self.tally.update(worker, message["readings"]),
            "gather": lambda _: self.tally.gather(self.workers, self._readings()),
            **(self.shared.handlers() if self.shared is not None else {}),
        }

    def _readings(self) -> list[Reading]:
        return [self.shared.reading()] if self.shared is not None else []

    def _tell_all(self, kind: str, /, **fields: object) -> None:
        for worker in self.workers:
            worker.channel.tell(kind, **fields)

    def _on_worker_ready(self, worker: WorkerProcess, message: Message) -> None:
        worker.service, worker.runner = message["service"], message["runner"]
        worker.become("ready")
        event("worker-ready", pid=worker.pid)
        if not self._is_open and worker.accepts:
            self._is_open = True
            self.tell_ready(worker.service)
            event("ready", url=self.url, service=worker.service, tag=self.switching.tag)
            if self._on_ready is not None:
                self._on_ready(self.url)
        if self._is_open:
            self._admit()

    def _on_failed(self, worker: WorkerProcess, message: Message) -> None:
        worker.error = error_from(message["error"])

    def _admit(self) -> None:
        """Let everybody who can serve accept connections."""
        for worker in self.workers:
            is_current = worker.version == self.switching.version
            if worker.state == "ready" and is_current and not worker.accepts:
                worker.accepts = True
                worker.channel.tell("accept")

    async def _on_leaving(self, worker: WorkerProcess) -> None:
        """See whether the signal that a worker got was for all; else let another take its place."""
        await asyncio.sleep(_ALONE_AFTER_S)
        if not self._stop.is_set() and worker.state in ("starting", "ready"):
            await self.renew(worker)

    async def renew(self, worker: WorkerProcess) -> None:
        """Start another worker, and let the one end when that is ready."""
        if worker.state == "starting":
            worker.become("ending")  # nobody has come to it yet
            worker.process.kill()
        else:
            fresh = await self.start_worker()
            await fresh.until("ready")
            self.dismiss(worker)
        await self._fill()

    def dismiss(self, worker: WorkerProcess) -> None:
        """Let a worker finish what it has, and go."""
        if worker.state in ("starting", "ready"):
            worker.become("ending")
            worker.channel.tell("retire")

    # What is managed from outside.

    @property
    def present(self) -> list[WorkerProcess]:
        """Those that serve or are about to."""
        return [worker for worker in self.workers if worker.state in ("starting", "ready")]

    @property
    def source(self) -> Source | None:
        """Where the service that is served came from."""
        return self.switching.source

    def tell_ready(self, service: str) -> None:
        """Let everybody outside know what is served."""
        self.outside.ready(self.url, service, self.switching.tag)

    async def status(self) -> dict[str, Any]:
        """Return what is served, where and by what."""
        ready = [worker for worker in self.workers if worker.state == "ready"]
        state = "draining" if self._stop.is_set() else "ready" if ready else "starting"
        return {
            "state": state,
            "service": ready[0].service if ready else "",
            "tag": self.switching.tag,
            "url": self.url,
            "pid": os.getpid(),
            "workers": [{"pid": one.pid, "state": one.state} for one in self.workers],
            "replicas": self.settings.replicas,
            "runner": ready[0].runner if ready else None,
        }

    async def swap(self, source: Source, tag: str) -> None:
        """Serve another version from now on, all workers or none."""
        self.check_ready()
        await self.switching.swap(source, tag)

    async def scale(self, replicas: int) -> None:
        """Run the service that many times in every worker."""
        self.check_ready()
        await self.switching.scale(replicas)
        self.settings = replace(self.settings, replicas=replicas)

    async def set_workers(self, workers: int) -> None:
        """Have that many workers; returns when the new ones serve."""
        self.check_ready()
        async with self.switching.lock:
            self._wanted = workers
            self.settings = replace(self.settings, workers=workers)
            surplus = self.present[workers:]
            for worker in surplus:
                self.dismiss(worker)
            fresh = await self._fill()
            await asyncio.gather(*(worker.until("ready") for worker in fresh))
        for worker in fresh:
            if worker.error is not None:
                raise worker.error

    def check_ready(self) -> None:
        """Raise ConflictError unless requests are served."""
        if self._stop.is_set() or not self._is_open:
            state = "draining" if self._stop.is_set() else "starting"
            raise ConflictError(f"the server is {state}", hint="try again later")


def _shares(settings: ServerSettings) -> bool:
    """Say whether the workers share runner processes."""
    return settings.runner == "process"


class BackOff:
    """How long to wait before a worker is replaced: at first not at all, then ever longer."""

    FIRST_S = 0.25
    LONGEST_S = 30.0
    STABLE_AFTER_S = 10.0
    """A worker that lived so long starts the back-off anew."""

    def __init__(self) -> None:
        self._losses = 0

    def next_delay_s(self, lived_s: float) -> float:
        """Note a loss and return the wait in seconds."""
        if lived_s >= self.STABLE_AFTER_S:
            self._losses = 0
        self._losses += 1
        if self._losses == 1:
            return 0.0
        return min(self.FIRST_S * 2.0 ** min(self._losses - 2, 20), self.LONGEST_S)
