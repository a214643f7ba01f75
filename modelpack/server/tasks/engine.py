"""What a process does about tasks: takes them in, runs them, and keeps those alive that it runs.

    face ──submit, cancel …──► store ──claim──► run ──finish──► store      woken, or every POLL_S
                                 ▲── renew ── every BEAT_S ──┘ those that it runs; sweep

Every process of a server has one, and they share the store: whoever has room takes the next task.
How many an api runs at once follows from how it runs: one for each replica, or ``tasks_at_once``
where calls share a batch or an event loop.  On SIGTERM nothing more is claimed; what runs has the
grace period, and what is left then is put back and begins again elsewhere.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from modelpack.config.serving import ServerSettings
from modelpack.sdk.api import ApiSpec
from modelpack.server.endpoint import Endpoint
from modelpack.server.faces.catalog import Catalog
from modelpack.server.observe.logs import event, log_internal
from modelpack.server.observe.stats import TaskStats
from modelpack.server.problems import INTERNAL, UNAVAILABLE, write_problem
from modelpack.server.tasks.opening import open_store
from modelpack.server.tasks.record import FAILED, QUEUED, RUNNING, Claim, NewTask, Result, Task
from modelpack.server.tasks.running import Outcome, run_task
from modelpack.server.tasks.store import StoreFailed, TaskStore
from modelpack.server.tasks.telling import Teller
from modelpack.server.tasks.thread import StoreThread
from modelpack.server.tasks.webhooks import Hosts, secrets_here

LEASE_S = 60.0
"""How long a task is held without a sign of life: a method may keep the interpreter to itself for a
while.  Of a killed process of the same machine SQLite learns at once."""

BEAT_S = 2.0
"""How often there is one."""

POLL_S = 0.25
"""How often it is looked for tasks that other processes took in."""

_SWEEP_BEATS = 3
_AGAIN_S = 1.0
_TRIES_AT_THE_END = 2


class Tasks:
    """The tasks of one process."""

    def __init__(
        self,
        settings: ServerSettings,
        service: str,
        catalog: Callable[[], Catalog],
        replicas: Callable[[], int],
    ) -> None:
        """``catalog`` and ``replicas`` say what is served at this moment, and how often it runs.

        Raises UsageError when webhooks are on and there is no secret.
        """
        self.settings = settings
        self.hosts = Hosts.of(settings.tasks_webhook_hosts or "")
        self.stats = TaskStats()
        self.store = StoreThread(lambda: open_store(settings, service))
        self._catalog = catalog
        self._replicas = replicas
        self._running: dict[tuple[str, int], _Run] = {}
        self._wake = asyncio.Event()
        self._over: dict[str, asyncio.Event] = {}
        self._loops: list[asyncio.Future[None]] = []
        self._is_stopping = False
        self._complained = False
        self._turn = 0
        self._teller: Teller | None = None
        if self.hosts.places:
            self._teller = Teller(self.store, self.hosts, secrets_here(), self.stats)

    async def open(self) -> None:
        """Open the store and begin; raises what ``open_store`` raises."""
        await self.store.open()
        self._loops = [asyncio.ensure_future(self._claim()), asyncio.ensure_future(self._beat())]
        if self._teller is not None:
            self._teller.start()

    @property
    def is_busy(self) -> bool:
        """True while a task runs here."""
        return bool(self._running)

    async def close(self) -> None:
        """Put back what runs, and let go of the store."""
        self._is_stopping = True
        self._wake.set()
        if self._teller is not None:
            await self._teller.stop()
        for loop in self._loops[:1]:
            await loop  # not cancelled: what it claims must be known
        for run in list(self._running.values()):
            run.cancel()
        await asyncio.gather(*[run.task for run in self._running.values()], return_exceptions=True)
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self.store.close()

    # What clients ask for; all raise StoreFailed

    async def submit(self, new: NewTask) -> tuple[Task, bool]:
        """Keep a task; raises as ``TaskStore.submit``, and returns the same."""
        task, is_new = await self.store.write(lambda store: store.submit(new))
        if is_new:
            self.stats.count(new.api, "submitted")
            self._wake.set()
        return task, is_new

    async def wait(self, task_id: str, seconds: float) -> Task | None:
        """Return a task when it is over, or as it is after so many seconds; None: there is none."""
        end = monotonic() + seconds
        pause_s = 0.05
        while True:
            task = await self.store.read(lambda store: store.get(task_id))
            left_s = end - monotonic()
            is_pending = task is not None and task.status in (QUEUED, RUNNING)
            if not is_pending or left_s <= 0 or self._is_draining:
                return task
            over = self._over.setdefault(task_id, asyncio.Event())
            with suppress(TimeoutError):
                async with asyncio.timeout(min(pause_s, left_s)):
                    await over.wait()
            self._over.pop(task_id, None)
            pause_s = min(pause_s * 1.5, POLL_S)

    @property
    def _is_draining(self) -> bool:
        """True when the server was told to stop: nobody is kept waiting then."""
        return self._is_stopping or self._catalog().problem() is UNAVAILABLE

    async def cancel(self, task_id: str) -> Task | None:
        """Cancel a task unless it is over; returns it as it is then."""

        def cancel(store: TaskStore) -> tuple[Task | None, Task | None]:
            return store.get(task_id), store.cancel(task_id)

        before, task = await self.store.write(cancel)
        if task is not None and before is not None and task.status != before.status:
            self.stats.count(task.api, "cancelled")
        self._drop(task_id)
        self._tell(task_id)
        return task

    async def forget(self, task_id: str) -> bool:
        """Throw a task away; returns False when there is none."""
        is_there = await self.store.write(lambda store: store.forget(task_id))
        self._drop(task_id)
        self._tell(task_id)
        return is_there

    async def again(self, task_id: str) -> Task | None:
        """Queue a task anew that failed or was cancelled; returns it as it is then."""
        task = await self.store.write(lambda store: store.again(task_id))
        self._wake.set()
        return task

    def _drop(self, task_id: str) -> None:
        """End the run of a task that nobody wants any more."""
        for run in [run for (one, _), run in self._running.items() if one == task_id]:
            run.lose()

    def _tell(self, task_id: str) -> None:
        """Let those go on who wait for a task to be over."""
        if (over := self._over.get(task_id)) is not None:
            over.set()
        if self._teller is not None:
            self._teller.wake()

    # Claiming

    async def _claim(self) -> None:
        while not self._is_stopping:
            self._wake.clear()
            try:
                await self._claim_some()
            except StoreFailed as error:
                self._complain(error)
            except Exception as error:  # ours; the next round may do better
                log_internal(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._wake.wait()

    async def _claim_some(self) -> None:
        catalog = self._catalog()
        most = self.settings.tasks_at_once - len(self._running)
        rooms = self._rooms(catalog) if catalog.problem() is None and most > 0 else {}
        if not rooms:
            return
        held = list(self._running)

        def claim_some(store: TaskStore) -> list[Claim]:
            store.renew(held, LEASE_S)  # after a long silence they would be taken from ourselves
            return store.claim(rooms, most, LEASE_S)

        claims = await self.store.write(claim_some)
        self._complained = False
        for claim in claims:
            served = catalog.api(claim.api)
            if served is not None:  # it is one of those that were asked for
                self._running[claim.id, claim.run] = _Run(self, claim, served.endpoint, catalog)

    def _rooms(self, catalog: Catalog) -> dict[str, int]:
        """Return how many more tasks of each api may be begun; each time another one is first."""
        busy = Counter(run.claim.api for run in self._running.values())
        first = self._turn % len(catalog.endpoints)
        self._turn += 1
        rooms: dict[str, int] = {}
        for endpoint in (*catalog.endpoints[first:], *catalog.endpoints[:first]):
            room = self._most_of(endpoint.api) - busy[endpoint.api.name]
            if room > 0 and endpoint.is_bound:
                rooms[endpoint.api.name] = room
        return rooms

    def _most_of(self, api: ApiSpec) -> int:
        if api.batch is not None or api.is_async:
            return self.settings.tasks_at_once
        return max(1, self._replicas())

    # Running

    async def run(self, run: _Run) -> None:
        """Keep what comes of a run."""
        claim = run.claim
        self.stats.began(claim.api)
        await asyncio.wait((run.call,))
        self.stats.ended(claim.api)
        try:
            if not run.is_lost:
                await self._keep(claim, _outcome_of(run))
        finally:
            del self._running[claim.id, claim.run]
            self._tell(claim.id)
            self._wake.set()

    async def _keep(self, claim: Claim, outcome: Outcome) -> None:
        """Keep an outcome, as soon as the store can; its lease tells when that is too late."""
        tries = 0
        while True:
            try:
                if outcome.result is None:
                    await self._put_back(claim, outcome.delay_s)
                else:
                    await self._finish(claim, outcome.status, outcome.result)
            except StoreFailed as error:
                self._complain(error)
            else:
                return
            tries += 1
            if self._is_stopping and tries >= _TRIES_AT_THE_END:
                return
            await asyncio.sleep(_AGAIN_S)

    async def _put_back(self, claim: Claim, delay_s: float) -> None:
        await self.store.write(lambda store: store.put_back(claim.id, claim.run, delay_s))
        self.stats.count(claim.api, "put-back")

    async def _finish(self, claim: Claim, status: str, result: Result) -> None:
        is_ours = await self.store.write(
            lambda store: store.finish(claim.id, claim.run, status, result)
        )
        self.stats.count(claim.api, status if is_ours else "lost")
        if status == FAILED and is_ours:
            event("task-failed", api=claim.api, task=claim.id, code=result.code)

    # Keeping alive

    async def _beat(self) -> None:
        count = 0
        while True:
            await asyncio.sleep(BEAT_S)
            count += 1
            try:
                await self._renew()
                self._end_old()
                if count % _SWEEP_BEATS == 0:
                    await self.store.write(lambda store: store.sweep())
                self.stats.queued = await self.store.read(lambda store: store.waiting())
            except StoreFailed as error:
                self._complain(error)
            except Exception as error:
                log_internal(error)

    async def _renew(self) -> None:
        held = list(self._running)
        if not held:
            return
        kept = await self.store.write(lambda store: store.renew(held, LEASE_S))
        for key in set(held) - kept:
            if (run := self._running.get(key)) is not None:
                run.lose()

    def _end_old(self) -> None:
        """Put back what a version that was swapped out will not finish in its time."""
        settings, now = self.settings, self._catalog()
        limit_s = max(settings.grace_s, settings.request_timeout_s) - 2 * BEAT_S
        for run in self._running.values():
            if run.catalog is now:
                continue
            run.old_since = run.old_since or monotonic()
            if monotonic() - run.old_since > limit_s:
                run.cancel()

    def _complain(self, error: StoreFailed) -> None:
        """Say once that the store fails, until it works again."""
        if not self._complained:
            self._complained = True
            event("tasks-unavailable", error=str(error))


class _Run:
    """A task that runs here."""

    def __init__(self, tasks: Tasks, claim: Claim, endpoint: Endpoint, catalog: Catalog) -> None:
        self.claim = claim
        self.catalog = catalog
        self.old_since = 0.0
        """When its version was seen to be no longer the one that answers."""
        self.is_lost = False
        """True when nobody wants its result any more."""
        self.call = asyncio.ensure_future(run_task(endpoint, claim))
        self.task = asyncio.ensure_future(tasks.run(self))

    def lose(self) -> None:
        """End it without a result."""
        self.is_lost = True
        self.cancel()

    def cancel(self) -> None:
        """End it; it is put back unless it is lost, or has its result already."""
        self.call.cancel()


def _outcome_of(run: _Run) -> Outcome:
    """Return what became of a call that has ended; one that was cancelled is put back."""
    if run.call.cancelled():
        return Outcome(None)
    error = run.call.exception()
    if error is None:
        return run.call.result()
    log_internal(error)
    status, kind, body, _ = write_problem(INTERNAL, run.claim.request_id.encode())
    return Outcome(Result(status, kind.decode(), (), body, INTERNAL.code))
