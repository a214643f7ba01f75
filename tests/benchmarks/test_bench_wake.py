"""What sleeps answers almost as soon as a server that is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.bench_wake import Asked, doubler, measure
from tests.server.life.conftest import post

MOST_MORE_S = 0.5


@pytest.mark.bench
def test_to_wake_takes_hardly_longer_than_to_start(tmp_path: Path) -> None:
    """The best of a few of each: others may use the machine, too."""
    found = measure(Asked(doubler(tmp_path), post("/double", '{"x":[1]}')), tmp_path, runs=2)

    best = {name: min(all_s) for name, all_s in found.seconds.items()}
    assert best["wake"] <= best["cold start"] + MOST_MORE_S
    assert best["wake, 20"] <= best["cold start"] + MOST_MORE_S
    assert len(list(found.lines())) == 5
