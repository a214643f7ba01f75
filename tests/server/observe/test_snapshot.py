"""Counters that leave their process and outlive it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.server.observe.snapshot import Totals, from_plain, merge, to_plain
from modelpack.server.observe.stats import (
    ApiStats,
    BatchStats,
    ConnectionStats,
    PayloadStats,
    Reading,
    RunnerStats,
)

STATUSES = {200: "", 429: "overloaded", 500: "model-error"}


@st.composite
def readings(draw: st.DrawFn) -> list[Reading]:
    """What some worker may show: apis that were asked, batches, what the server stands on."""
    made = []
    for name in draw(st.lists(st.sampled_from(["", "a", "b"]), unique=True)):
        stats, batches = ApiStats(name), BatchStats()
        for status in draw(st.lists(st.sampled_from(sorted(STATUSES)), max_size=5)):
            # Sums of binary fractions are exact, in whichever order.
            seconds = draw(st.integers(0, 64)) / 16
            stats.add(status, seconds, seconds / 4, seconds / 2, 3, code=STATUSES[status])
            stats.keep_exemplar(f"id-{status}", seconds, draw(st.integers(0, 99)))
            batches.add(3)
        stats.in_flight = draw(st.integers(0, 9))
        batches.reasons = draw(st.dictionaries(st.sampled_from(["full", "idle"]), st.integers(0)))
        runners = RunnerStats({"thread": 1}, {"process": draw(st.integers(0, 3))})
        made.append(
            Reading(
                stats,
                batches if name else None,
                draw(st.integers(0, 99)),
                draw(st.integers(0, 99)),
                None if name else ConnectionStats(1, 9, draw(st.integers(0, 9)), 2),
                None if name else runners,
                payloads=None if name else PayloadStats(5, 50, 3, 30, draw(st.integers(0, 3))),
            )
        )
    return made


def shown(found: list[Reading]) -> list[dict[str, Any]]:
    """Return the readings so that equal ones are equal, in one order."""
    return sorted(to_plain(sorted_dicts(found)), key=lambda one: str(one["stats"]["name"]))


def sorted_dicts(found: list[Reading]) -> list[Reading]:
    for reading in found:
        stats = reading.stats
        stats.statuses = dict(sorted(stats.statuses.items()))
        stats.problems = dict(sorted(stats.problems.items()))
        stats.exemplars = dict(sorted(stats.exemplars.items()))
        if reading.batches is not None:
            reading.batches.reasons = dict(sorted(reading.batches.reasons.items()))
    return found


@given(readings())
def test_what_is_carried_is_what_was_read(found: list[Reading]) -> None:
    carried = from_plain(json.loads(json.dumps(to_plain(found))))

    assert to_plain(carried) == to_plain(found)


@given(readings(), readings(), readings())
def test_sums_do_not_depend_on_how_they_are_added(
    one: list[Reading], two: list[Reading], three: list[Reading]
) -> None:
    at_once = to_plain(merge(one, two, three))
    for reading in at_once:  # which of two exemplars of one moment stays is left open
        reading["stats"]["exemplars"] = []
    stepwise = to_plain(merge(merge(one, two), three))
    for reading in stepwise:
        reading["stats"]["exemplars"] = []

    assert at_once == stepwise
    assert sum(r.stats.rows for r in merge(one, two)) == sum(r.stats.rows for r in [*one, *two])


@given(readings())
def test_adding_changes_nothing_that_is_added(found: list[Reading]) -> None:
    before = json.dumps(to_plain(found))

    merge(found, found)

    assert json.dumps(to_plain(found)) == before


def test_workers_are_added_up() -> None:
    one, two = ApiStats("predict"), ApiStats("predict")
    one.add(200, 0.5)
    two.add(200, 0.25)
    two.add(503, 0.0, code="unavailable")
    one.in_flight = two.in_flight = 1

    [total] = merge([Reading(one, None, 3, 30)], [Reading(two, None, 4, 40)])

    assert total.stats.statuses == {200: 2, 503: 1}
    assert total.stats.problems == {(503, "unavailable"): 1}
    assert (total.stats.seconds, total.stats.in_flight) == (0.75, 2)
    assert (total.waiting_rows, total.waiting_bytes) == (7, 70)


@given(st.lists(readings(), max_size=4))
def test_no_counter_falls_when_workers_die(lives: list[list[Reading]]) -> None:
    """Each worker is seen once or twice, then it dies; another takes its place."""
    totals = Totals()
    before: dict[str, int] = {}
    for life in lives:
        totals.update("worker-0", life)
        totals.retire("worker-0")
        after = {one.stats.name: sum(one.stats.statuses.values()) for one in totals.readings()}
        assert all(after[name] >= count for name, count in before.items())
        before = after


def test_what_a_dead_worker_held_is_gone_and_what_it_counted_stays() -> None:
    stats = ApiStats("predict")
    stats.add(200, 0.5)
    stats.in_flight = 4
    own = Reading(
        ApiStats(""), None, 0, connections=ConnectionStats(7, 8, 9, 1, 2),
        runners=RunnerStats({"process": 2}, {"process": 5}),
        payloads=PayloadStats(taken_events=9, taken_bytes=90, left_events=4, left_bytes=40, sent=3),
    )  # fmt: skip
    totals = Totals()
    totals.update("worker-0", [Reading(stats, BatchStats(), 6, 60), own])

    totals.retire("worker-0")

    predict, server = totals.readings()
    assert predict.stats.statuses == {200: 1}
    assert (predict.stats.in_flight, predict.waiting_rows, predict.waiting_bytes) == (0, 0, 0)
    assert server.connections == ConnectionStats(0, 0, 9, 1, 2)
    assert server.runners == RunnerStats({}, {"process": 5})
    assert stats.in_flight == 4
    lost = server.payloads
    assert lost is not None
    assert (lost.sent, lost.dropped["stopped"]) == (3, 5)
    assert (lost.waiting_events, lost.waiting_bytes) == (0, 0)


def test_a_part_that_nobody_saw_can_go() -> None:
    totals = Totals()
    totals.retire("worker-9")
    assert totals.readings() == []


@pytest.mark.parametrize("plain", [[{}], [None], [{"stats": {"name": "a"}}], ["text"]])
def test_something_else_is_refused(plain: list[Any]) -> None:
    with pytest.raises(ValueError, match="not readings"):
        from_plain(plain)


def test_readings_with_other_buckets_are_refused() -> None:
    [plain] = to_plain([Reading(ApiStats("a"), None, 0)])
    plain["stats"]["buckets"] = [0]
    with pytest.raises(ValueError, match="buckets has 1 buckets"):
        from_plain([plain])
