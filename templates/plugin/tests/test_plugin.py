"""The distribution keeps what every plugin must."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from modelpack.testing import PLUGIN_CLAIMS


@pytest.mark.parametrize("claim", PLUGIN_CLAIMS, ids=lambda claim: claim.__name__)
def test_plugin(claim: Callable[[Path], None]) -> None:
    """Its entry points lead to targets, and it imports nothing that may change under it."""
    claim(Path(__file__).parents[1])
