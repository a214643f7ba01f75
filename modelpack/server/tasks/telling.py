"""Sends the messages of tasks that are over, a few at a time, until each was taken.

    store ──notices──► thread: deliver ──► told, or when to try again ──► store

The next try stands in the store: it is made by whichever process looks then, also after a restart.
A message may come twice, when a process is lost after it was sent; its id is the same then.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from time import time

from modelpack.server.observe.logs import event, log_internal
from modelpack.server.observe.stats import TaskStats
from modelpack.server.runners.threads import Worker
from modelpack.server.tasks.record import Notice
from modelpack.server.tasks.store import StoreFailed
from modelpack.server.tasks.thread import StoreThread
from modelpack.server.tasks.webhooks import Answer, Hosts, deliver, message, pause_s, signed

AT_ONCE = 4
POLL_S = 1.0
LEASE_S = 60.0
"""How long a process may take for one try; longer than any of them can take."""


class Teller:
    """Tells who wants to be told."""

    def __init__(
        self, store: StoreThread, hosts: Hosts, secrets: tuple[bytes, ...], stats: TaskStats
    ) -> None:
        self._store = store
        self._hosts = hosts
        self._secrets = secrets
        self._stats = stats
        self._wake = asyncio.Event()
        self._threads: list[Worker] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; called on the event loop."""
        loop = asyncio.get_running_loop()
        self._threads = [Worker("modelpack-webhook", loop) for _ in range(AT_ONCE)]
        self._loop = loop.create_task(self._tell_all())

    def wake(self) -> None:
        """Look at once."""
        self._wake.set()

    async def stop(self) -> None:
        """End; what is being sent may be sent again by somebody else."""
        waiting = [*self._sending, *([self._loop] if self._loop else [])]
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for thread in self._threads:
            thread.close()

    async def _tell_all(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._take()
            except StoreFailed:
                pass  # who claims tasks has said it
            except Exception as error:
                log_internal(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._wake.wait()

    async def _take(self) -> None:
        room = len(self._threads)
        if room:
            for notice in await self._store.write(lambda store: store.notices(room, LEASE_S)):
                self._begin(notice)

    def _begin(self, notice: Notice) -> None:
        task = asyncio.ensure_future(self._tell(notice, self._threads.pop()))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _tell(self, notice: Notice, thread: Worker) -> None:
        try:
            await self._send(notice, thread)
        except StoreFailed:
            pass  # it is sent again when the lease is over
        finally:
            self._threads.append(thread)
            self._wake.set()

    async def _send(self, notice: Notice, thread: Worker) -> None:
        task_id = notice.task.id
        refusal = self._hosts.check(notice.url)
        if refusal is None:
            body = message(notice)
            headers = signed(_message_id(notice), body, self._secrets, timestamp=int(time()))
            answer: Answer = await thread.run(partial(deliver, notice.url, body, headers))
            again_s = pause_s(notice.tries, answer)
        else:  # it was allowed when the task was taken in
            answer, again_s = Answer(0, refusal), None
        await self._store.write(lambda store: store.told(task_id, notice.tries, again_s))
        if answer.is_taken:
            self._stats.told("delivered")
            return
        self._stats.told("failed" if again_s is not None else "given-up")
        why = answer.why or f"status {answer.status}"
        event("webhook-failed", task=task_id, tries=notice.tries, error=why, again_s=again_s)


def _message_id(notice: Notice) -> str:
    """Return the id of a message: the same at each try, another one for another end of the task."""
    return f"msg_{notice.task.id}_{notice.task.runs}_{notice.task.status}"
