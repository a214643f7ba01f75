"""How often something is tried, and how long is waited in between."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that say nothing about what was asked, only about now."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double, each shortened at random so that many clients do not come at once."""

    tries: int = 6
    """The first one included."""
    first_s: float = 0.2
    longest_s: float = 10.0
    sleep: Callable[[float], None] = time.sleep

    def wait(self, failures: int, retry_after: str | None = None) -> None:
        """Wait after the failure number ``failures`` (from 1), at least what the server asks for."""
        longest = min(self.first_s * 2 ** (failures - 1), self.longest_s)
        wanted = longest * (0.5 + secrets.randbelow(1000) / 2000)
        if retry_after and retry_after.strip().isdigit():
            wanted = max(wanted, min(float(retry_after), 60.0))
        self.sleep(wanted)
