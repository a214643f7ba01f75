"""The page that Prometheus reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

import modelpack
from modelpack.server.observe.metrics import Metrics
from modelpack.server.observe.stats import (
    BATCH_BOUNDS,
    LATENCY_BOUNDS_S,
    ApiStats,
    BatchStats,
    Reading,
)

Start = Callable[..., Any]


def samples(page: str) -> dict[str, float]:
    """Return every sample by its name and labels."""
    return {
        sample.name + "".join(f",{k}={v}" for k, v in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_counters_become_a_page_that_prometheus_reads() -> None:
    stats, batches = ApiStats("predict"), BatchStats()
    for status, seconds in ((200, 0.0004), (200, 0.002), (429, 0.0), (504, 31.0)):
        stats.add(status, seconds)
    for rows in (1, 3, 300):
        batches.add(rows)
    stats.in_flight = 2

    page = Metrics(
        lambda: [Reading(stats, batches, 7)], service="digits", tag='digits:"1"'
    ).render()

    found = samples(page.decode())
    assert found['modelpack_info,service=digits,tag=digits:"1"'] == 1
    assert found["modelpack_requests_total,api=predict,status=200"] == 2
    assert found["modelpack_refused_requests_total,api=predict,reason=overloaded"] == 1
    assert found["modelpack_refused_requests_total,api=predict,reason=timeout"] == 1
    assert found["modelpack_request_duration_seconds_bucket,api=predict,le=0.0005"] == 2
    assert found["modelpack_request_duration_seconds_bucket,api=predict,le=0.0025"] == 3
    assert found["modelpack_request_duration_seconds_bucket,api=predict,le=30.0"] == 3
    assert found["modelpack_request_duration_seconds_bucket,api=predict,le=+Inf"] == 4
    assert found["modelpack_request_duration_seconds_count,api=predict"] == 4
    assert found["modelpack_batch_rows_sum,api=predict"] == 304
    assert found["modelpack_batch_rows_count,api=predict"] == 3
    assert found["modelpack_batch_rows_bucket,api=predict,le=4.0"] == 2
    assert found["modelpack_queue_rows,api=predict"] == 7
    assert found["modelpack_in_flight_requests,api=predict"] == 2
    assert found["process_resident_memory_bytes"] > 0
    assert found["process_cpu_seconds_total"] > 0


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
    assert found["modelpack_requests_total,api=,status=400"] == 1
    assert found["modelpack_batch_rows_sum,api=double"] == 6
    assert found["modelpack_in_flight_requests,api=double"] == 0
    assert found["modelpack_queue_rows,api=double"] == 0
    assert not re.search(r"\bnan\b", answer.text.lower())
