"""Loads on a real modelpack server, and on servers that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelpack.bench.aim import Aim, take_aim
from modelpack.bench.goals import Goals, misses
from modelpack.bench.inputs import Input
from modelpack.bench.load import Load
from modelpack.bench.opening import Opened
from modelpack.bench.place import place_of
from modelpack.bench.result import Result, load_results, save_results
from modelpack.bench.served import Served
from modelpack.bench.session import Progress, measure
from modelpack.bench.turns import measure_in_turns
from modelpack.errors import BenchError, NotFoundError, UsageError

SHORT = Load(duration_s=1.0, warmup_s=0.2, concurrency=8)


@pytest.fixture
def server(real: Served) -> Opened:
    return Opened(place_of(real.url))


@pytest.fixture
def aim(server: Opened) -> Aim:
    return server.aims(["predict"], Input(), {})[0]


def test_closed_loop_says_what_the_server_did_with_the_time(aim: Aim) -> None:
    (result,) = measure([aim], SHORT)

    assert result.rate > 0
    assert result.whole.failed == 0
    assert result.latency_ms["p50"] >= 2, "the api sleeps for 2 ms"
    assert result.target["api"] == "predict"
    server = result.server
    assert server is not None
    assert server.mean_batch is not None
    assert server.mean_batch > 1
    assert server.model_ms is not None
    assert server.model_ms >= 2
    assert server.queue_ms is not None
    assert 0 < (server.cpu or 0) < 4
    assert result.advice.text


def test_rows_are_counted_by_the_server(server: Opened) -> None:
    (aim,) = server.aims(["predict"], Input(rows=4), {})
    (result,) = measure([aim], SHORT)
    assert 2 * result.rate < result.rows_rate < 8 * result.rate


def test_open_loop_keeps_its_rate_and_every_second_is_watched(aim: Aim) -> None:
    seen: list[Progress] = []

    (result,) = measure([aim], Load(rate=100, duration_s=2.0, warmup_s=0.2), watch=seen.append)

    assert result.whole.offered == pytest.approx(200, abs=40)
    assert result.rate == pytest.approx(100, rel=0.5)
    assert [round(one.elapsed_s) for one in seen] == [1, 2]
    assert seen[0].now.good > 10


def test_two_apis_at_once_have_a_result_each(server: Opened) -> None:
    aims = server.aims(["predict", "greet"], Input(), {})
    results = measure(aims, SHORT)
    assert [one.label for one in results] == ["predict", "greet"]
    assert all(one.whole.good > 0 for one in results)
    assert results[1].latency_ms["p50"] < results[0].latency_ms["p50"]


def test_binary_is_what_the_server_takes(server: Opened) -> None:
    (aim,) = server.aims(["predict"], Input(binary=True), {})
    (result,) = measure([aim], SHORT)
    assert result.whole.failed == 0
    assert result.target["content_type"] == "application/octet-stream"


def test_several_processes_send_together(aim: Aim) -> None:
    (result,) = measure([aim], Load(duration_s=1.0, warmup_s=0.2, concurrency=8, processes=2))
    assert result.whole.good > 0
    assert len(result.generated.cpu) == 2


def test_run_is_read_back_from_its_file(aim: Aim, tmp_path: Path) -> None:
    results = measure([aim], SHORT)
    save_results(results, tmp_path / "run.json")
    (again,) = load_results(tmp_path / "run.json")
    for fact in ("target", "load", "whole", "rate", "latency_ms", "advice", "started"):
        assert getattr(again, fact) == getattr(results[0], fact)


def test_server_in_two_places_is_measured_in_turns(aim: Aim) -> None:
    load = Load(duration_s=1.5, warmup_s=0.1, concurrency=4)
    turns = measure_in_turns(aim, aim, load, rounds=3)
    assert len(turns.blocks_a) == len(turns.blocks_b) == 3
    assert turns.a.seconds == pytest.approx(1.5)
    assert [one.figure for one in turns.differences] == ["rate", "p50", "p90", "p99", "failed"]
    with pytest.raises(ValueError, match="each turn would be"):
        measure_in_turns(aim, aim, load, rounds=10)


def test_server_of_somebody_else_is_loaded_without_its_metrics(known: Any, after: Any) -> None:
    (result,) = measure([known(after(0.01)).aim], SHORT)
    assert result.server is None
    assert result.to_json()["server"] is None
    assert result.rows_rate is None
    assert result.whole.good > 0


def test_server_that_only_fails_is_an_error_with_its_words(real: Served) -> None:
    aim = take_aim(place_of(real.url), api="fail")
    with pytest.raises(BenchError, match=r"none of [\d,]+ requests to 'fail' succeeded: '500'"):
        measure([aim], SHORT)


def test_api_that_is_not_there_is_suggested(server: Opened) -> None:
    with pytest.raises(NotFoundError) as caught:
        server.aims(["predcit"], Input(), {})
    assert caught.value.hint == "did you mean 'predict'?"


def test_input_that_does_not_fit_says_why(server: Opened, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"x": [[1, 2]]}')
    with pytest.raises(UsageError, match=r"refuses the input with 400: /x: expected an array"):
        server.aims(["predict"], Input(file=str(tmp_path / "x.json")), {})


def test_api_that_fails_on_its_example_is_told_before_the_load(server: Opened) -> None:
    with pytest.raises(BenchError, match="'fail' answers 500"):
        server.aims(["fail"], Input(), {})


def test_every_api_that_answers_is_found(server: Opened) -> None:
    assert [aim.api for aim in server.every_aim({})] == ["predict", "greet"]


def test_path_of_the_url_is_taken_as_it_is(real: Served, known: Any, after: Any) -> None:
    assert take_aim(place_of(f"{real.url}/livez")).method == "GET"
    routed = take_aim(place_of(f"{real.url}/predict"))
    assert (routed.api, routed.method) == ("predict", "POST")
    (result,) = measure([take_aim(known(after(0.001)).place)], SHORT)
    assert result.label == "/x"


def test_headers_are_sent_and_not_shown(known: Any, after: Any) -> None:
    server = known(after(0.005))
    aim = take_aim(server.place, headers={"authorization": "Bearer secret"})
    (result,) = measure([aim], SHORT)
    assert any(b"authorization: Bearer secret" in head for head in server.heads)
    assert "secret" not in json.dumps(result.to_json())


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://", "http://h:port", "http://u:p@h", "http://h:99999"]
)
def test_what_is_no_url_is_said(url: str) -> None:
    with pytest.raises(UsageError):
        place_of(url)


def test_goals_that_are_missed_are_named_with_their_figures() -> None:
    def result(*, good: int, failed: int) -> Result:
        from modelpack.bench.slices import Slice

        one = Slice(statuses={200: good, 500: failed})
        one.latencies.counts = {20_000: good}
        return Result(target={}, load=Load(), slices=(one,))

    goals = Goals(max_p99_ms=10, min_rate=200, max_failed_percent=5)
    assert misses(result(good=100, failed=100), goals) == [
        "p99 is 20.02 ms, above --max-p99 10",
        "rate is 100.0/s, below --min-rate 200",
        "50 % of the requests failed, above --max-errors 5",
    ]
    assert misses(result(good=1000, failed=1), Goals(max_p99_ms=30, min_rate=200)) == []
    assert not Goals().is_any
