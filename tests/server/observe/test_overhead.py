"""What a request costs beside its model, by the server's own metric, against its budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import modelpack
from modelpack.server.observe.stats import LATENCY_BOUNDS_S

Start = Callable[..., Any]

BUDGET_S = 0.0005
"""Overhead at the median; stated in docs/how-to/monitor.md."""

REQUESTS = 400


@modelpack.service
class Demo:
    @modelpack.api(batch=True)
    def double(self, x: list[float]) -> list[float]:
        return [n * 2 for n in x]


@pytest.mark.bench
def test_overhead_is_within_its_budget_at_the_median(start: Start) -> None:
    server = start(Demo)
    for _ in range(REQUESTS):
        assert server.post("/double", {"x": [1.0]}).status_code == 200

    stats = server.server.endpoints[0].stats
    within = sum(
        count
        for bound, count in zip(LATENCY_BOUNDS_S, stats.overhead_buckets, strict=False)
        if bound <= BUDGET_S
    )
    assert sum(stats.overhead_buckets) == REQUESTS
    assert within >= REQUESTS / 2, stats.overhead_buckets
