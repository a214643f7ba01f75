"""The quick version of the server's benchmark, with a bound that noise does not reach."""

import runpy
import shutil
from pathlib import Path

import pytest

LEAST_RATIO = 2.0
"""The aim is 2.5; on a busy machine a little less is measured."""


@pytest.mark.bench
@pytest.mark.skipif(shutil.which("wrk") is None, reason="'wrk' is not installed")
def test_fast_lane_takes_a_fraction_of_the_processor_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = runpy.run_path(str(Path(__file__).with_name("bench_server.py")))

    results = bench["compare"](rounds=3, seconds=3)

    with capsys.disabled():
        print("\n" + bench["report"](results))
    assert bench["ratio"](results) >= LEAST_RATIO
