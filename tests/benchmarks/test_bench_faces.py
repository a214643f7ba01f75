"""The quick version of the contracts' benchmark, with bounds that noise does not reach."""

from __future__ import annotations

import runpy
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

MOST_JSON = 2.0
"""The aim is 1.5 times the native JSON route."""

MOST_BINARY = 1.25
"""The aim is 1.0, for 784 floats."""


@pytest.mark.bench
@pytest.mark.skipif(shutil.which("wrk") is None, reason="'wrk' is not installed")
def test_a_contract_costs_about_as_much_as_the_native_route(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(HERE), *sys.path])
    bench = runpy.run_path(str(HERE / "bench_faces.py"))

    costs = bench["compare"](rounds=1, seconds=1, only=("native JSON", "OIP JSON", "OIP binary"))

    with capsys.disabled():
        print("\n" + bench["report"](costs))
    for by_way in costs.values():
        assert by_way["OIP JSON"] <= MOST_JSON * by_way["native JSON"]
    assert costs["mlp"]["OIP binary"] <= MOST_BINARY * costs["mlp"]["native JSON"]
