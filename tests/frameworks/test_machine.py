"""A container's processor limit counts, in both forms that kernels have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelpack.frameworks.machine import processors

ALLOWED = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, ALLOWED),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, ALLOWED),
        ({"cpu.max": "9900000 100000\n"}, ALLOWED),
        ({"cpu.max": ""}, ALLOWED),
        ({}, ALLOWED),
    ],
)
def test_the_limit_of_the_control_group_counts(
    tmp_path: Path, files: dict[str, str], limit: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert processors(tmp_path) == limit
