"""One loaded instance of the service, with what runs its methods.

    open_replica ──► placement ─► load, start-up hooks ─► threads ─► warm calls ──► Replica
                                                                                      │
        runners[api] ── SyncRunner / AsyncRunner, for the queue of the api ◄──────────┤
        open_stream(api, values) ── a stream of plain pieces ◄────────────────────────┘

The same in the serving process and in a process of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from typing import Any

from modelpack.config.settings import ServerSettings
from modelpack.sdk.api import ApiSpec
from modelpack.sdk.placement import AUTO, placed, placement
from modelpack.sdk.service import ServiceSpec
from modelpack.server.runners.choice import measure_inline_s
from modelpack.server.runners.hooks import make_instance
from modelpack.server.runners.methods import MethodStream, plain_method
from modelpack.server.runners.placing import placement_for, thread_limiter
from modelpack.server.runners.threads import INLINE_S, AsyncRunner, Mode, SyncRunner, Worker
from modelpack.server.runners.warmup import Trial, warm_up


class Replica:
    """One instance of the service, with a thread for each of its sync apis."""

    def __init__(
        self,
        instance: Any,
        apis: Sequence[ApiSpec],
        number: int,
        *,
        mode: Mode = "auto",
        inline_s: float = INLINE_S,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """Its threads and tasks run in the placement of whoever makes it.

        ``mode`` and ``inline_s`` are as for ``SyncRunner``; each thread calls ``prepare`` first.
        """
        loop = asyncio.get_running_loop()
        where = placement()
        # The event loop itself is at the placement of the process: nothing to enter there.
        context = copy_context() if where.number or where.device != AUTO else None
        self.instance = instance
        self.number = number
        self.inline_s = inline_s
        self.streams = 0
        """Streams that are open."""
        self.workers = {
            api.name: Worker(f"modelpack-{api.name}-{number}", loop, prepare=prepare)
            for api in apis
            if not api.is_async
        }
        self.runners: dict[str, SyncRunner | AsyncRunner] = {}
        self.trials: dict[str, list[Trial]] = {}
        """What the warm calls showed, by api."""
        for api in apis:
            if api.is_stream:
                continue
            method = plain_method(api, instance)
            self.runners[api.name] = (
                AsyncRunner(method, loop, context=context)
                if api.is_async
                else SyncRunner(
                    method, self.workers[api.name], mode=mode, inline_s=inline_s, context=context
                )
            )

    @property
    def kind(self) -> str:
        """``inline`` when every sync method runs on the event loop now, else ``thread``."""
        names = {name for name, runner in self.runners.items() if runner.kind == "inline"}
        return "inline" if names >= self.workers.keys() else "thread"

    @property
    def is_idle(self) -> bool:
        """True when no call runs and no stream is open."""
        return not self.streams and all(runner.is_idle for runner in self.runners.values())

    @property
    def is_busy(self) -> bool:
        """True while a call runs in one of its threads, also one that nobody waits for."""
        workers = [*self.workers.values()]
        workers += [one.worker for one in self.runners.values() if isinstance(one, SyncRunner)]
        return any(worker.is_busy for worker in workers)

    @property
    def restarts(self) -> int:
        """Threads that were started in place of one that hung."""
        runners = self.runners.values()
        return sum(one.restarts for one in runners if isinstance(one, SyncRunner))

    async def warm_up(self, apis: Sequence[ApiSpec], *, watches_lock: bool = False) -> None:
        """Make the warm calls, which say where each method runs."""
        for api in apis:
            runner = self.runners.get(api.name)
            if isinstance(runner, SyncRunner):
                method = getattr(self.instance, api.attribute)
                worker = self.workers[api.name]
                trials = await warm_up(api, method, worker, watches_lock=watches_lock)
                self.trials[api.name] = trials
                if trials:
                    runner.measured(trials[0].seconds)

    def open_stream(self, api: ApiSpec, values: Mapping[str, Any]) -> MethodStream:
        """Begin a stream of plain pieces."""
        self.streams += 1
        worker = self.workers.get(api.name)
        return MethodStream(api, self.instance, values, worker, on_close=self._stream_closed)

    def close(self) -> None:
        """Let the threads end after what they have."""
        for worker in self.workers.values():
            worker.close()
        for runner in self.runners.values():
            runner.close()

    def _stream_closed(self) -> None:
        self.streams -= 1


async def open_replica(
    spec: ServiceSpec,
    settings: ServerSettings,
    number: int,
    *,
    copies: int,
    watches_lock: bool = False,
) -> Replica:
    """Load the service as replica ``number`` and warm it up; ``copies`` share the machine.

    Raises UserCodeError and ModelNotFoundError, and DeviceMissingError when a model cannot use its
    device.
    """
    where = placement_for(settings, number, copies)
    prepare = thread_limiter(settings, where)
    with placed(where):
        worker = Worker("modelpack-start", asyncio.get_running_loop())
        try:
            inline_s = await measure_inline_s(worker)
            instance = await make_instance(spec, worker)
        finally:
            worker.close()
        if prepare is not None:
            prepare()  # for calls on the event loop
        mode = _mode(settings)
        replica = Replica(
            instance, spec.apis, number, mode=mode, inline_s=inline_s, prepare=prepare
        )
        await replica.warm_up(spec.apis, watches_lock=watches_lock)
    return replica


def _mode(settings: ServerSettings) -> Mode:
    match settings.runner:
        case "inline":
            return "inline"
        case "thread":
            return "thread"
    return "auto"  # in a process of its own, too, whose event loop has little else to do
