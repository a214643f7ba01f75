"""The replicas of a service in this process.

    LocalPlace ──1..n──► Replica(instance, a thread for each sync api)
         │                   └── SyncRunner / AsyncRunner of each api ──► the api's Batcher or Crowd
         └── open_stream ──► the replicas take turns

A replica is an instance of its own with threads of its own, so as many batches of an api run at once
as there are replicas.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from modelpack.config.settings import ServerSettings
from modelpack.errors import UsageError
from modelpack.sdk.api import ApiSpec
from modelpack.sdk.service import ServiceSpec
from modelpack.server.batching.crowd import Crowd
from modelpack.server.endpoint import Endpoint
from modelpack.server.runners.hooks import end_instance, make_instance
from modelpack.server.runners.methods import MethodStream, PlainStream, plain_method
from modelpack.server.runners.threads import AsyncRunner, SyncRunner, Worker
from modelpack.server.runners.warmup import warm_up


class Replica:
    """One instance of the service, with a thread for each of its sync apis."""

    def __init__(self, instance: Any, apis: Sequence[ApiSpec], number: int) -> None:
        loop = asyncio.get_running_loop()
        self.instance = instance
        self.workers = {
            api.name: Worker(f"modelpack-{api.name}-{number}", loop)
            for api in apis
            if not api.is_async
        }
        self.runners: dict[str, SyncRunner | AsyncRunner] = {
            api.name: AsyncRunner(plain_method(api, instance), loop)
            if api.is_async
            else SyncRunner(plain_method(api, instance), self.workers[api.name])
            for api in apis
            if not api.is_stream
        }

    async def warm_up(self, apis: Sequence[ApiSpec]) -> None:
        """Make the warm calls, which say where each method runs."""
        for api in apis:
            runner = self.runners.get(api.name)
            if isinstance(runner, SyncRunner):
                method = getattr(self.instance, api.attribute)
                if seconds := await warm_up(api, method, self.workers[api.name]):
                    runner.measured(seconds)

    def close(self) -> None:
        """Let the threads end after what they have."""
        for worker in self.workers.values():
            worker.close()


class LocalPlace:
    """Runs the service's methods in this process; see ``Place``."""

    def __init__(
        self, spec: ServiceSpec, endpoints: Sequence[Endpoint], settings: ServerSettings
    ) -> None:
        """Use ``open``."""
        self._spec = spec
        self._endpoints = endpoints
        self._settings = settings
        self.replicas: list[Replica] = []

    @classmethod
    async def open(
        cls, spec: ServiceSpec, endpoints: Sequence[Endpoint], settings: ServerSettings
    ) -> LocalPlace:
        """Make the replicas, warm them up and bind the endpoints; raises UserCodeError."""
        place = cls(spec, endpoints, settings)
        place.replicas.append(await place._make(0))
        place._bind()
        return place

    @property
    def kind(self) -> str:
        """``inline`` when every sync method runs on the event loop now, else ``thread``."""
        sync = [
            runner
            for replica in self.replicas
            for runner in replica.runners.values()
            if isinstance(runner, SyncRunner)
        ]
        return "inline" if all(runner.is_inline for runner in sync) else "thread"

    @property
    def is_serving(self) -> bool:
        """True while there is a replica."""
        return bool(self.replicas)

    async def scale(self, replicas: int) -> None:
        """Have that many replicas."""
        raise UsageError(f"cannot change to {replicas} replicas yet", hint="start again with more")

    async def close(self) -> bool:
        """Run the shut-down hooks of every replica; returns False when one failed."""
        worker = Worker("modelpack-stop", asyncio.get_running_loop())
        is_clean = True
        try:
            for replica in self.replicas:
                replica.close()
                is_clean = await end_instance(self._spec, replica.instance, worker) and is_clean
        finally:
            worker.close()
        return is_clean

    def open_stream(self, api: ApiSpec, values: Mapping[str, Any]) -> PlainStream:
        """Begin a stream of plain pieces."""
        replica = self.replicas[0]
        return MethodStream(api, replica.instance, values, replica.workers.get(api.name))

    async def _make(self, number: int) -> Replica:
        worker = Worker("modelpack-start", asyncio.get_running_loop())
        try:
            instance = await make_instance(self._spec, worker)
        finally:
            worker.close()
        replica = Replica(instance, self._spec.apis, number)
        await replica.warm_up(self._spec.apis)
        return replica

    def _bind(self) -> None:
        for endpoint in self._endpoints:
            api = endpoint.api
            if api.is_stream:
                endpoint.bind(None, partial(self.open_stream, api))
                continue
            runner = self.replicas[0].runners[api.name]
            if api.batch is None and isinstance(runner, AsyncRunner):
                endpoint.bind(Crowd(runner, self._settings.max_queue_rows))
            else:
                endpoint.bind(endpoint.make_batcher(runner))
