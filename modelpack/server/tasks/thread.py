"""The one thread that a process asks its store by.

    call(op) ──queue──► thread: takes all that waits ──together──► store ──► one future each

A commit waits for the disk, some milliseconds: what comes meanwhile shares the next one.  When one
of them makes the store fail, each is done by itself, so that it fails alone.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from modelpack.server.tasks.store import StoreFailed, TaskStore

_T = TypeVar("_T")


@dataclass(slots=True)
class _Job:
    op: Callable[[TaskStore], Any]
    writes: bool
    future: asyncio.Future[Any]
    answer: Any = None
    error: BaseException | None = None


class StoreThread:
    """Calls a store, off the event loop."""

    def __init__(self, open_store: Callable[[], TaskStore]) -> None:
        self._open_store = open_store
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop
        self._closed: asyncio.Future[None]
        self._is_open = False

    @property
    def is_open(self) -> bool:
        """True while it can be called."""
        return self._is_open

    async def open(self) -> None:
        """Open the store; raises what that raises."""
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._closed = self._loop.create_future()
        threading.Thread(
            target=self._work, args=(opened,), name="modelpack-tasks", daemon=True
        ).start()
        await opened
        self._is_open = True

    async def read(self, op: Callable[[TaskStore], _T]) -> _T:
        """Return what ``op`` finds in the store; raises StoreFailed."""
        return await self._call(op, writes=False)

    async def write(self, op: Callable[[TaskStore], _T]) -> _T:
        """Return what ``op`` does to the store, once it is kept; raises StoreFailed, and what it raises.

        Who is cancelled while it waits does not know whether it was done.
        """
        return await self._call(op, writes=True)

    async def _call(self, op: Callable[[TaskStore], _T], *, writes: bool) -> _T:
        if not self._is_open:
            raise StoreFailed("it is not open")
        job = _Job(op, writes, self._loop.create_future())
        self._jobs.put(job)
        answer: _T = await job.future
        return answer

    async def close(self) -> None:
        """Do what waits, then close the store."""
        if not self._is_open:
            return
        self._is_open = False
        self._jobs.put(None)
        await self._closed

    def _work(self, opened: asyncio.Future[None]) -> None:
        try:
            store = self._open_store()
        except BaseException as error:  # handed to who waits for it
            self._tell(opened, None, error)
            return
        self._tell(opened, None, None)
        while (job := self._jobs.get()) is not None:
            jobs = [job, *self._more(store.most_together - 1)]
            ours = [one for one in jobs if one is not None]
            _do(store, ours)
            for one in ours:
                self._tell(one.future, one.answer, one.error)
            if None in jobs:
                break
            del job, jobs, ours
        store.close()
        self._tell(self._closed, None, None)

    def _more(self, most: int) -> list[_Job | None]:
        jobs: list[_Job | None] = []
        while len(jobs) < most and None not in jobs:
            try:
                jobs.append(self._jobs.get_nowait())
            except queue.Empty:
                break
        return jobs

    def _tell(
        self, future: asyncio.Future[Any], answer: object, error: BaseException | None
    ) -> None:
        def tell() -> None:
            if future.done():
                return  # nobody waits any more
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(answer)

        try:
            self._loop.call_soon_threadsafe(tell)
        except RuntimeError:
            return  # the loop is closed


def _do(store: TaskStore, jobs: list[_Job]) -> None:
    """Do all jobs together, or each by itself when the store fails."""
    try:
        with store.together(writes=any(job.writes for job in jobs)):
            for job in jobs:
                _do_one(store, job)
    except StoreFailed as error:
        if len(jobs) > 1:
            for job in jobs:
                _do(store, [job])
        else:
            jobs[0].answer, jobs[0].error = None, error


def _do_one(store: TaskStore, job: _Job) -> None:
    """Do one job; what the store refuses is its own, what makes the store fail is everybody's."""
    job.answer = job.error = None
    try:
        job.answer = job.op(store)
    except store.failures:
        raise
    except Exception as refused:
        job.error = refused
