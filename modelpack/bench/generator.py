"""Runs lanes in this process: warm-up, then second after second, then what is still on its way.

    open ──► warm-up (not counted) ──► slice, slice, slice … ──► drain ──► Tail
              │ start                   │ on_slices, once a second

Seconds are those of ``time.perf_counter``, which is one clock for all processes of a machine, so the
slices of several generators that start at one time belong together.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from modelpack.bench.lanes import Lane, LanePlan
from modelpack.bench.loops import make_lane
from modelpack.bench.slices import Slice

SLICE_S = 1.0
_SWEEP_S = 0.05
_LONGEST_DRAIN_S = 30.0

OnSlices = Callable[[int, list[Slice]], None]
"""Called with the number of a second and one slice for each lane."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The time of a load."""

    start: float
    """When it begins, by ``perf_counter``."""
    warmup_s: float
    duration_s: float

    @property
    def begin(self) -> float:
        """When counting begins."""
        return self.start + self.warmup_s

    @property
    def end(self) -> float:
        """When it ends."""
        return self.begin + self.duration_s

    @property
    def drain_s(self) -> float:
        """Longest wait for what is still on its way at the end."""
        return min(max(2.0, self.duration_s / 2), _LONGEST_DRAIN_S)


@dataclass(slots=True)
class Tail:
    """What is known once a load has ended."""

    slices: list[Slice] = field(default_factory=list)
    """For each lane what came after the last second; it counts, but not for rates."""
    cpu_s: list[float] = field(default_factory=list)
    """Processor time that each generating process used while it counted."""
    failures: list[str] = field(default_factory=list)
    """For each lane status and start of its first answer that was not of the 2xx kind, or ''."""
    is_cut: bool = False
    """True when it was stopped before its time."""


class Generator:
    """The lanes of one process."""

    def __init__(self, plans: Sequence[LanePlan]) -> None:
        self._lanes: list[Lane] = [make_lane(plan) for plan in plans]

    async def open(self) -> None:
        """Open connections; raises OSError when a server cannot be reached."""
        for lane in self._lanes:
            await lane.open()

    async def run(self, window: Window, on_slices: OnSlices, stop: asyncio.Event) -> Tail:
        """Send the load; ends early when ``stop`` is set, with what was counted until then."""
        sweeper = asyncio.create_task(self._sweep())
        # Collections would be pauses of our own; a second of load makes no cycles to speak of.
        gc.collect()
        gc.disable()
        try:
            await _until(window.start, stop)
            for number, lane in enumerate(self._lanes):
                lane.start(window.start + number * 1e-4)
            tail = await self._count(window, on_slices, stop)
            for lane in self._lanes:
                lane.stop()
            await self._drain(1.0 if tail.is_cut else window.drain_s)
        finally:
            gc.enable()
            sweeper.cancel()
            for lane in self._lanes:
                lane.close()
        tail.slices = [lane.turn() for lane in self._lanes]
        for one in tail.slices:
            one.seconds = 0.0
        tail.failures = [lane.first_failure for lane in self._lanes]
        return tail

    async def close(self) -> None:
        """Close the connections, if a run did not."""
        for lane in self._lanes:
            lane.close()

    async def _count(self, window: Window, on_slices: OnSlices, stop: asyncio.Event) -> Tail:
        await _until(window.begin, stop)
        if window.warmup_s:
            self._turn(0.0)
        used = time.process_time()
        number, begun = 0, window.begin
        while not stop.is_set() and begun < window.end - 1e-6:
            end = min(begun + SLICE_S, window.end)
            # A last piece that is too short to say anything goes with the second before it.
            if window.end - end < SLICE_S / 4:
                end = window.end
            await _until(end, stop)
            end = min(end, time.perf_counter())
            on_slices(number, self._turn(end - begun))
            number, begun = number + 1, end
        return Tail(cpu_s=[time.process_time() - used], is_cut=stop.is_set())

    def _turn(self, seconds: float) -> list[Slice]:
        slices = [lane.turn() for lane in self._lanes]
        for one in slices:
            one.seconds = seconds
        return slices

    async def _drain(self, longest_s: float) -> None:
        deadline = time.perf_counter() + longest_s
        while time.perf_counter() < deadline and any(lane.open_requests for lane in self._lanes):
            await asyncio.sleep(_SWEEP_S / 5)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = time.perf_counter()
            for lane in self._lanes:
                lane.sweep(now)


async def _until(at: float, stop: asyncio.Event) -> None:
    """Wait until a time of ``perf_counter``, or until ``stop`` is set."""
    # uvloop's timers may ring up to a millisecond early.
    while not stop.is_set() and (rest := at - time.perf_counter()) > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), rest)
