"""The page that Prometheus reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

import modelpack
from modelpack.server.observe.metrics import FAMILIES, Metrics, wants_openmetrics
from modelpack.server.observe.stats import (
    BATCH_BOUNDS,
    LATENCY_BOUNDS_S,
    ApiStats,
    BatchStats,
    ConnectionStats,
    Reading,
    RunnerStats,
)

Start = Callable[..., Any]


def samples(page: str) -> dict[str, float]:
    """Return every sample by its name and labels."""
    return {
        sample.name + "".join(f",{k}={v}" for k, v in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def page_of(*readings: Reading, tag: str = "digits:1") -> dict[str, float]:
    return samples(Metrics(service="digits", tag=tag).render(readings).decode())


def test_counters_become_a_page_that_prometheus_reads() -> None:
    stats, batches = ApiStats("predict"), BatchStats()
    for status, seconds in ((200, 0.0004), (200, 0.002), (429, 0.0), (504, 31.0)):
        stats.add(status, seconds)
    for rows in (1, 3, 300):
        batches.add(rows)
    stats.in_flight = 2

    found = page_of(Reading(stats, batches, 7, 64), tag='digits:"1"')

    assert found['modelpack_info,service=digits,tag=digits:"1"'] == 1
    assert found["modelpack_requests_total,api=predict,status=200"] == 2
    assert found["modelpack_request_duration_seconds_bucket,api=predict,le=0.0005"] == 2
    assert found["modelpack_request_duration_seconds_bucket,api=predict,le=0.0025"] == 3
    assert found["modelpack_request_duration_seconds_bucket,api=predict,le=30.0"] == 3
    assert found["modelpack_request_duration_seconds_bucket,api=predict,le=+Inf"] == 4
    assert found["modelpack_request_duration_seconds_count,api=predict"] == 4
    assert found["modelpack_batch_rows_sum,api=predict"] == 304
    assert found["modelpack_batch_rows_count,api=predict"] == 3
    assert found["modelpack_batch_rows_bucket,api=predict,le=4.0"] == 2
    assert found["modelpack_queue_rows,api=predict"] == 7
    assert found["modelpack_queue_bytes,api=predict"] == 64
    assert found["modelpack_in_flight_requests,api=predict"] == 2
    assert found["process_resident_memory_bytes"] > 0
    assert found["process_cpu_seconds_total"] > 0
    assert found["modelpack_processes"] == 1


def test_problems_are_counted_by_their_code() -> None:
    stats = ApiStats("predict")
    stats.add(429, 0.0, code="overloaded")
    stats.add(429, 0.0, code="overloaded")
    stats.add(504, 1.0, code="timeout")
    stats.add(500, 1.0, code="model-error")

    found = page_of(Reading(stats, None, 0))

    assert found["modelpack_refused_requests_total,api=predict,reason=overloaded"] == 2
    assert found["modelpack_refused_requests_total,api=predict,reason=timeout"] == 1
    assert found["modelpack_failed_requests_total,api=predict,reason=model-error"] == 1
    assert "modelpack_refused_requests_total,api=predict,reason=model-error" not in found


def test_overhead_is_what_the_run_of_the_batch_leaves() -> None:
    stats = ApiStats("predict")
    stats.add(200, 0.010, queue_s=0.002, run_s=0.007, rows=3)
    stats.add(429, 0.0, code="overloaded", rows=5)

    found = page_of(Reading(stats, None, 0))

    assert found["modelpack_overhead_seconds_sum,api=predict"] == pytest.approx(0.003)
    assert found["modelpack_queue_duration_seconds_sum,api=predict"] == pytest.approx(0.002)
    assert found["modelpack_overhead_seconds_count,api=predict"] == 1  # the other one never ran
    assert found["modelpack_rows_total,api=predict"] == 3


def test_what_a_server_stands_on_is_on_the_page() -> None:
    batches = BatchStats()
    batches.reasons = {"idle": 4, "full": 1}
    batches.real_elements, batches.padded_elements, batches.replays = 90, 10, 2
    runners = RunnerStats({"process": 2}, {"process": 3, "thread": 1})

    found = page_of(
        Reading(ApiStats("predict"), batches, 0),
        Reading(ApiStats(""), None, 0, connections=ConnectionStats(5, 8, 9, 1, 2), runners=runners),
    )

    assert found["modelpack_batch_releases_total,api=predict,reason=idle"] == 4
    assert found["modelpack_batch_elements_total,api=predict,kind=padding"] == 10
    assert found["modelpack_replayed_requests_total,api=predict"] == 2
    assert found["modelpack_runners,kind=process"] == 2
    assert found["modelpack_runners,kind=thread"] == 0
    assert found["modelpack_runner_restarts_total,kind=process"] == 3
    assert found["modelpack_connections"] == 5
    assert found["modelpack_connections_limit"] == 8
    assert found["modelpack_connections_accepted_total"] == 9
    assert found["modelpack_connections_failed_total"] == 1
    assert found["modelpack_connection_waits_total"] == 2


def test_readings_of_one_api_are_one_series() -> None:
    """A page with a series twice is refused by Prometheus as a whole."""
    one, two = ApiStats("predict"), ApiStats("predict")
    one.add(200, 0.1)
    two.add(200, 0.1)

    page = Metrics(service="s", tag="t").render([Reading(one, None, 1), Reading(two, None, 2)])

    lines = [line.rpartition(" ")[0] for line in page.decode().splitlines() if line[0] != "#"]
    assert len(lines) == len(set(lines))
    assert samples(page.decode())["modelpack_queue_rows,api=predict"] == 3


def test_every_family_is_on_the_page_in_its_order() -> None:
    page = Metrics(service="s", tag="t").render([Reading(ApiStats("a"), BatchStats(), 0)]).decode()

    assert re.findall(r"^# HELP (\w+)", page, re.MULTILINE) == [one.name for one in FAMILIES]
    assert re.findall(r"^# TYPE \w+ (\w+)", page, re.MULTILINE) == [one.kind for one in FAMILIES]


def test_openmetrics_shows_the_request_behind_a_bucket() -> None:
    stats = ApiStats("predict")
    stats.add(200, 0.0021)
    stats.keep_exemplar('id-"1"', 0.0021, 1700000000.5)

    page = Metrics(service="s", tag="t").render([Reading(stats, None, 0)], is_openmetrics=True)

    shown = [
        (sample.labels["le"], sample.exemplar)
        for family in openmetrics_families(page.decode())
        for sample in family.samples
        if sample.exemplar is not None
    ]
    assert [le for le, _ in shown] == ["0.0025"]
    assert (shown[0][1].labels, shown[0][1].value) == ({"request_id": 'id-"1"'}, 0.0021)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (b"", False),
        (b"*/*", False),
        (b"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", False),
        (b"application/openmetrics-text", True),
        (b"application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3", True),
        (b"application/openmetrics-text; q=0.1, text/plain", False),
        (b"application/openmetrics-text;q=0", False),
        (b"application/openmetrics-text;q=x", False),
    ],
)
def test_the_form_is_the_one_that_the_scraper_prefers(accept: bytes, wanted: bool) -> None:
    assert wants_openmetrics(accept) is wanted


def test_bounds_are_sorted_as_the_search_in_them_needs() -> None:
    assert list(LATENCY_BOUNDS_S) == sorted(LATENCY_BOUNDS_S)
    assert list(BATCH_BOUNDS) == sorted(BATCH_BOUNDS)


@modelpack.service
class Demo:
    @modelpack.api(batch=True)
    def double(self, x: list[int]) -> list[int]:
        return [n * 2 for n in x]


def test_what_clients_saw_is_what_the_page_says(start: Start, lane: str) -> None:
    server = start(Demo, lane)
    for _ in range(3):
        assert server.post("/double", {"x": [1, 2]}).json() == [2, 4]
    assert server.post("/double", {"x": ["no"]}).status_code == 400
    server.send(b"GET /double HTTP/1.1\r\n\r\n")

    answer = server.client.get("/metrics")

    found = samples(answer.text)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert found["modelpack_requests_total,api=double,status=200"] == 3
    assert found["modelpack_requests_total,api=double,status=400"] == 1
    assert found["modelpack_refused_requests_total,api=double,reason=bad-input"] == 1
    assert found["modelpack_refused_requests_total,api=,reason=bad-request"] == 1
    assert found["modelpack_rows_total,api=double"] == 6
    assert found["modelpack_requests_total,api=,status=400"] == 1
    assert found["modelpack_batch_rows_sum,api=double"] == 6
    assert found["modelpack_in_flight_requests,api=double"] == 0
    assert found["modelpack_queue_rows,api=double"] == 0
    assert not re.search(r"\bnan\b", answer.text.lower())


def test_a_server_shows_what_it_stands_on(start: Start) -> None:
    server = start(Demo)
    for _ in range(3):
        server.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    server.post("/double", {"x": [1]})

    found = samples(server.client.get("/metrics").text)

    assert found["modelpack_connections"] >= 1
    assert found["modelpack_connections_accepted_total"] == 4
    assert found["modelpack_connections_limit"] > 1
    assert found["modelpack_connection_waits_total"] == 0
    assert sum(v for k, v in found.items() if k.startswith("modelpack_runners,")) == 1
    assert found["modelpack_queue_bytes,api=double"] == 0
    assert sum(v for k, v in found.items() if "_releases_total,api=double" in k) == 1
    for name in ("overhead_seconds", "queue_duration_seconds", "batch_duration_seconds"):
        assert found[f"modelpack_{name}_count,api=double"] == 1
        assert 0 < found[f"modelpack_{name}_sum,api=double"] < 10
    overhead, run, whole = (
        found[f"modelpack_{name}_seconds_sum,api=double"]
        for name in ("overhead", "batch_duration", "request_duration")
    )
    assert overhead + run == pytest.approx(whole)


def test_calls_that_run_all_at_once_have_their_overhead_too(start: Start) -> None:
    @modelpack.service
    class Async:
        @modelpack.api
        async def double(self, x: int) -> int:
            return 2 * x

    server = start(Async)
    server.post("/double", {"x": 1})

    found = samples(server.client.get("/metrics").text)
    assert found["modelpack_overhead_seconds_count,api=double"] == 1
    whole = found["modelpack_request_duration_seconds_sum,api=double"]
    assert 0 < found["modelpack_overhead_seconds_sum,api=double"] < whole


def test_a_scraper_that_asks_for_openmetrics_gets_it(start: Start) -> None:
    server = start(Demo)
    server.post("/double", {"x": [1]})

    answer = server.client.get("/metrics", headers={"accept": "application/openmetrics-text"})

    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name for family in openmetrics_families(answer.text)}
    assert {"modelpack_requests", "modelpack_overhead_seconds"} <= families
