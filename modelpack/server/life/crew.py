"""The workers of a supervisor: as many as there should be, whatever becomes of them.

    fill() ──► start ──► watch ──► gone ──► back-off ──► fill()
    renew(worker)       another one is ready before this one finishes what it has, and goes
    dismiss(worker)     it finishes what it has, and goes

One that ends before any has served is not replaced: what it says is passed on, once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Any

from modelpack.errors import ModelpackError, UserCodeError
from modelpack.server.http.sharing import Share
from modelpack.server.life.channel import Handler
from modelpack.server.life.handle import WorkerProcess
from modelpack.server.life.init import MORE_MEMORY, why_killed
from modelpack.server.observe.logs import event, log_internal

MAX_WORKERS = 256

Spawn = Callable[[int, bool], Awaitable[WorkerProcess]]
"""Starts a worker in a slot; it accepts from the start, or when it is told to."""


class Crew:
    """Starts workers, watches them, and replaces them."""

    def __init__(
        self,
        wanted: int,
        *,
        spawn: Spawn,
        handlers: Callable[[WorkerProcess], Mapping[str, Handler]],
        on_gone: Callable[[WorkerProcess], None],
        on_failure: Callable[[ModelpackError], None],
    ) -> None:
        """``on_failure`` gets why a worker ended before any has served."""
        self.wanted = wanted
        self.workers: list[WorkerProcess] = []
        """All that are not gone."""
        self.has_served = False
        """True once a worker was ready and accepted connections."""
        self.share = Share.create(MAX_WORKERS)
        """Descriptor of the memory in which they say how many connections they have."""
        self._spawn = spawn
        self._handlers = handlers
        self._on_gone = on_gone
        self._on_failure = on_failure
        self._back_off = BackOff()
        self._filling = asyncio.Lock()
        self._is_closed = False
        self._tasks: set[asyncio.Future[Any]] = set()

    @property
    def present(self) -> list[WorkerProcess]:
        """Those that serve or are about to."""
        return [worker for worker in self.workers if worker.state in ("starting", "ready")]

    @property
    def ready(self) -> list[WorkerProcess]:
        """Those that serve."""
        return [worker for worker in self.workers if worker.state == "ready"]

    async def fill(self) -> list[WorkerProcess]:
        """Start as many workers as are missing; returns them.  Raises OSError."""
        fresh = []
        async with self._filling:
            while not self._is_closed and len(self.present) < self.wanted:
                # While nobody serves, somebody has to say so.
                listens = not any(one.accepts for one in self.present)
                fresh.append(await self._start(listens=listens))
        return fresh

    async def renew(self, worker: WorkerProcess) -> None:
        """Start another worker, and let the one end when that is ready."""
        if worker.state == "starting":
            worker.become("ending")  # nobody has come to it yet
            worker.process.kill()
        elif not self._is_closed:
            fresh = await self._start()
            await fresh.until("ready")
            self.dismiss(worker)
        await self.fill()

    def dismiss(self, worker: WorkerProcess) -> None:
        """Let a worker finish what it has, and go."""
        if worker.state in ("starting", "ready"):
            worker.become("ending")
            worker.channel.tell("retire")

    def tell_all(self, kind: str, /, **fields: object) -> None:
        """Send a message to every worker."""
        for worker in self.workers:
            worker.channel.tell(kind, **fields)

    def keep(self, work: Awaitable[Any]) -> None:
        """Let something run beside, and log it when it fails."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def close(self) -> None:
        """Start nobody any more."""
        self._is_closed = True

    def forget(self) -> None:
        """Give up what runs beside; everybody is gone."""
        for task in list(self._tasks):
            task.cancel()

    async def _start(self, *, listens: bool = False) -> WorkerProcess:
        taken = {worker.slot for worker in self.workers}
        slot = next(number for number in range(MAX_WORKERS) if number not in taken)
        worker = await self._spawn(slot, listens)
        self.workers.append(worker)
        self.keep(self._watch(worker))
        return worker

    async def _watch(self, worker: WorkerProcess) -> None:
        """Listen to a worker until it is gone, and start another one if it should be there."""
        await worker.channel.serve(self._handlers(worker))
        status = await worker.reap()
        was = worker.state
        worker.become("gone")
        self.workers.remove(worker)
        Share(self.share, worker.slot).leave()
        self._on_gone(worker)
        if was == "ending" or self._is_closed:
            return
        if not self.has_served:
            self._on_failure(worker.error or _ended(status))
            return
        why = {"reason": reason} if (reason := why_killed(-status)) else {}
        event("worker-lost", level=logging.ERROR, pid=worker.pid, status=status, was=was, **why)
        if worker.error is not None:
            event("not-made", level=logging.ERROR, error=worker.error.message)
        lived_s = monotonic() - worker.began if was == "ready" else 0.0
        await asyncio.sleep(self._back_off.next_delay_s(lived_s))
        await self.fill()

    def _done(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log_internal(error)


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


def _ended(status: int) -> UserCodeError:
    if why := why_killed(-status):
        return UserCodeError(f"a worker was killed as it started: {why}", hint=MORE_MEMORY)
    return UserCodeError(
        f"a worker ended as it started, with status {status}",
        hint="see what it wrote; --workers 1 starts the service in this process",
    )
