"""The suites: what is usually asked of a model server, each one table.

throughput        closed loop, more at a time until that brings nothing: the knee
latency           one connection: what a single client sees
ping              GET /livez: what the server costs without a model
load              open loop at a share of the capacity, for longer
repeated-scale    replicas up and down under load: is anything lost?
multiple-models   every api, and every server that was named, at once
concurrency       1, 2, 4 … 256 at a time

Bench (aims, step, watch) ──run_suite(name)──► Suite(head, rows, results)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelpack.bench.aim import Aim
from modelpack.bench.load import Load
from modelpack.bench.result import Result
from modelpack.bench.scaling import repeated_scale
from modelpack.bench.session import Watch, measure
from modelpack.bench.suite import HEAD, Suite, row

MOST_CONCURRENCY = 256
LOAD_SHARE = 0.7
"""Share of the measured capacity that the suite ``load`` offers."""
_GAIN = 1.05
_LEAST_RAMP = 32
"""So many at a time are tried in any case: one bad second is no knee."""
_PING_CONCURRENCY = 16
_FULL_CONCURRENCY = 64


@dataclass(slots=True)
class Bench:
    """What the suites are run on, and what they learn on the way."""

    aims: Sequence[Aim]
    """The first is what the suites of one api use."""
    every: Callable[[], Sequence[Aim]]
    """Makes the aims of ``multiple-models``."""
    base: Load
    """Length of a step, its warm-up, and so on; rate and concurrency are the suites' own."""
    admin_socket: Path | None = None
    watch: Watch | None = None
    capacity: float | None = None
    """Requests a second, once ``throughput`` has found it."""
    results: list[Result] = field(default_factory=list)

    def step(self, aims: Sequence[Aim], *, times: float = 1.0, **changes: Any) -> list[Result]:
        """Run one step of a suite; ``times`` as long as usual."""
        duration_s = self.base.duration_s * times
        load = replace(self.base, duration_s=duration_s, **{"rate": None, **changes})
        return measure(aims, load, watch=self.watch)


def run_suite(name: str, bench: Bench) -> Suite:
    """Run one suite; raises BenchError when a server fails altogether."""
    return _SUITES[name](bench)


def seconds_of(name: str, base: Load) -> float:
    """Return about how long a suite takes, at most."""
    step = base.duration_s + base.warmup_s + 0.3
    return _STEPS[name] * step


def _throughput(bench: Bench) -> Suite:
    suite = Suite("throughput", "more at a time until it brings nothing", ("at a time", *HEAD))
    best, misses, at = 0.0, 0, 1
    while at <= 2 * MOST_CONCURRENCY and (at <= _LEAST_RAMP or misses < 2):
        (result,) = bench.step(bench.aims[:1], concurrency=at)
        suite.add(result, (str(at), *row(result)))
        if result.is_cut:
            return suite
        misses = 0 if result.rate > best * _GAIN else misses + 1
        best = max(best, result.rate)
        at *= 2
    knee = next(one for one in suite.results if one.rate >= best * 0.95)
    bench.capacity = best
    suite.finding = f"{knee.rate:,.0f}/s with {knee.load.concurrency} at a time; {knee.advice.text}"
    return suite


def _latency(bench: Bench) -> Suite:
    suite = Suite("latency", "one connection", ("at a time", *HEAD))
    (result,) = bench.step(bench.aims[:1], times=2, concurrency=1)
    suite.add(result, ("1", *row(result)))
    suite.finding = result.advice.text
    return suite


def _ping(bench: Bench) -> Suite:
    suite = Suite("ping", "GET /livez, the server without a model", ("at a time", *HEAD))
    first = bench.aims[0]
    aim = Aim(place=first.place, method="GET", path="/livez", headers=first.headers)
    (result,) = bench.step([aim], concurrency=_PING_CONCURRENCY)
    suite.add(result, (str(_PING_CONCURRENCY), *row(result)))
    return suite


def _load(bench: Bench) -> Suite:
    title = f"open loop at {LOAD_SHARE:.0%} of the capacity, as independent clients come"
    suite = Suite("load", title, ("offered/s", *HEAD))
    if bench.capacity is None:
        (full,) = bench.step(bench.aims[:1], concurrency=_FULL_CONCURRENCY)
        bench.capacity = full.rate
        if full.is_cut:
            return suite
    rate = max(bench.capacity * LOAD_SHARE, 1.0)
    (result,) = bench.step(bench.aims[:1], times=5, rate=rate, arrivals="poisson")
    suite.add(result, (f"{rate:,.0f}", *row(result)))
    suite.finding = result.advice.text
    return suite


def _repeated_scale(bench: Bench) -> Suite:
    return repeated_scale(bench.aims[0], bench.base, bench.admin_socket, watch=bench.watch)


def _multiple_models(bench: Bench) -> Suite:
    suite = Suite("multiple-models", "every api at once", ("api", *HEAD))
    aims = bench.every()
    concurrency = max(bench.base.concurrency, len(aims))
    for result in bench.step(aims, times=2, concurrency=concurrency):
        where = f" {result.target['url']}" if len({aim.place.url for aim in aims}) > 1 else ""
        suite.add(result, (f"{result.label}{where}", *row(result)))
    return suite


def _concurrency(bench: Bench) -> Suite:
    suite = Suite("concurrency", "1 to 256 at a time", ("at a time", *HEAD))
    at = 1
    while at <= MOST_CONCURRENCY:
        (result,) = bench.step(bench.aims[:1], concurrency=at)
        suite.add(result, (str(at), *row(result)))
        if result.is_cut:
            break
        at *= 2
    return suite


_SUITES: dict[str, Callable[[Bench], Suite]] = {
    "throughput": _throughput,
    "latency": _latency,
    "ping": _ping,
    "load": _load,
    "repeated-scale": _repeated_scale,
    "multiple-models": _multiple_models,
    "concurrency": _concurrency,
}
_STEPS = {
    "throughput": 8,
    "latency": 2,
    "ping": 1,
    "load": 6,
    "repeated-scale": 5,
    "multiple-models": 2,
    "concurrency": 9,
}
"""Steps that each of them takes, at most."""

PRESETS = (*_SUITES, "all")
"""Names for ``--preset``."""


def suites_of(preset: str) -> tuple[str, ...]:
    """Return the suites that a preset stands for."""
    return tuple(_SUITES) if preset == "all" else (preset,)
