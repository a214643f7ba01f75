"""Each rule speaks when its figures say so, and the more serious one is heard first."""

from __future__ import annotations

from typing import Any

import pytest

from modelpack.bench.advice import Facts, advise
from modelpack.bench.histogram import Latencies
from modelpack.bench.scrape import ServerShare
from modelpack.bench.slices import Slice


def server(**more: Any) -> ServerShare:
    facts: dict[str, Any] = {
        "seconds": 10.0, "requests": 10_000, "rows": 10_000, "batches": 1000, "mean_batch": 10.0,
        "total_ms": 10.0, "queue_ms": 1.0, "model_ms": 4.0, "busy": 0.4, "cpu": 0.5, "processes": 1,
    }  # fmt: skip
    return ServerShare(**{**facts, **more})


def facts(*, statuses: dict[int, int] | None = None, **more: Any) -> Facts:
    whole = Slice(seconds=10.0, offered=10_000, statuses=statuses or {200: 10_000})
    plain: dict[str, Any] = {
        "rate": more.get("whole", whole).good / 10,
        "whole": whole, "server": server(), "offered_rate": None, "concurrency": 32,
        "generator_cpu": 0.3,
    }  # fmt: skip
    return Facts(**{**plain, **more})


def test_failures_come_before_everything_else() -> None:
    advice = advise(facts(statuses={200: 900, 500: 100}, generator_cpu=1.0))
    assert advice.rule == "failures"
    assert advice.text.startswith("10.0% of the requests failed, most with '500'")


@pytest.mark.parametrize("is_open", [False, True])
def test_generator_at_its_limit_is_said(is_open: bool) -> None:
    one = facts(generator_cpu=0.97, offered_rate=1000.0 if is_open else None)
    assert advise(one).rule == "generator-limit"
    assert one.generator_is_limit


def test_late_clock_of_a_busy_generator_is_its_limit() -> None:
    whole = Slice(seconds=10.0, statuses={200: 10_000}, clock_late=Latencies({5000: 100}))
    assert advise(facts(whole=whole, offered_rate=1000.0, generator_cpu=0.8)).rule == (
        "generator-limit"
    )
    assert advise(facts(whole=whole, offered_rate=1000.0, generator_cpu=0.2)).rule != (
        "generator-limit"
    ), "late though it had time: something else held it up"


def test_refusals_name_share_and_capacity() -> None:
    advice = advise(facts(statuses={200: 8800, 429: 1200}, offered_rate=1000.0))
    assert advice.rule == "refused"
    assert "refused 12%: the offered rate exceeds the capacity of about 880/s" in advice.text


def test_answers_after_the_end_are_no_rate() -> None:
    assert advise(facts(rate=500.0, offered_rate=1000.0)).rule == "behind"


def test_open_loop_that_falls_behind_is_said() -> None:
    assert advise(facts(statuses={200: 5000}, offered_rate=1000.0)).rule == "behind"


def test_queue_before_a_busy_runner_asks_for_replicas() -> None:
    advice = advise(facts(server=server(queue_ms=7.0, busy=0.97)))
    assert advice.rule == "queue-busy-runner"
    assert "add replicas" in advice.text
    assert "mean batch 10.0" in advice.text


def test_queue_before_an_idle_runner_asks_for_the_window() -> None:
    advice = advise(facts(server=server(queue_ms=7.0, busy=0.2)))
    assert advice.rule == "queue-idle-runner"


def test_full_machine_is_no_verdict_on_the_server() -> None:
    assert advise(facts(machine_cpu=0.99, processors=2)).rule == "machine-full"


def test_batches_of_one_ask_for_more_at_once() -> None:
    advice = advise(facts(server=server(mean_batch=1.0, batches=10_000)))
    assert advice.rule == "too-little-to-batch"
    assert "mean batch 1.0 at this load: concurrency too low to batch" in advice.text


def test_batches_of_a_whole_request_have_not_shared_either() -> None:
    one = server(mean_batch=8.0, rows=80_000, batches=10_000)
    assert advise(facts(server=one)).rule == "too-little-to-batch"


def test_busy_process_with_a_cheap_model_asks_for_workers() -> None:
    advice = advise(facts(server=server(cpu=0.98, model_ms=2.0)))
    assert advice.rule == "front-busy"
    assert "--workers" in advice.text


def test_queue_before_a_busy_process_asks_for_workers_too() -> None:
    one = server(cpu=0.98, model_ms=1.0, queue_ms=8.0, busy=0.1)
    assert advise(facts(server=one)).rule == "front-busy"


def test_slow_model_is_named_as_such() -> None:
    assert advise(facts(server=server(model_ms=8.0))).rule == "model"


def test_open_loop_with_time_to_spare_has_room() -> None:
    advice = advise(facts(offered_rate=1000.0))
    assert advice.rule == "room-left"
    assert "busy 40% of the time at 1,000/s" in advice.text


def test_other_servers_get_no_advice_that_needs_metrics() -> None:
    assert advise(facts(server=None)).rule == "nothing-to-say"


def test_requests_that_left_late_are_part_of_what_is_said() -> None:
    whole = Slice(seconds=10.0, statuses={200: 10_000}, clock_late=Latencies({100: 90, 30_000: 10}))
    advice = advise(facts(whole=whole, offered_rate=1000.0))
    assert advice.rule == "sent-late"
    assert advice.text.startswith("10% of the requests left late, by up to 30 ms")


def test_full_machine_is_said_before_replicas_are_asked_for() -> None:
    one = server(queue_ms=7.0, busy=0.97)
    assert advise(facts(machine_cpu=0.99, server=one)).rule == "machine-full"
