"""The replicas of a service in this process.

    LocalPlace ──1..n──► Replica ── a runner of each api ──► the api's Batcher or Crowd
         └── open_stream ──► the replica with the fewest streams

A replica is an instance of its own with threads of its own, so as many batches of an api run at once
as there are replicas.  A replica that is no longer wanted gets no more calls and ends once it has
answered those that it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any

from modelpack.config.settings import ServerSettings
from modelpack.sdk.api import ApiSpec
from modelpack.sdk.service import ServiceSpec
from modelpack.server.batching.batcher import Batcher
from modelpack.server.batching.crowd import Crowd
from modelpack.server.endpoint import Endpoint
from modelpack.server.observe.stats import RunnerStats
from modelpack.server.runners.choice import Verdict, judge
from modelpack.server.runners.hooks import end_instance
from modelpack.server.runners.methods import PlainStream
from modelpack.server.runners.replica import Replica, open_replica
from modelpack.server.runners.threads import Worker

__all__ = ["LocalPlace", "Replica"]

_STEP_S = 0.01
_LAST_CALLS_S = 1.0


class LocalPlace:
    """Runs the service's methods in this process; see ``Place``."""

    def __init__(
        self, spec: ServiceSpec, endpoints: Sequence[Endpoint], settings: ServerSettings
    ) -> None:
        """Nothing runs before ``load`` and ``bind``."""
        self._spec = spec
        self._endpoints = endpoints
        self._settings = settings
        self._changing = asyncio.Lock()
        self._is_closing = False
        self._retiring: set[asyncio.Task[bool]] = set()
        self._restarts = 0  # of replicas that are gone
        self.replicas: list[Replica] = []

    async def load(self, *, watches_lock: bool = False) -> dict[str, Verdict]:
        """Make the first replica; returns where each api should run by its warm calls.

        Raises UserCodeError, ModelNotFoundError and DeviceMissingError.
        """
        first = await self._open(0, self._settings.replicas, watches_lock=watches_lock)
        self.replicas.append(first)
        return {name: judge(trials, first.inline_s) for name, trials in first.trials.items()}

    async def bind(self) -> None:
        """Give every endpoint its queue, then make the other replicas; raises as ``load`` does."""
        first = self.replicas[0]
        for endpoint in self._endpoints:
            api = endpoint.api
            if api.is_stream:
                endpoint.bind(None, partial(self.open_stream, api))
                continue
            queue: Batcher | Crowd
            if api.batch is None and api.is_async:
                queue = Crowd.of(self._settings)
            else:
                queue = Batcher.of(api, self._settings, asyncio.get_running_loop())
                for trial in first.trials.get(api.name, ()):
                    for seconds in trial.seconds:
                        queue.learn(trial.values, trial.rows, seconds)
            endpoint.bind(queue)
        self._admit(first)
        await self.scale(self._settings.replicas)

    @property
    def kind(self) -> str:
        """``inline`` when every sync method runs on the event loop now, else ``thread``."""
        is_inline = all(replica.kind == "inline" for replica in self.replicas)
        return "inline" if is_inline else "thread"

    @property
    def is_serving(self) -> bool:
        """True while there is a replica."""
        return bool(self.replicas)

    @property
    def stats(self) -> RunnerStats:
        """What runs, and what was started in place of what hung."""
        running: dict[str, int] = {}
        for replica in self.replicas:
            running[replica.kind] = running.get(replica.kind, 0) + 1
        restarts = self._restarts + sum(replica.restarts for replica in self.replicas)
        return RunnerStats(running, {"thread": restarts} if restarts else {})

    async def scale(self, replicas: int) -> None:
        """Have that many replicas, 1 or more; no request is lost.

        Returns when new ones answer, and those taken away have answered what they had or the
        server's grace period is over.  Raises as ``load`` does; the others go on then.
        """
        async with self._changing:
            while len(self.replicas) < replicas:
                replica = await self._open(len(self.replicas), replicas)
                if self._is_closing:
                    await self._end(replica)
                    return
                self.replicas.append(replica)
                self._admit(replica)
            leaving = set()
            while len(self.replicas) > max(1, replicas):
                replica = self.replicas.pop()
                self._restarts += replica.restarts
                task = asyncio.ensure_future(self._retire(replica))
                leaving.add(task)
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)
            if leaving:
                await asyncio.wait(leaving, timeout=self._settings.grace_s)

    async def close(self) -> bool:
        """Run the shut-down hooks of every replica; returns False when one failed.

        A call that still runs, for nobody, has a second to end: a hook may take away what it uses.
        """
        self._is_closing = True
        end = monotonic() + _LAST_CALLS_S
        while monotonic() < end and any(replica.is_busy for replica in self.replicas):
            await asyncio.sleep(_STEP_S)
        ended = [self._end(replica) for replica in self.replicas]
        return all(await asyncio.gather(*self._retiring, *ended))

    def open_stream(self, api: ApiSpec, values: Mapping[str, Any]) -> PlainStream:
        """Begin a stream of plain pieces."""
        replica = min(self.replicas, key=lambda one: one.streams)
        return replica.open_stream(api, values)

    async def _open(self, number: int, replicas: int, *, watches_lock: bool = False) -> Replica:
        copies = replicas * self._settings.workers
        return await open_replica(
            self._spec, self._settings, number, copies=copies, watches_lock=watches_lock
        )

    def _admit(self, replica: Replica) -> None:
        """Let the queues give calls to a replica."""
        for queue, runner in self._pairs(replica):
            queue.add_runner(runner)

    async def _retire(self, replica: Replica) -> bool:
        """Take a replica out of the queues, let it finish and end it."""
        for queue, runner in self._pairs(replica):
            queue.remove_runner(runner)
        while not replica.is_idle and not self._is_closing:
            await asyncio.sleep(_STEP_S)
        return await self._end(replica)

    def _pairs(self, replica: Replica) -> Iterator[tuple[Any, Any]]:
        """Yield each queue with the runner that the replica has for it."""
        for endpoint in self._endpoints:
            if endpoint.queue is not None:
                yield endpoint.queue, replica.runners[endpoint.api.name]

    async def _end(self, replica: Replica) -> bool:
        replica.close()
        worker = Worker("modelpack-stop", asyncio.get_running_loop())
        try:
            return await end_instance(self._spec, replica.instance, worker)
        finally:
            worker.close()
