"""One minute of the soak test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "shape",
    [pytest.param("one", marks=pytest.mark.long), pytest.param("many", marks=pytest.mark.soak)],
)
def test_half_a_minute_of_mixed_load_leaves_nothing_behind(shape: str) -> None:
    command = [sys.executable, str(Path(__file__).parent / "soak.py"), "--minutes", "0.5"]

    done = subprocess.run([*command, "--shape", shape], capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stdout + done.stderr
