"""Which tests run one after the other, and how long one may take, of the house and of its plugins.

The tests of one file run in one process, because they share what it starts, and those that need the
engine all in one, because they share its names; several processes share the rest (``pytest -n 2``).
"""

from __future__ import annotations

import pytest

ON_DEMAND = ("peers", "frameworks", "soak", "long")
"""Marks of tests that may take long; any other that takes minutes hangs, and is ended."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Say with which tests it runs, and how long it may take."""
    # Marked as it is found: processes are given their tests before any later hook of ours.
    # A browser gives up what it loads when the engine adds a network: never both at once.
    is_shy = any(item.get_closest_marker(mark) for mark in ("engine", "browser"))
    group = "engine" if is_shy else item.nodeid.partition("::")[0]
    item.add_marker(pytest.mark.xdist_group(group))
    is_patient = any(item.get_closest_marker(mark) for mark in ON_DEMAND)
    if is_patient and item.get_closest_marker("timeout") is None:
        item.add_marker(pytest.mark.timeout(3600))
