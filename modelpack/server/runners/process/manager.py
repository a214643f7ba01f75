"""Keeps a number of runner processes running.

    start(n), scale(n) ──► a slot each ──► process ──ready──► on_up(info) ──exit──► on_gone(info)
                              ▲                                                 │
                              └────── at once, then after 0.1, 0.2 … 10 s ◄─────┘

A process that has answered something, or lasted for a while, is replaced at once; one that dies
before is given more and more time.  One that cannot even start leaves no hope while it is the last
(``on_hope``), and is tried again all the same.  One whose event loop stands still is killed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from modelpack.config.settings import ServerSettings
from modelpack.errors import ModelpackError, UserCodeError
from modelpack.frameworks.source import Source
from modelpack.server.observe.logs import event
from modelpack.server.runners.process.link import RunnerInfo
from modelpack.server.runners.process.spawn import Order, Spawned

STABLE_S = 10.0
"""A runner that lasts so long did not fail to start, whatever ends it."""

PATIENCE_S = 1.0
"""Longest pause before a restart that requests wait out."""

_WATCH_S = 0.5
_LONGEST_PAUSE_S = 10.0
_CLOSE_S = 0.5

OnRunner = Callable[[RunnerInfo], None]
OnHope = Callable[[bool], None]


def pause_s(failures: int) -> float:
    """Return how long to wait before the next start, after so many that came to nothing."""
    return 0.0 if failures < 2 else min(_LONGEST_PAUSE_S, 0.1 * 2.0 ** min(failures - 2, 10))


class Slot:
    """The place of one runner: who is there now, and how its predecessors fared."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.spawned: Spawned | None = None
        self.is_wanted = True
        self.is_up = False
        self.has_hope = True
        self.failures = 0
        self.status = 0
        self.settled: asyncio.Future[ModelpackError | None] = (
            asyncio.get_running_loop().create_future()
        )
        """Whether the first start came to something."""
        self.task: asyncio.Task[None] | None = None


class RunnerManager:
    """Starts, watches, replaces and ends the runners of one service."""

    def __init__(
        self,
        source: Source,
        settings: ServerSettings,
        folder: Path,
        on_up: OnRunner | None = None,
        on_gone: OnRunner | None = None,
        *,
        on_hope: OnHope | None = None,
        workers: int = 1,
    ) -> None:
        """``folder`` holds the sockets and is this user's alone.

        ``workers`` is how many processes on this machine have runners like these.
        ``on_hope(False)`` says that nothing can run a call and that nothing is likely to soon,
        ``on_hope(True)`` that this has changed.
        """
        self._source = source
        self._settings = settings
        self._folder = folder
        self._watchers: list[tuple[OnRunner, OnRunner, OnHope]] = [
            (on_up or _nothing, on_gone or _nothing, on_hope or _nothing)
        ]
        self._workers = workers
        self._count = settings.replicas
        self._slots: list[Slot] = []
        self._last_id = 0
        self._lock = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.has_hope = True

    @property
    def running(self) -> list[RunnerInfo]:
        """The runners that take calls now."""
        return [s.spawned.info for s in self._slots if s.is_up and s.spawned is not None]

    def watch(self, on_up: OnRunner, on_gone: OnRunner, on_hope: OnHope) -> None:
        """Tell of every change from now on, and first of the runners that are there."""
        self._watchers.append((on_up, on_gone, on_hope))
        for info in self.running:
            on_up(info)

    async def start(self, count: int) -> None:
        """Start that many runners and wait until all are ready.

        Raises what the first one says that fails, and leaves none behind then.
        """
        self._watching = asyncio.ensure_future(self._watch())
        try:
            await self.scale(count)
        except BaseException:
            await self.close()
            raise

    async def scale(self, count: int) -> None:
        """Have that many runners; the last ones finish what they have before they go.

        Raises what a new one says that fails; then there are as many as before.
        """
        async with self._lock:
            self._count = count
            wanted = [slot for slot in self._slots if slot.is_wanted]
            if len(wanted) > count:
                await asyncio.gather(*(self._retire(slot) for slot in wanted[count:]))
                return
            new = [self._add() for _ in range(count - len(wanted))]
            errors = [error for slot in new if (error := await slot.settled) is not None]
            if errors:
                self._count = len(wanted)
                await asyncio.gather(*(self._retire(slot) for slot in new))
                raise errors[0]

    def kill(self, runner_id: int, why: str) -> None:
        """End a runner at once; another one takes its place."""
        for slot in self._slots:
            spawned = slot.spawned
            if spawned is not None and spawned.info.id == runner_id:
                event("runner-killed", level=logging.ERROR, runner=runner_id, reason=why)
                spawned.kill()

    async def close(self) -> bool:
        """End every runner; returns False when a shut-down hook failed or one had to be killed."""
        if self._watching is not None:
            self._watching.cancel()
        for task in self._tasks:
            task.cancel()
        slots = list(self._slots)
        await asyncio.gather(*(self._retire(slot, is_closing=True) for slot in slots))
        return all(slot.status == 0 for slot in slots)

    def _add(self) -> Slot:
        used = {slot.number for slot in self._slots}
        slot = Slot(next(n for n in range(len(used) + 1) if n not in used))
        self._slots.append(slot)
        slot.task = asyncio.ensure_future(self._keep(slot))
        return slot

    async def _keep(self, slot: Slot) -> None:
        """Have a runner in the slot until it is not wanted any more."""
        while slot.is_wanted:
            try:
                spawned = slot.spawned = self._spawn(slot.number)
            except OSError as cause:
                said = f"a runner process cannot be started: {cause.strerror or cause}"
                self._failed(slot, UserCodeError(said, hint="see 'ulimit -a' and the memory left"))
            else:
                error = await spawned.ready
                if error is None:
                    await self._up(slot, spawned)
                else:
                    await spawned.ended
                    self._failed(slot, error)
            slot.spawned = None
            if slot.is_wanted and (pause := pause_s(slot.failures)):
                if pause > PATIENCE_S:
                    slot.has_hope = False
                    self._tell_hope()
                await asyncio.sleep(pause)

    async def _up(self, slot: Slot, spawned: Spawned) -> None:
        """Let a runner take calls until it ends."""
        slot.is_up = slot.has_hope = True
        event("runner-up", runner=spawned.info.id, pid=spawned.info.pid)
        for on_up, _, _ in self._watchers:
            on_up(spawned.info)
        self._tell_hope()
        _settle(slot, None)
        slot.status = await spawned.ended
        slot.is_up = False
        is_stable = spawned.answers > 0 or spawned.age_s > STABLE_S
        slot.failures = 0 if is_stable else slot.failures + 1
        if slot.is_wanted:
            event(
                "runner-gone", level=logging.ERROR, runner=spawned.info.id, how=spawned.how_it_ended
            )
        for _, on_gone, _ in self._watchers:
            on_gone(spawned.info)

    def _failed(self, slot: Slot, error: ModelpackError) -> None:
        """Note that a runner did not start."""
        slot.failures += 1
        slot.has_hope = False
        if not slot.settled.done():
            slot.is_wanted = False  # whoever asked for it hears why
            slot.settled.set_result(error)
        elif slot.is_wanted:
            event("runner-failed", level=logging.ERROR, error=error.message)
        self._tell_hope()

    def _spawn(self, number: int) -> Spawned:
        self._last_id += 1
        order = Order(
            id=self._last_id,
            number=number,
            copies=self._count * self._workers,
            source=self._source,
            settings=self._settings,
            socket=self._folder / f"{self._last_id}.sock",
        )
        return Spawned(order, on_leave=self._on_leave)

    def _on_leave(self, spawned: Spawned) -> None:
        """A runner was asked by a signal to end: another one takes its place before it does."""
        for slot in self._slots:
            if slot.spawned is spawned and slot.is_up and slot.is_wanted:
                task = asyncio.ensure_future(self._relieve(slot))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _relieve(self, slot: Slot) -> None:
        async with self._lock:
            if not slot.is_wanted:
                return
            new = self._add()
            if await new.settled is None:
                await self._retire(slot)
            else:
                await self._retire(new)

    async def _retire(self, slot: Slot, *, is_closing: bool = False) -> None:
        """End the runner of a slot after what it has."""
        slot.is_wanted = False
        spawned = slot.spawned
        if spawned is not None:
            if slot.is_up:
                spawned.drain()
                await self._wait_for_end(spawned, is_closing=is_closing)
            else:
                spawned.kill()
        elif slot.task is not None:
            slot.task.cancel()  # it waits for its next start
        if slot.task is not None:
            with suppress(asyncio.CancelledError):
                await slot.task
        if slot in self._slots:
            self._slots.remove(slot)

    async def _wait_for_end(self, spawned: Spawned, *, is_closing: bool) -> None:
        """Wait for a runner that drains; kill it when it takes too long.

        At the end of the server nobody waits for a call any more, only for shut-down hooks.
        """
        limit_s = self._settings.request_timeout_s + _CLOSE_S
        if is_closing:
            await asyncio.wait((spawned.ended,), timeout=_CLOSE_S)
            limit_s = 0.0 if spawned.is_busy else self._settings.grace_s
        if not spawned.ended.done():
            await asyncio.wait((spawned.ended,), timeout=limit_s)
        if not spawned.ended.done():
            spawned.kill()

    def _tell_hope(self) -> None:
        hope = any(slot.is_up or slot.has_hope for slot in self._slots if slot.is_wanted)
        if hope != self.has_hope:
            self.has_hope = hope
            for _, _, on_hope in self._watchers:
                on_hope(hope)

    async def _watch(self) -> None:
        """Kill what hangs so that not even a time-out of a call would show it."""
        limit_s = self._settings.request_timeout_s + 1
        while True:
            await asyncio.sleep(_WATCH_S)
            for slot in self._slots:
                if slot.is_up and slot.spawned is not None and slot.spawned.silence_s > limit_s:
                    self.kill(slot.spawned.info.id, "it does not answer")


def _settle(slot: Slot, error: ModelpackError | None) -> None:
    if not slot.settled.done():
        slot.settled.set_result(error)


def _nothing(_: object) -> None:
    pass
