"""No row of the threat model that has been taken up is without a test of its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FAULTS = [*(f"f{number:02}" for number in range(1, 31)), "f38"]
ATTACKS = ["s01", "s02", "s10", "s11", "s23", *(f"s{number}" for number in range(12, 20))]
STORE = [
    *(f"f{number}" for number in (31, 32, 33, 34, 35, 36, 37, 39, 40, 41)),
    *("s03", "s04", "s05", "s06", "s07", "s20", "s22"),
]
TESTS = "\n".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))


@pytest.mark.parametrize("row", FAULTS + ATTACKS + STORE)
def test_there_is_a_test_named_after_the_row(row: str) -> None:
    assert re.search(rf"^def test_{row}_", TESTS, re.MULTILINE)
