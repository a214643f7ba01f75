"""Gathers the rows of single requests into batches and hands the answers back.

    submit(call) ──► groups of calls that may share a batch ──take──► run ──► resolve / reject each

An idle runner takes what is there at once: everything that arrived in one turn of the event loop;
while it is busy, requests gather.  Nothing waits for a clock.  What always holds:

* each request gets its own rows, in its own order, or an error;
* a request whose client has left never reaches the runner;
* a request with more rows than fit is run in slices, and others go between them;
* when a batch fails it is halved until only the request fails that makes it fail;
* a call is answered exactly once.

An api without batching is the same with one request a batch.  Not here: turning bytes into values
(``endpoint``), calling the service (``runner``).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Hashable, Iterator
from functools import partial
from time import perf_counter
from typing import Any

from modelpack.server.batching.call import Call
from modelpack.server.batching.rows import RowSplitter, WrongRows, join, merge
from modelpack.server.observe.stats import BatchStats
from modelpack.server.problems import STOPPING, STUCK, Overloaded, TimedOut, Unavailable
from modelpack.server.runners.base import Runs

Slice = tuple[Call, int, int]
"""Rows ``start`` to ``stop`` of a call."""


class Batcher:
    """Runs the calls of one api, one batch at a time."""

    def __init__(
        self,
        runner: Runs,
        *,
        loop: asyncio.AbstractEventLoop,
        batched: tuple[str, ...] = (),
        max_batch_size: int = 1,
        max_queue_rows: int = 4096,
        latency_s: float | None = None,
    ) -> None:
        """``batched`` names the parameters with rows; empty: every call runs by itself.

        With ``latency_s`` a batch takes no more calls than run in half of that time, by what rows
        have cost so far: a call waits for one batch at the most, and then for its own.
        """
        self._runner = runner
        self._loop = loop
        self._batched = batched
        self._max_rows = max_batch_size
        self._max_queue_rows = max_queue_rows
        self._latency_s = latency_s
        self._groups: dict[Hashable, deque[Call]] = {}
        self._retries: list[list[Slice]] = []
        self._running: list[Slice] = []
        self._is_scheduled = False
        self._is_closed = False
        self._began = 0.0
        self._row_s = 0.0
        self.waiting_rows = 0
        self.is_stuck = False
        """True while a call runs that has taken longer than any request may."""
        self.stats = BatchStats()

    def submit(self, call: Call) -> None:
        """Queue a call, or reject it at once."""
        waiting = self.waiting_rows
        if self._is_closed or self.is_stuck:
            call.is_done = True
            call.reject(Unavailable(STOPPING if self._is_closed else STUCK))
            return
        # A request that is larger than the whole queue is taken when the queue is empty.
        if waiting and waiting + call.rows > self._max_queue_rows:
            call.is_done = True
            call.reject(Overloaded(self.retry_after_s()))
            return
        self.waiting_rows = waiting + call.rows
        group = self._groups.get(call.key)
        if group is None:
            self._groups[call.key] = deque((call,))
        else:
            group.append(call)
        if not self._is_scheduled and not self._running:
            self._is_scheduled = True
            self._loop.call_soon(self._turn)

    def drop(self, call: Call) -> None:
        """Forget a call: nobody waits for its answer."""
        if not call.is_done:
            call.is_done = True
            self.waiting_rows -= call.rows - call.taken
            call.taken = call.rows
            call.values = {}

    def expire(self, before: float) -> None:
        """Reject every call that started ``before`` that moment; forgets dropped ones too."""
        late = [call for call in self._calls() if call.started < before and not call.is_done]
        for call in late:
            if not call.is_done:  # it may be there twice, running and waiting
                self.drop(call)
                call.reject(TimedOut())
        if self._running and self._began < before and not self.is_stuck:
            self.is_stuck = True
            self._runner.give_up()
        for key in list(self._groups):
            group = deque(call for call in self._groups[key] if not call.is_done)
            if group:
                self._groups[key] = group
            else:
                del self._groups[key]

    def close(self) -> None:
        """Reject what waits and what runs, and whatever comes."""
        self._is_closed = True
        for call in list(self._calls()):
            if not call.is_done:
                self.drop(call)
                call.reject(Unavailable(STOPPING))
        self._groups.clear()
        self._retries.clear()

    @property
    def is_idle(self) -> bool:
        """True when nothing waits and nothing runs."""
        return not self._running and not self.waiting_rows and not self._retries

    def retry_after_s(self) -> int:
        """Return the whole seconds after which the queue should have emptied."""
        return min(60, max(1, math.ceil(self.waiting_rows * self._row_s)))

    def _calls(self) -> Iterator[Call]:
        for group in self._groups.values():
            yield from group
        for batch in (self._running, *self._retries):
            for call, _, _ in batch:
                yield call

    def _turn(self) -> None:
        self._is_scheduled = False
        if self._running:
            return
        if self._retries:
            batch = [one for one in self._retries.pop() if not one[0].is_done]
        else:
            batch = self._take()
        if batch:
            self._run(batch)
        if not self._running:
            self._schedule()

    def _schedule(self) -> None:
        if (self._groups or self._retries) and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._turn)

    def _take(self) -> list[Slice]:
        """Take the next batch from the group that has waited longest."""
        key = next(iter(self._groups), _NOTHING)
        if key is _NOTHING:
            return []
        group = self._groups.pop(key)
        batch: list[Slice] = []
        room = self._max_rows
        while group and room > 0:
            call = group[0]
            left = call.rows - call.taken
            if batch:
                if left > room and call.rows <= self._max_rows:
                    break  # it fits whole into the next batch
                if self._latency_s is not None and self._would_take_long(room, left):
                    break
            group.popleft()
            if call.is_done:
                continue
            count = left if left < room else room
            batch.append((call, call.taken, call.taken + count))
            call.taken += count
            self.waiting_rows -= count
            room -= count
            if left > count:
                group.append(call)  # to the back: others go between its slices
            if not self._batched:
                break
        if group:
            self._groups[key] = group  # behind the groups that came meanwhile
        return batch

    def _would_take_long(self, room: int, more: int) -> bool:
        """Say whether a batch with ``room`` left misses the goal when ``more`` rows join it."""
        rows = self._max_rows - room + min(more, room)
        return rows * self._row_s > (self._latency_s or math.inf) / 2

    def _run(self, batch: list[Slice]) -> None:
        self._running = batch
        self._began = perf_counter()
        done = partial(self._finish, batch)
        try:
            values = self._values(batch)
        except Exception as error:  # rows that cannot be joined after all
            done(None, error)
        else:
            self._runner.run(values, done)

    def _values(self, batch: list[Slice]) -> dict[str, Any]:
        call, start, stop = batch[0]
        if len(batch) == 1 and stop - start == call.rows:
            return call.values
        calls = [one.values for one, _, _ in batch]
        return join(self._batched, calls, [(start, stop) for _, start, stop in batch])

    def _finish(self, batch: list[Slice], answer: Any, error: BaseException | None) -> None:
        self._running = []
        self.is_stuck = False
        rows = sum([stop - start for _, start, stop in batch])
        self.stats.add(rows)
        row_s = (perf_counter() - self._began) / rows
        self._row_s += (row_s - self._row_s) * (_SMOOTHING if self._row_s else 1.0)
        if error is None:
            try:
                self._deliver(batch, rows, answer)
            except WrongRows as wrong:
                self._reject(batch, wrong)  # whose rows are missing cannot be told
            except Exception as cause:
                error = cause
        if error is not None:
            self._isolate(batch, error)
        self._schedule()

    def _deliver(self, batch: list[Slice], rows: int, plain: Any) -> None:
        if not self._batched:
            _resolve(batch[0][0], plain)
            return
        splitter = RowSplitter(plain, rows)
        at = 0
        for call, start, stop in batch:
            count = stop - start
            if not call.is_done:
                part = splitter.split(at, at + count)
                if count == call.rows:
                    _resolve(call, part)
                else:
                    _resolve_part(call, part, is_last=stop == call.rows)
            at += count

    def _isolate(self, batch: list[Slice], error: BaseException) -> None:
        if len(batch) == 1:
            self._reject(batch, error)
            return
        half = len(batch) // 2
        self._retries.append(batch[half:])
        self._retries.append(batch[:half])  # the earlier half goes first

    def _reject(self, batch: list[Slice], error: BaseException) -> None:
        for call, _, _ in batch:
            if not call.is_done:
                self.drop(call)
                call.reject(error)


_NOTHING = object()
_SMOOTHING = 0.1


def _resolve(call: Call, answer: Any) -> None:
    if not call.is_done:
        call.is_done = True
        call.resolve(answer)


def _resolve_part(call: Call, part: Any, *, is_last: bool) -> None:
    call.parts = [*(call.parts or ()), part]
    if is_last:
        _resolve(call, merge(call.parts))
