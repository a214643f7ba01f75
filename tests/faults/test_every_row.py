"""No row of the threat model that concerns a running server is without a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FAULTS = [*(f"f{number:02}" for number in range(1, 31)), "f38"]
ATTACKS = ["s01", "s02", "s10", "s11", "s23", *(f"s{number}" for number in range(12, 20))]
TESTS = "\n".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))


@pytest.mark.parametrize("row", FAULTS + ATTACKS)
def test_there_is_a_test_named_after_the_row(row: str) -> None:
    assert re.search(rf"^def test_{row}_", TESTS, re.MULTILINE)
