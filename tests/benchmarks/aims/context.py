"""What every measurement is given."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aims.machine import Pins


@dataclass(frozen=True, slots=True)
class Context:
    """Where and how long things are measured."""

    folder: Path
    """For models, logs and the like; gone afterwards."""
    pins: Pins
    rounds: int = 5
    seconds: float = 4.0
    """Of load in each round."""
    is_quick: bool = False
    with_peers: bool = False
    say: Callable[[str], None] = print

    @property
    def has_wrk(self) -> bool:
        """True when wrk is installed."""
        return shutil.which("wrk") is not None
