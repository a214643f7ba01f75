"""Readings that leave their process, or outlive it.

    worker: readings ──to_plain──► JSON ──from_plain──► readings ─┐
    worker: …                                                     ├─merge──► one of each api
    what gone workers and swapped services had counted ───────────┘

``Totals`` keeps the last readings of each part of a server.  When a part goes, what it had counted
stays and what it held goes: no counter ever falls because a worker died or a service was swapped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from modelpack.server.observe.processes import Usage
from modelpack.server.observe.stats import (
    ApiStats,
    BatchStats,
    ConnectionStats,
    Exemplar,
    PayloadStats,
    Reading,
    RunnerStats,
    TaskStats,
)

Plain = dict[str, Any]
"""A JSON object."""

_Stats = TypeVar("_Stats", ApiStats, BatchStats)
_Key = TypeVar("_Key")

_NUMBERS = ("rows", "seconds", "failed_s", "queue_s", "overhead_s", "in_flight", "batches", "run_s",
            "real_elements", "padded_elements", "replays", "feedback", "reward")  # fmt: skip
_HISTOGRAMS = ("buckets", "queue_buckets", "overhead_buckets", "run_buckets")
_LATEST = ("last_s",)
_PAYLOAD_NUMBERS = ("taken_events", "taken_bytes", "left_events", "left_bytes", "sent")
_DICTS = ("statuses", "problems", "faces", "reasons", "size_counts", "size_s")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a server shows at one moment, all of its processes together."""

    readings: list[Reading]
    pids: tuple[int, ...] = ()
    """Its processes; empty: this one alone."""
    usage: Usage | None = None
    """What they use, when somebody has added that up already."""


Gather = Callable[[], Awaitable[Snapshot]]
"""Asks all parts of a server."""


class Totals:
    """The sums over the parts of a server, of which some are gone."""

    def __init__(self) -> None:
        self._live: dict[str, list[Reading]] = {}
        self._gone: list[Reading] = []

    def update(self, part: str, readings: Iterable[Reading]) -> None:
        """Keep the newest readings of a part, such as a worker or the service before a swap."""
        self._live[part] = list(readings)

    def retire(self, part: str) -> None:
        """Let a part go: its counts stay."""
        self._gone = merge(self._gone, map(_ended, self._live.pop(part, ())))

    def readings(self) -> list[Reading]:
        """Return the sums."""
        return merge(*self._live.values(), self._gone)


def merge(*lists: Iterable[Reading]) -> list[Reading]:
    """Return one reading for each api, with everything added up; the arguments stay as they are."""
    merged: dict[str, Reading] = {}
    for readings in lists:
        for reading in readings:
            name = reading.stats.name
            base = merged.get(name) or Reading(ApiStats(name), None, 0)
            merged[name] = _sum(base, reading)
    return list(merged.values())


def to_plain(readings: Iterable[Reading]) -> list[Plain]:
    """Return the readings as JSON values."""
    return [
        {
            "stats": _plain_stats(reading.stats),
            "batches": None if reading.batches is None else _plain_stats(reading.batches),
            "waiting": [reading.waiting_rows, reading.waiting_bytes],
            "connections": reading.connections and _fields_of(reading.connections),
            "runners": reading.runners and _fields_of(reading.runners),
            "tasks": reading.tasks and _fields_of(reading.tasks),
            "payloads": reading.payloads and _fields_of(reading.payloads),
        }
        for reading in readings
    ]


def from_plain(plain: Iterable[Mapping[str, Any]]) -> list[Reading]:
    """Return what ``to_plain`` was given; raises ValueError when it is something else."""
    try:
        return [_reading(one) for one in plain]
    except (KeyError, TypeError, AttributeError) as cause:
        raise ValueError(f"not readings of this version: {cause!r}") from cause


def _reading(plain: Mapping[str, Any]) -> Reading:
    stats = _fill(ApiStats(plain["stats"]["name"]), plain["stats"])
    batches, connections, runners = plain["batches"], plain["connections"], plain["runners"]
    tasks, payloads = plain["tasks"], plain["payloads"]
    rows, size = plain["waiting"]
    return Reading(
        stats,
        None if batches is None else _fill(BatchStats(), batches),
        rows,
        size,
        None if connections is None else ConnectionStats(**connections),
        None if runners is None else RunnerStats(**runners),
        None if tasks is None else TaskStats(**tasks),
        None if payloads is None else PayloadStats(**payloads),
    )


def _plain_stats(stats: ApiStats | BatchStats) -> Plain:
    plain: Plain = {}
    for name in stats.__slots__:
        value = getattr(stats, name)
        if name in _DICTS:
            value = [[key, count] for key, count in value.items()]
        elif name == "exemplars":
            value = [[i, one.request_id, one.seconds, one.at] for i, one in value.items()]
        plain[name] = value
    return plain


def _fill(stats: _Stats, plain: Mapping[str, Any]) -> _Stats:
    for name in stats.__slots__:
        value = plain[name]
        if name in _DICTS:
            value = {tuple(key) if isinstance(key, list) else key: count for key, count in value}
        elif name == "exemplars":
            value = {index: Exemplar(*one) for index, *one in value}
        elif name in _HISTOGRAMS and len(value) != len(getattr(stats, name)):
            raise ValueError(f"{name} has {len(value)} buckets")
        setattr(stats, name, value)
    return stats


def _fields_of(stats: ConnectionStats | RunnerStats | TaskStats | PayloadStats) -> Plain:
    return {name: getattr(stats, name) for name in stats.__slots__}


def _sum(one: Reading, two: Reading) -> Reading:
    stats = _sum_stats(ApiStats(one.stats.name), one.stats, two.stats)
    stats.exemplars = dict(one.stats.exemplars)
    for index, exemplar in two.stats.exemplars.items():
        there = stats.exemplars.get(index)
        if there is None or there.at <= exemplar.at:
            stats.exemplars[index] = exemplar
    batches = one.batches or two.batches
    if one.batches is not None and two.batches is not None:
        batches = _sum_stats(BatchStats(), one.batches, two.batches)
    return Reading(
        stats,
        batches,
        one.waiting_rows + two.waiting_rows,
        one.waiting_bytes + two.waiting_bytes,
        _sum_connections(one.connections, two.connections),
        _sum_runners(one.runners, two.runners),
        _sum_tasks(one.tasks, two.tasks),
        _sum_payloads(one.payloads, two.payloads),
    )


def _sum_stats(into: _Stats, one: _Stats, two: _Stats) -> _Stats:
    for name in into.__slots__:
        left, right = getattr(one, name), getattr(two, name)
        if name in _NUMBERS:
            setattr(into, name, left + right)
        elif name in _LATEST:
            setattr(into, name, max(left, right))
        elif name in _HISTOGRAMS:
            setattr(into, name, [a + b for a, b in zip(left, right, strict=True)])
        elif name in _DICTS:
            setattr(into, name, _sum_dicts(left, right))
    return into


def _sum_dicts(one: Mapping[_Key, int], two: Mapping[_Key, int]) -> dict[_Key, int]:
    total = dict(one)
    for key, count in two.items():
        total[key] = total.get(key, 0) + count
    return total


def _sum_connections(
    one: ConnectionStats | None, two: ConnectionStats | None
) -> ConnectionStats | None:
    if one is None or two is None:
        return one or two
    return ConnectionStats(
        *(getattr(one, name) + getattr(two, name) for name in ConnectionStats.__slots__)
    )


def _sum_runners(one: RunnerStats | None, two: RunnerStats | None) -> RunnerStats | None:
    if one is None or two is None:
        return one or two
    return RunnerStats(_sum_dicts(one.running, two.running), _sum_dicts(one.restarts, two.restarts))


def _sum_tasks(one: TaskStats | None, two: TaskStats | None) -> TaskStats | None:
    if one is None or two is None:
        return one or two
    events = {
        api: _sum_dicts(one.events.get(api, {}), two.events.get(api, {}))
        for api in {*one.events, *two.events}
    }
    # The store is one, and each of them has looked into it.
    apis = {*one.queued, *two.queued}
    queued = {api: max(one.queued.get(api, 0), two.queued.get(api, 0)) for api in apis}
    running = _sum_dicts(one.running, two.running)
    return TaskStats(events, running, queued, _sum_dicts(one.webhooks, two.webhooks))


def _sum_payloads(one: PayloadStats | None, two: PayloadStats | None) -> PayloadStats | None:
    if one is None or two is None:
        return one or two
    return PayloadStats(
        **{name: getattr(one, name) + getattr(two, name) for name in _PAYLOAD_NUMBERS},
        dropped=_sum_dicts(one.dropped, two.dropped),
        failures=_sum_dicts(one.failures, two.failures),
    )


def _ended(reading: Reading) -> Reading:
    """Return the reading of something that is no more: what it held is gone."""
    ended = _sum(Reading(ApiStats(reading.stats.name), None, 0), reading)
    ended.stats.in_flight = 0
    connections, runners, tasks = reading.connections, reading.runners, reading.tasks
    payloads = reading.payloads
    return Reading(
        ended.stats,
        ended.batches,
        0,
        0,
        connections and replace(connections, open=0, limit=0),
        runners and RunnerStats({}, dict(runners.restarts)),
        tasks and TaskStats(tasks.events, webhooks=tasks.webhooks),
        payloads and _nothing_waits(payloads),
    )


def _nothing_waits(payloads: PayloadStats) -> PayloadStats:
    """Return the counts of a log that is gone: what waited in it is lost with its process."""
    dropped = dict(payloads.dropped)
    dropped["stopped"] += payloads.waiting_events
    taken = payloads.taken_events, payloads.taken_bytes
    return PayloadStats(*taken, *taken, payloads.sent, dropped, dict(payloads.failures))
