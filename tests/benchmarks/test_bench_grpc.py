"""The quick version of the benchmark of gRPC, with a bound that noise does not reach."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

HERE = Path(__file__).parent

MOST = 4.0
"""A call through modelpack, in calls of grpcio's server that do nothing; about 1.7 when measured."""


@pytest.mark.bench
def test_a_call_costs_little_beside_what_the_library_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = runpy.run_path(str(HERE / "bench_grpc.py"))

    costs = bench["measure"](64)

    with capsys.disabled():
        print(f"\n{costs}")
    for at_once in bench["AT_ONCE"]:
        assert costs["modelpack"][at_once] <= MOST * costs["floor"][at_once]
