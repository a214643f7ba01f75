"""How much load, for how long: what the flags of ``modelpack bench`` say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from modelpack.bench.aim import Aim
from modelpack.bench.arrivals import KINDS
from modelpack.bench.lanes import LanePlan

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(ms|s|m|min|h)?", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

MOST_CONNECTIONS = 512
"""Connections of an open loop unless it is told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A load; with a rate it is an open loop.  Raises ValueError that begins with the flag."""

    rate: float | None = None
    """Requests a second, whatever the server does; None: a closed loop."""

    arrivals: str = "constant"
    """``constant`` or ``poisson``: how the requests of an open loop are spaced."""

    concurrency: int = 16
    """Requests on their way at a time in a closed loop."""

    connections: int = MOST_CONNECTIONS
    """Most connections of an open loop."""

    duration_s: float = 10.0
    """How long is counted."""

    warmup_s: float = 1.0
    """How long the load runs before that."""

    timeout_s: float = 30.0
    """After this a request is given up; it counts with the time that it had waited."""

    processes: int = 1
    """Processes that send."""

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 < self.rate <= 1e7:
            raise ValueError(f"rate: must be above 0, got {self.rate:g}")
        if self.arrivals not in KINDS:
            raise ValueError(f"arrivals: must be {' or '.join(KINDS)}, got '{self.arrivals}'")
        for name in ("concurrency", "connections"):
            if not 1 <= getattr(self, name) <= 65_536:
                raise ValueError(f"{name}: must be from 1 to 65536, got {getattr(self, name)}")
        if not 1 <= self.processes <= 64:
            raise ValueError(f"processes: must be from 1 to 64, got {self.processes}")
        if self.processes > self.most_open:
            raise ValueError(f"processes: must be at most {self.most_open}, a connection for each")
        if not 0.1 <= self.duration_s <= 86_400:
            raise ValueError(f"duration: must be from 0.1s to 24h, got {self.duration_s:g}s")
        if not 0 <= self.warmup_s <= 3600:
            raise ValueError(f"warmup: must be from 0s to 1h, got {self.warmup_s:g}s")
        if not 0 < self.timeout_s <= 3600:
            raise ValueError(f"timeout: must be above 0s and at most 1h, got {self.timeout_s:g}s")

    @property
    def most_open(self) -> int:
        """Most connections at a time."""
        return self.concurrency if self.rate is None else self.connections

    @property
    def text(self) -> str:
        """Say it for people."""
        if self.rate is None:
            how = f"closed loop, {self.concurrency} at a time"
        else:
            kind = "" if self.arrivals == "constant" else f", {self.arrivals} arrivals"
            how = f"open loop, {self.rate:,g} requests a second{kind}"
        spread = f", {self.processes} processes" if self.processes > 1 else ""
        return f"{how}, {self.duration_s:g} s after {self.warmup_s:g} s of warm-up{spread}"

    def lane(self, aim: Aim, *, seed: int = 1) -> LanePlan:
        """Return what one lane has to do."""
        return LanePlan(
            host=aim.place.host,
            address=aim.place.address,
            port=aim.place.port,
            requests=aim.requests(),
            connections=self.most_open,
            rate=self.rate,
            arrivals=self.arrivals,
            timeout_s=self.timeout_s,
            seed=seed,
            tls=aim.place.tls,
            verifies=aim.place.verifies,
        )

    def parted(self, count: int) -> Load:
        """Return the share of each of ``count`` lanes; concurrency is at least 1."""
        return replace(
            self,
            rate=None if self.rate is None else self.rate / count,
            concurrency=max(self.concurrency // count, 1, self.processes),
            connections=max(self.connections // count, 1, self.processes),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"mode": "closed" if self.rate is None else "open", **plain}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Load:
        """Read what ``to_json`` returned."""
        return cls(**{field.name: plain[field.name] for field in fields(cls)})


def parse_seconds(text: str) -> float:
    """Return the seconds that a text such as ``10s``, ``500ms``, ``2m`` or ``10`` means."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"must be a time such as 10s, 500ms or 2m, got '{text[:40]}'")
    return float(match[1]) * _SECONDS[match[2]]
