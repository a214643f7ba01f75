"""What the distribution says of itself is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modelpack.testing import PLUGIN_CLAIMS


@pytest.mark.parametrize("claim", PLUGIN_CLAIMS, ids=lambda claim: claim.__name__)
def test_the_distribution(claim: Callable[[Path], None]) -> None:
    claim(Path(__file__).parents[1])
