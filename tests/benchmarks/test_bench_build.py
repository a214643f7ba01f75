"""The benchmark of builds runs and says what it is to say; its aims are for quiet machines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.bench
def test_every_row_is_measured() -> None:
    program = Path(__file__).with_name("bench_build.py")
    done = subprocess.run(
        [sys.executable, program, "--quick"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split()[0] for line in done.stdout.splitlines()]
    assert rows == ["plain", ".venv", "difference", "code"]
