"""The quick version of the aims' table: everything can be measured, and what must be 0 is 0.

Processor times are bounded so loosely that noise does not reach the bounds, waits not at all:
``make bench`` is for those.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
LOOSE = 4
"""A busy machine costs a factor; a mistake that matters costs more."""

MOST = {
    "W0 echo, JSON, 32 connections": ("cpu_us", 18 * LOOSE),
    "W1 tiny ONNX, JSON, 32 connections": ("cpu_us", 22 * LOOSE),
    "W1 through one runner process, 128 connections": ("cpu_us", 40 * LOOSE),
    "resident memory when ready, tiny ONNX": ("resident_mb", 110),
    "memory over 50,000 requests": ("growth_mb", 5),
    "items computed for 64 clients that hung up": ("items", 16),
    "requests lost in 3 hot swaps at 1,000 requests a second": ("lost", 0),
    "requests lost in SIGTERM at 1,000 a second": ("lost", 0),
}


def measured(tmp_path: Path, *words: str) -> dict[str, dict[str, Any]]:
    """Run the benchmark and return its rows by what they measure."""
    file = tmp_path / "rows.json"
    done = subprocess.run(
        [sys.executable, HERE / "bench_aims.py", "--quick", "--json", file, *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    print("\n" + done.stdout)
    return {row["what"]: row for row in json.loads(file.read_text())}


@pytest.mark.bench
@pytest.mark.skipif(shutil.which("wrk") is None, reason="'wrk' is not installed")
def test_every_aim_can_be_measured(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with capfd.disabled():
        rows = measured(tmp_path)

    broken = [row["measured"] for row in rows.values() if row["measured"].startswith("failed: ")]
    assert broken == []
    above = {
        what: rows[what]["figures"][figure]
        for what, (figure, most) in MOST.items()
        if rows[what]["figures"][figure] > most
    }
    assert above == {}
