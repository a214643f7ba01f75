"""How much a process has to do, as it tells who decides how many there are."""

from __future__ import annotations

from dataclasses import dataclass

from modelpack.server.observe.load import load_of
from modelpack.server.observe.stats import ApiStats, TaskStats


@dataclass
class Connection:
    is_idle: bool


def api(in_flight: int = 0, answered: int = 0) -> ApiStats:
    stats = ApiStats("double")
    for number in range(answered):
        stats.add(200 if number % 2 else 400, 0.001)
    stats.in_flight = in_flight
    return stats


def test_what_runs_and_what_was_answered_is_that_of_all_apis() -> None:
    assert load_of([api(2, 3), api(1, 4)]) == (3, 7)
    assert load_of([]) == (0, 0)


def test_requests_of_no_api_count_and_those_of_an_api_not_twice() -> None:
    assert load_of([api()], others=2) == (2, 0)
    assert load_of([api(3)], others=2) == (3, 0)


def test_a_request_that_is_still_being_read_counts_where_none_runs() -> None:
    connections = [Connection(is_idle=True), Connection(is_idle=False)]
    assert load_of([api()], connections) == (1, 0)
    assert load_of([api(4)], connections) == (4, 0)


def test_tasks_that_run_count_and_those_that_wait_are_one() -> None:
    """Every process sees the same ones in the store, and one of them is enough to run them."""
    tasks = TaskStats()
    tasks.queued = {"double": 0}
    assert load_of([api()], tasks=tasks) == (0, 0)
    tasks.queued = {"double": 40}
    assert load_of([api()], tasks=tasks) == (1, 0)
    tasks.began("double")
    tasks.began("double")
    assert load_of([api(1)], tasks=tasks) == (2, 0)
