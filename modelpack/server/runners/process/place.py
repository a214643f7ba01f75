"""The place whose runners are processes of their own.

    Batcher / Crowd / stream ──► Link ──private socket──► runner process
                                  ▲ one for each that is up
    RunnerManager ──on_up, on_gone, on_hope──┘

Requests that find no runner wait: another one is on its way.  Only when that cannot start, or has to
wait long for its turn, there is no hope, and whatever waits is refused until one is up again.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from modelpack.config.settings import ServerSettings
from modelpack.frameworks.source import Source
from modelpack.frameworks.zero import ModelService
from modelpack.sdk.api import ApiSpec
from modelpack.sdk.service import ServiceSpec
from modelpack.server.batching.batcher import Batcher
from modelpack.server.batching.crowd import Crowd
from modelpack.server.endpoint import Endpoint
from modelpack.server.observe.logs import event
from modelpack.server.observe.stats import RunnerStats
from modelpack.server.problems import NO_RUNNER, Unavailable
from modelpack.server.runners.process.arguments import crossing
from modelpack.server.runners.process.link import Link, LinkRuns, RunnerInfo
from modelpack.server.runners.process.manager import OnHope, OnRunner, RunnerManager
from modelpack.server.runners.process.places import private_folder
from modelpack.server.runners.process.remote import RemoteStream, RemoteTasks

_REFUSE_S = 0.1
_MOMENT_S = 0.2


class Runners(Protocol):
    """Runner processes, whoever keeps them: ``RunnerManager`` or a ``RunnerView`` of one."""

    def watch(self, on_up: OnRunner, on_gone: OnRunner, on_hope: OnHope) -> None:
        """Tell of every change, and first of the runners that are there."""

    def kill(self, runner_id: int, why: str) -> None:
        """End a runner at once; another one takes its place."""

    async def scale(self, count: int) -> None:
        """Have that many runners; raises what a new one says that fails."""


class ProcessPlace:
    """Runs the service's methods in runner processes; see ``Place``."""

    kind = "process"

    def __init__(
        self, spec: ServiceSpec, endpoints: Sequence[Endpoint], settings: ServerSettings
    ) -> None:
        """Use ``open``."""
        self._spec = spec
        self._endpoints = endpoints
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._runners: Runners | None = None
        self._own: tuple[RunnerManager, Path] | None = None
        self._links: dict[int, Link] = {}
        self._runs: dict[int, list[tuple[Batcher, LinkRuns]]] = {}
        self._numbers = {api.name: number for number, api in enumerate(spec.apis)}
        self._queues: dict[int, Batcher] = {}
        self._has_changed = asyncio.Event()
        self._has_hope = True
        self._losses = 0
        self._refusing: asyncio.TimerHandle | None = None
        self._is_closed = False

    @classmethod
    async def open(
        cls,
        spec: ServiceSpec,
        endpoints: Sequence[Endpoint],
        settings: ServerSettings,
        source: Source,
        runners: Runners | None = None,
    ) -> ProcessPlace:
        """Link to ``runners``, or start some, and bind the endpoints once one takes calls.

        Raises what a runner says that cannot load the service.
        """
        place = cls(spec, endpoints, settings)
        place._bind()
        if issubclass(spec.cls, ModelService):
            spec.cls.forget_model()  # its signature is all that is needed here
        try:
            if runners is None:
                folder = private_folder()
                manager = RunnerManager(source, settings, folder, workers=settings.workers)
                place._own = manager, folder
                place._watch(manager)
                await manager.start(settings.replicas)
            else:
                place._watch(runners)
            while not place.is_serving:
                await place._change()
        except BaseException:
            await place.close()
            raise
        return place

    @property
    def is_serving(self) -> bool:
        """True while a runner takes calls."""
        return any(link.is_ready for link in self._links.values())

    @property
    def stats(self) -> RunnerStats:
        """The runners that take calls, and those that replaced others that were lost."""
        up = sum(link.is_ready for link in self._links.values())
        restarts = {"process": self._losses} if self._losses else {}
        return RunnerStats({"process": up}, restarts)

    async def scale(self, replicas: int) -> None:
        """Have that many runners; raises what a new one says that fails."""
        if self._runners is not None:
            await self._runners.scale(replicas)
        while any(link.is_coming for link in self._links.values()):
            await self._change()

    async def close(self) -> bool:
        """Let the runners go; returns False when one of ours did not end well."""
        self._is_closed = True
        if self._refusing is not None:
            self._refusing.cancel()
        for link in list(self._links.values()):
            self._unlink(link)
            link.close()
        if self._own is None:
            return True
        manager, folder = self._own
        is_clean = await manager.close()
        with suppress(OSError):
            shutil.rmtree(folder)
        return is_clean

    def open_stream(self, api: ApiSpec, values: Mapping[str, Any]) -> RemoteStream:
        """Begin a stream of plain pieces."""
        patience_s = self._settings.request_timeout_s
        return RemoteStream(self.choose, self._numbers[api.name], values, patience_s=patience_s)

    async def choose(self) -> Link:
        """Return the least busy runner, once there is one; raises Unavailable."""
        while True:
            ready = [link for link in self._links.values() if link.is_ready]
            if ready:
                return min(ready, key=_calls_of)
            if not self._has_hope or self._is_closed:
                raise Unavailable(NO_RUNNER)
            await self._change()

    def on_ready(self, link: Link) -> None:
        """Give a runner calls from now on."""
        pairs = [(queue, LinkRuns(link, number)) for number, queue in self._queues.items()]
        self._runs[link.info.id] = pairs
        for queue, runs in pairs:
            queue.add_runner(runs)
        self._tell()

    def on_leaving(self, link: Link) -> None:
        """Give a runner no more calls."""
        for queue, runs in self._runs.pop(link.info.id, ()):
            queue.remove_runner(runs)
        self._tell()

    def on_lost(self, link: Link, why: str) -> None:
        """Forget a runner that is gone; one that only hung up is of no use either."""
        self._unlink(link)
        if not self._is_closed:
            self._losses += 1
            event("link-lost", level=logging.DEBUG, runner=link.info.id, reason=why)
            # Nearly always it is dead, and its manager knows in a moment.
            self._loop.call_later(_MOMENT_S, self.on_hung, link, f"it hung up: {why}")

    def on_hung(self, link: Link, why: str) -> None:
        """Have a runner ended, if it lives."""
        if self._runners is not None and not self._is_closed:
            self._runners.kill(link.info.id, why)

    def _unlink(self, link: Link) -> None:
        if self._links.get(link.info.id) is link:
            del self._links[link.info.id]
        self.on_leaving(link)

    def _watch(self, runners: Runners) -> None:
        self._runners = runners
        runners.watch(self._on_up, self._on_gone, self._on_hope)

    def _on_up(self, info: RunnerInfo) -> None:
        if not self._is_closed:
            link = self._links[info.id] = Link(info, self._loop, self)
            link.connect()

    def _on_gone(self, info: RunnerInfo) -> None:
        """Forget a runner that left; the end of its connection says the same of others."""
        link = self._links.get(info.id)
        if link is not None and not link.is_open:
            self._unlink(link)

    def _on_hope(self, has_hope: bool) -> None:
        self._has_hope = has_hope
        self._tell()
        if self._refusing is not None:
            self._refusing.cancel()
            self._refusing = None
        if not has_hope and not self._is_closed:
            self._refuse()

    def _refuse(self) -> None:
        """Refuse what waits, again and again while there is no hope."""
        for queue in self._queues.values():
            queue.refuse_all(Unavailable(NO_RUNNER))
        self._refusing = self._loop.call_later(_REFUSE_S, self._refuse)

    def _tell(self) -> None:
        """Wake whoever waits for a runner."""
        self._has_changed.set()
        self._has_changed = asyncio.Event()

    async def _change(self) -> None:
        await self._has_changed.wait()

    def _bind(self) -> None:
        for endpoint in self._endpoints:
            api = crossing(endpoint.api)
            endpoint.read_as(api)
            endpoint.is_served = lambda: self.is_serving
            number = self._numbers[api.name]
            if api.is_stream:
                endpoint.bind(None, partial(self.open_stream, endpoint.api))
            elif api.is_async and api.batch is None:
                crowd = Crowd.of(self._settings)
                crowd.add_runner(RemoteTasks(self.choose, number))
                endpoint.bind(crowd)
            else:
                queue = self._queues[number] = Batcher.of(api, self._settings, self._loop)
                endpoint.bind(queue)


def _calls_of(link: Link) -> int:
    return link.busy
