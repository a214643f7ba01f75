"""Gathers the rows of single requests into batches and hands the answers back.

    submit(call) ──► lines ──release──► Batch ──► a free runner ──► answers ──► resolve / reject each
                      ▲  how many, and now or later? │                  │
                      └──── costs: learned from every batch ◄───────────┤
                            again: halves, replays ◄────────────────────┘

A free runner takes what is there: everything that arrived in one turn of the event loop; while all
are busy, requests gather.  Nothing waits for a clock, unless the settings ask for it.  What always
holds:

* each request gets its own rows, in its own order, or an error, and is answered exactly once;
* a request that nobody waits for any more, or whose time has passed, never reaches a runner;
* a request with more rows than fit is run in slices, and others go between them;
* when a batch fails it is halved until only the request fails that makes it fail; when its runner
  dies, each request of it is run again by itself;
* while a runner is free nothing waits, unless it is held on purpose.

An api without batching is the same with one request a batch.  Not here: who is next (``lines``), how
many and when (``release``), what batches cost (``cost``), bytes on sockets (``endpoint``).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from time import perf_counter
from typing import Any

from modelpack.config.serving import BatchConfig, ServerSettings
from modelpack.sdk.api import ApiSpec
from modelpack.server.batching.alarm import Alarm
from modelpack.server.batching.answers import after, deliver, deliver_whole
from modelpack.server.batching.call import Batch, Call
from modelpack.server.batching.lines import Lines
from modelpack.server.batching.pace import Gate, Pace
from modelpack.server.batching.padding import Padding
from modelpack.server.batching.picker import Picker, RowSize
from modelpack.server.batching.rows import row_size, values_of
from modelpack.server.batching.seats import Seat, Seats
from modelpack.server.observe.stats import BatchStats
from modelpack.server.problems import (
    STOPPING,
    STUCK,
    Overloaded,
    RunnerLost,
    TimedOut,
    Unavailable,
)
from modelpack.server.runners.base import Runs

OnBatch = Callable[[Batch, float, float, BaseException | None], None]
"""Gets a batch, when it began (``perf_counter``), the seconds that it ran, and its error if any."""


class Batcher:
    """Runs the calls of one api, one batch at a time in each of its runners."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        batched: tuple[str, ...] = (),
        config: BatchConfig | None = None,
        max_queue_rows: int = 4096,
        max_queue_bytes: int = 256 * 1024 * 1024,
        timeout_s: float = 30.0,
        padding: Padding | None = None,
        row_size: RowSize | None = None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """Without runners; calls wait until there is one.

        ``batched`` names the parameters with rows; empty: every call runs by itself.  ``timeout_s``
        is how long a batch may run before its runner is told to give up.  ``padding`` is what
        makes requests of different length alike, ``row_size`` tells rows of different cost apart.
        """
        config = config or BatchConfig(max_batch_size=1)
        self._loop = loop
        self._clock = clock
        self._batched = batched
        self._padding = padding
        self._deliver = partial(deliver, padding=padding) if batched else deliver_whole
        self._max_rows = config.max_batch_size if batched else 1
        self._max_queue_bytes = max_queue_bytes
        self._timeout_s = timeout_s
        self._lines = Lines()
        self._again: deque[Batch] = deque()
        self._seats = Seats()
        self._pace = Pace(self._max_rows, max_queue_rows)
        self._gate = Gate(self._lines, self._pace, self._seats, max_queue_rows, max_queue_bytes)
        self._picker = Picker(self._lines, self._pace, config if batched else None, row_size)
        self._alarm = Alarm(loop, self._serve)
        self._is_scheduled = False
        self._is_closed = False
        self._is_refusing = False  # closed or stuck
        self.on_batch: OnBatch | None = None
        """Hears of every batch that has run, before its answers are handed out."""
        self.stats = BatchStats()

    @classmethod
    def of(cls, api: ApiSpec, settings: ServerSettings, loop: asyncio.AbstractEventLoop) -> Batcher:
        """Return the batcher of an api, as it and the settings of the server say."""
        return cls(
            loop=loop,
            batched=api.batched,
            config=api.batch,
            max_queue_rows=settings.max_queue_rows,
            max_queue_bytes=settings.max_queue_bytes,
            timeout_s=settings.request_timeout_s,
            padding=Padding.of(api),
            row_size=row_size(api) if api.batch is not None else None,
        )

    def add_runner(self, runs: Runs) -> None:
        """Let a runner take batches from now on, one at a time."""
        self._seats.add(runs)
        self._pace.share(len(self._seats))
        self._is_refusing = self._is_closed
        self._schedule()

    def remove_runner(self, runs: Runs) -> None:
        """Give a runner no more batches; the one that it has is still answered."""
        self._seats.remove(runs)
        self._pace.share(len(self._seats))

    def learn(self, values: Mapping[str, Any], rows: int, seconds: float) -> None:
        """Take in what a call of the warm-up took, so that costs are not wholly unknown at first."""
        self._pace.learn(self._picker.model_of(values), rows, seconds)

    def submit(self, call: Call) -> None:
        """Queue a call, run it, or reject it at once."""
        lines = self._lines
        if not self._batched and not lines.rows and self._run_at_once(call):
            return
        if (
            lines.rows + call.rows > self._pace.easy_rows
            or lines.size_bytes + call.size_bytes > self._max_queue_bytes
            or self._is_refusing
        ):
            error: Exception | None = None
            if self._is_refusing:
                error = Unavailable(STOPPING if self._is_closed else STUCK)
            elif why := self._gate.objection(call):
                error = Overloaded(self.retry_after_s(), why)
            if error is not None:
                call.is_done = True
                call.reject(error)
                return
        lines.add(call)
        if not self._is_scheduled and self._seats.free:
            self._is_scheduled = True
            self._loop.call_soon(self._turn)

    def _run_at_once(self, call: Call) -> bool:
        """Run a call that has no company to wait for, if its runner would not leave the event loop.

        A batch of its own and another turn of the loop would cost more than such a call.
        """
        free = self._seats.free
        if (
            not free
            or not getattr(free[-1].runs, "is_inline", False)
            or self._again
            or self._is_refusing
            or self.on_batch is not None
        ):
            return False
        began = self._clock()
        if call.deadline <= began:
            return False
        free[-1].runs.run(call.values, partial(self._ran_at_once, call, began))
        return True

    def _ran_at_once(
        self, call: Call, began: float, answer: Any, error: BaseException | None
    ) -> None:
        call.queue_s = began - call.started
        call.run_s = took = self._clock() - began
        call.is_done = True
        self.stats.add(1, "alone", took)
        if error is None:
            self._pace.learn(self._pace.costs.all, 1, took)
            call.resolve(answer)
        else:
            call.reject(error)

    def drop(self, call: Call) -> None:
        """Forget a call: nobody waits for its answer."""
        if not call.is_done:
            call.is_done = True
            self._lines.drop(call)
            call.values, call.parts = {}, None

    def expire(self, now: float) -> None:
        """Reject every call whose deadline has passed at ``now``; forgets dropped ones too.

        A batch that has run for longer than any request may, and than its own may, is given up.
        """
        late = [call for call in self._calls() if call.deadline <= now and not call.is_done]
        self._reject_all(late, TimedOut)
        for seat in list(self._seats.busy()):
            if (
                now - seat.began > self._timeout_s
                and seat.given_up == math.inf
                and (seat.batch is None or seat.batch.deadline <= now)
            ):
                seat.given_up = now
                seat.runs.give_up()
        self._is_refusing = self._is_closed or self._seats.are_stuck(now)
        self._lines.sweep()

    def refuse_all(self, error: BaseException) -> None:
        """Reject what waits; what runs is still answered."""
        waiting = [*self._lines.calls(), *(one[0] for batch in self._again for one in batch.slices)]
        self._reject_all(waiting, lambda: error)
        self._lines.sweep()
        self._again.clear()

    def close(self) -> None:
        """Reject what waits and what runs, and whatever comes."""
        self._is_closed = self._is_refusing = True
        self._reject_all(list(self._calls()), lambda: Unavailable(STOPPING))
        self._lines.sweep()
        self._again.clear()
        self._alarm.cancel()

    def _reject_all(self, calls: list[Call], error: Callable[[], BaseException]) -> None:
        for call in calls:
            if not call.is_done:  # it may be there twice, running and waiting
                self.drop(call)
                call.reject(error())

    @property
    def waiting_rows(self) -> int:
        """Rows that wait for a runner."""
        return self._lines.rows

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the requests that wait for a runner."""
        return self._lines.size_bytes

    @property
    def is_stuck(self) -> bool:
        """True while no runner ends the call that it has, although its time has passed."""
        return self._is_refusing and not self._is_closed

    @property
    def is_idle(self) -> bool:
        """True when nothing waits and nothing runs."""
        return not self._lines.rows and not self._again and not any(self._seats.busy())

    def retry_after_s(self) -> int:
        """Return the whole seconds, 1 or more, after which the queue should have emptied."""
        return self._pace.retry_after_s(self._lines.rows)

    def _calls(self) -> Iterator[Call]:
        yield from self._lines.calls()
        running = [seat.batch for seat in self._seats.busy() if seat.batch is not None]
        for batch in (*running, *self._again):
            for call, _, _ in batch.slices:
                yield call

    def _schedule(self) -> None:
        if not self._is_scheduled and (self._lines.rows or self._again) and self._seats.free:
            self._is_scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._is_scheduled = False
        self._serve()

    def _serve(self) -> None:
        """Give each runner that is free a batch, as long as there are some to give."""
        free = self._seats.free
        for _ in range(len(free)):
            batch = self._next()
            if batch is None:
                return
            self._start(free.pop(), batch)
        self._schedule()

    def _next(self) -> Batch | None:
        """Take the next batch; None: nothing waits, or what waits is held."""
        while self._again:
            batch = self._again.popleft()
            if batch.keep_wanted():
                return batch
        if not self._lines.rows:
            return None
        now = self._clock()
        picked = self._picker.pick(now, len(self._seats), len(self._seats.free))
        if self._lines.late:
            late, self._lines.late = self._lines.late, []
            self._reject_all(late, TimedOut)
        if picked is None:
            for seat in self._seats.free:
                seat.free_since = math.inf  # it is held, not slow
            self._alarm.set(self._picker.held_until, now)
        return picked

    def _start(self, seat: Seat, batch: Batch) -> None:
        seat.batch = batch
        seat.is_starting = True
        try:
            values = values_of(batch, self._batched, self._padding, self.stats)
            seat.model = self._picker.model_of(values)
        except Exception as error:  # rows that cannot be joined after all
            seat.began = self._clock()
            self._finish(seat, batch, None, error)
            seat.is_starting = False
            return
        seat.began = now = self._clock()
        if seat.free_since < now:
            self._pace.pause(now - seat.free_since)
        seat.runs.run(values, partial(self._finish, seat, batch))
        seat.is_starting = False

    def _finish(self, seat: Seat, batch: Batch, answer: Any, error: BaseException | None) -> None:
        if seat.batch is not batch:
            return  # it was answered before
        began, model = seat.began, seat.model
        now = self._clock()
        took = now - began
        seat.free_since = now if self._lines.rows else math.inf
        self._seats.leave(seat)
        self._is_refusing = self._is_closed
        self.stats.add(batch.rows, batch.reason, took)
        if self.on_batch is not None:
            self.on_batch(batch, began, took, error)
        if error is None:
            if model is not None:
                self._pace.learn(model, batch.rows, took)
            if self._lines.rows >= self._max_rows and not seat.is_starting:
                self._serve()  # a full batch waits: it need not wait for the answers' writing
            try:
                self._deliver(batch, answer, began, took)
            except Exception as cause:
                error = cause
        if error is not None:
            self._settle(batch, error, began, took)
        self._schedule()

    def _settle(self, batch: Batch, error: BaseException, began: float, took: float) -> None:
        """Run a failed batch again in parts, or tell its calls."""
        if not batch.keep_wanted():
            return
        again, blamed = after(batch, error)
        if isinstance(error, RunnerLost):
            self.stats.replays += sum([len(one.slices) for one in again])
            for one in again:
                if error.has_begun:  # what still waits of it shares no batch either
                    self._lines.isolate(one.slices[0][0])
        self._again.extendleft(reversed(again))
        for call, cause in blamed:
            if not call.is_done:
                call.queue_s, call.run_s = began - call.started, took
                self.drop(call)
                call.reject(cause)
