"""The thread that hands events over, the oldest first, as long as it takes.

    exchanges ──► events, a few at a time ──► sink ──taken──► sent
                                                ├──refused for good, or heard eight times──► dropped
                                                └──failed──► a pause, longer each time ──► again

A collector that is away keeps the events that are in hand; those behind them wait in the queue, and
when that is full new ones are dropped there, so nobody else ever waits.  At the end of the server a
delivery that fails is the last: what is left is dropped and counted.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep

from modelpack.server.observe.payloads.events import Event, events_of
from modelpack.server.observe.payloads.record import Exchange
from modelpack.server.observe.payloads.sinks import Outcome, Sink
from modelpack.server.observe.stats import PayloadStats

TIMEOUT_S = 10.0
"""Longest that one delivery may take."""

LAST_TIMEOUT_S = 1.0
"""The same at the end, for a sink that took nothing before."""

MOST_TRIES = 8
"""How often events are sent to somebody who hears and does not take them."""

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0

GATHER_S = 0.01
"""How long the thread lets exchanges gather: one that wakes for each takes the time of the others."""

MOST_BYTES = 4 * 1024 * 1024
"""Bytes of bodies that are enough for one delivery."""

REFUSED_S = 60.0
"""How long it is not said again that events are refused."""

_IDLE_S = 1.0
_LEAST_TIMEOUT_S = 0.05


@dataclass(slots=True)
class _Pending:
    event: Event
    tries: int = 0
    """How often somebody heard it and did not take it."""


Tell = Callable[[str, str, str], None]
"""Says in the log that something happened to the sink of that name, and why."""


class Sender:
    """Takes exchanges from a queue and hands their events to a sink."""

    def __init__(
        self,
        sink: Callable[[], Sink],
        stats: PayloadStats,
        *,
        tell: Tell,
    ) -> None:
        """``sink`` makes the sink, in the thread; it does not raise."""
        self._make = sink
        self._stats = stats
        self._tell = tell
        self._queue: deque[Exchange] = deque()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._end_at = 0.0
        self._is_idle = False
        self._is_abandoned = False
        self._refused_at = -REFUSED_S
        self.is_failing = False
        """True since a delivery failed, until one is taken."""
        self._thread = threading.Thread(target=self._work, name="modelpack-payloads", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, exchange: Exchange) -> None:
        """Queue an exchange; costs the caller next to nothing."""
        self._queue.append(exchange)
        if self._is_idle:
            self._wake.set()

    def end(self, limit_s: float) -> None:
        """Begin to end: what waits is handed over within ``limit_s``, or dropped."""
        self._end_at = monotonic() + limit_s
        self._stop.set()
        self._wake.set()

    @property
    def has_ended(self) -> bool:
        """True once the thread is gone, after ``end``."""
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """Wait no longer, after ``end``: what was not handed over by now is dropped."""
        self._is_abandoned = True
        self._queue.clear()
        stats = self._stats
        stats.drop("stopped", stats.waiting_events)
        stats.left_events, stats.left_bytes = stats.taken_events, stats.taken_bytes

    def _work(self) -> None:
        sink = self._make()
        try:
            while self._wait():
                self._take(sink)
        finally:
            sink.close()

    def _wait(self) -> bool:
        """Return True once there is something to send, False at the end."""
        while not self._queue:
            if self._stop.is_set():
                return False
            self._is_idle = True
            if not self._queue:  # or it came before that was seen
                self._wake.wait(_IDLE_S)
            self._is_idle = False
            self._wake.clear()
            if self._queue and not self._stop.is_set():
                sleep(GATHER_S)
        return not self._is_abandoned

    def _take(self, sink: Sink) -> None:
        """Send as many exchanges as one delivery takes, one at least."""
        events: list[Event] = []
        size = 0
        with suppress(IndexError):  # who does not wait any longer empties the queue
            while self._queue and len(events) < sink.most_events and size < MOST_BYTES:
                exchange = self._queue.popleft()
                events += events_of(exchange)
                size += exchange.kept_bytes
        for start in range(0, len(events), sink.most_events):
            self._deliver(sink, events[start : start + sink.most_events])
        if not self._is_abandoned:
            self._stats.left_bytes += size

    def _deliver(self, sink: Sink, events: Sequence[Event]) -> None:
        """Send events until each is taken, refused or given up."""
        pending = [_Pending(event) for event in events]
        pause_s = FIRST_PAUSE_S
        while pending and not self._is_over:
            try:
                outcomes = sink.deliver([one.event for one in pending], self._timeout_s)
            except Exception as error:  # ours; the next ones may be of another kind
                # Its text may hold what a client sent.
                self._tell("payload-log-fails", sink.name, f"a fault: {type(error).__name__}")
                self._leave("internal", len(pending))
                return
            pending = self._judge(sink, pending, outcomes)
            if not pending:
                return
            if self._stop.is_set():
                self._end_at = 0.0  # it would fail for all that is left
                break
            wait_s = max(pause_s, *(outcome.retry_after_s for outcome in outcomes))
            self._stop.wait(wait_s * random.uniform(0.8, 1.2))  # noqa: S311 - only to spread them
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        self._leave("stopped", len(pending))

    def _judge(
        self, sink: Sink, pending: Sequence[_Pending], outcomes: Sequence[Outcome]
    ) -> list[_Pending]:
        """Count what has become of events; returns those to be sent again."""
        again: list[_Pending] = []
        for one, outcome in zip(pending, outcomes, strict=True):
            one.tries += outcome.was_heard
            if not outcome.failure:
                self._leave("", 1)
            elif outcome.is_final:
                self._leave("refused", 1)
            elif one.tries >= MOST_TRIES:
                self._leave("undelivered", 1)
            else:
                again.append(one)
        for outcome in {id(outcome): outcome for outcome in outcomes}.values():
            if outcome.failure:
                self._stats.fail(outcome.failure)
                self._complain(sink, outcome)
        if all(not outcome.failure for outcome in outcomes):
            self._works_again(sink)
        return again

    def _leave(self, dropped: str, events: int) -> None:
        """Count events that are in hand no more: sent, or dropped for that reason."""
        if self._is_abandoned:  # they were counted by who did not wait
            return
        if dropped:
            self._stats.drop(dropped, events)
        else:
            self._stats.sent += events
        self._stats.left_events += events

    @property
    def _is_over(self) -> bool:
        return self._stop.is_set() and (self._is_abandoned or monotonic() >= self._end_at)

    @property
    def _timeout_s(self) -> float:
        if not self._stop.is_set():
            return TIMEOUT_S
        longest_s = LAST_TIMEOUT_S if self.is_failing else TIMEOUT_S
        return max(_LEAST_TIMEOUT_S, min(longest_s, self._end_at - monotonic()))

    def _complain(self, sink: Sink, outcome: Outcome) -> None:
        """Say that the sink fails, once until it works again; that it refuses, once a minute."""
        if outcome.is_final:
            if monotonic() - self._refused_at > REFUSED_S:
                self._refused_at = monotonic()
                self._tell("payload-log-refused", sink.name, outcome.why)
        elif not self.is_failing:
            self.is_failing = True
            self._tell("payload-log-fails", sink.name, outcome.why)

    def _works_again(self, sink: Sink) -> None:
        if self.is_failing:
            self.is_failing = False
            self._tell("payload-log-works", sink.name, "")
