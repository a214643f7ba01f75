"""The collector that the payload log speaks to."""

from __future__ import annotations

from tests.collector import collector

__all__ = ["collector"]
