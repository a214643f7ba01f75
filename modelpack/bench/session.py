"""One load from beginning to end: the function behind every command and preset.

    Aim, Aim … + Load ──measure──► Generator or Shards ──slices──► watch (live), Result, Result …
                                     │ before, after
                                     └──► /metrics of each server, processor time of this machine

Ctrl-C ends a load early and keeps what was measured (``Result.is_cut``).
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from modelpack.bench.aim import Aim, problem_text
from modelpack.bench.generator import Generator, Tail, Window
from modelpack.bench.load import Load
from modelpack.bench.machine import busy_share, busy_ticks
from modelpack.bench.place import unreachable
from modelpack.bench.result import Generated, Result
from modelpack.bench.running import run_on_fast_loop
from modelpack.bench.scrape import Scrape, between, scrape
from modelpack.bench.shards import Shards
from modelpack.bench.slices import Slice, side_by_side
from modelpack.errors import BenchError

_START_IN_S = 0.05


@dataclass(frozen=True, slots=True)
class Progress:
    """One second of a running load, all lanes together."""

    elapsed_s: float
    duration_s: float
    now: Slice


Watch = Callable[[Progress], None]


def measure(aims: Sequence[Aim], load: Load, *, watch: Watch | None = None) -> list[Result]:
    """Put a load on servers and return a result for each aim, in their order.

    The load is parted evenly among the aims.  Raises BenchError when a server cannot be reached or
    answers nothing but errors.
    """
    results = run_on_fast_loop(_measured(aims, load, watch))
    for result in results:
        _require_success(result)
    return results


async def _measured(aims: Sequence[Aim], load: Load, watch: Watch | None) -> list[Result]:
    part = load.parted(len(aims)) if len(aims) > 1 else load
    plans = [part.lane(aim, seed=number + 1) for number, aim in enumerate(aims)]
    generator = Generator(plans) if load.processes == 1 else Shards(plans, load.processes)
    seen: list[list[Slice]] = []

    def on_slices(_number: int, slices: list[Slice]) -> None:
        seen.append(slices)
        if watch is not None:
            elapsed = sum(one[0].seconds for one in seen)
            watch(Progress(elapsed, load.duration_s, side_by_side(slices)))

    stop = asyncio.Event()
    try:
        with _interrupts(stop):
            try:
                await generator.open()
            except OSError as error:
                raise unreachable(aims[0].place, error) from error
            start = time.perf_counter() + _START_IN_S
            window = Window(start=start, warmup_s=load.warmup_s, duration_s=load.duration_s)
            started = datetime.now(UTC)
            running = asyncio.create_task(generator.run(window, on_slices, stop))
            watched = await _watched(aims, window, running, stop)
            tail = await running
    finally:
        await generator.close()
    servers = [
        between(before, after, aim.api)
        for aim, before, after in zip(aims, watched.before, watched.after, strict=True)
    ]
    counted_s = sum(one[0].seconds for one in seen) or load.duration_s
    generated = Generated(
        cpu=tuple(used / counted_s for used in tail.cpu_s) or (0.0,),
        machine_cpu=watched.machine_cpu,
        processors=os.cpu_count() or 1,
    )
    return [
        Result(
            target=_target(aim),
            load=part,
            slices=tuple(one[number] for one in seen),
            tail=tail.slices[number],
            server=servers[number],
            generated=generated,
            started=started.isoformat(timespec="seconds"),
            is_cut=tail.is_cut,
            failure=_failure_text(tail.failures[number]),
        )
        for number, aim in enumerate(aims)
    ]


@dataclass(frozen=True, slots=True)
class _Watched:
    """What was read before and after, beside the load; pages for each aim."""

    before: list[Scrape | None]
    after: list[Scrape | None]
    machine_cpu: float | None


async def _watched(
    aims: Sequence[Aim], window: Window, running: asyncio.Task[Tail], stop: asyncio.Event
) -> _Watched:
    await _wait(window.begin, running, stop)
    at_begin = busy_ticks()
    before = await _scrapes(aims)
    await _wait(window.end, running, stop)
    at_end = busy_ticks()
    after = await _scrapes(aims)
    is_here = any(aim.place.is_here for aim in aims)
    return _Watched(before, after, busy_share(at_begin, at_end) if is_here else None)


async def _wait(at: float, running: asyncio.Task[Tail], stop: asyncio.Event) -> None:
    stopped = asyncio.create_task(stop.wait())
    rest = max(at - time.perf_counter(), 0)
    await asyncio.wait({running, stopped}, timeout=rest, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()


async def _scrapes(aims: Sequence[Aim]) -> list[Scrape | None]:
    pages: dict[str, Scrape | None] = {}
    for aim in aims:
        if aim.place.url not in pages:
            pages[aim.place.url] = await asyncio.to_thread(scrape, aim.place, aim.headers)
    return [pages[aim.place.url] for aim in aims]


def _failure_text(failure: str) -> str:
    status, _, body = failure.partition(" ")
    return " ".join(part for part in (status, problem_text(body.encode())) if part)


def _target(aim: Aim) -> dict[str, Any]:
    return {
        "url": aim.place.url,
        "method": aim.method,
        "path": aim.path,
        "api": aim.api,
        "service": aim.service,
        "version": aim.version,
        "source": aim.source,
        "bodies": len(aim.bodies),
        "body_bytes": aim.body_bytes,
        "content_type": aim.bodies[0].content_type if aim.bodies else "",
    }


def _require_success(result: Result) -> None:
    whole = result.whole
    if whole.good or result.is_cut or not whole.offered:
        return
    counts = {**{str(s): n for s, n in whole.statuses.items()}, **whole.errors}
    kind, count = max(counts.items(), key=lambda one: one[1], default=("unanswered", 0))
    why = f", first with '{result.failure}'" if result.failure else ""
    raise BenchError(
        f"none of {whole.offered:,} requests to '{result.label}' succeeded: "
        f"'{kind}' for {count:,}{why}",
        hint="the log of the server says more",
    )


@contextmanager
def _interrupts(stop: asyncio.Event) -> Iterator[None]:
    """Let Ctrl-C set ``stop`` meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
