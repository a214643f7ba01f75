"""When the requests of an open loop are to leave.

    constant   one every 1/rate seconds
    poisson    as independent clients come: gaps are exponential, so bursts are part of it

Times are those of ``time.perf_counter``; they never depend on what the server does.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from random import Random

KINDS = ("constant", "poisson")


def times(kind: str, rate: float, start: float, *, seed: int = 1) -> Iterator[float]:
    """Return the times, without end; ``rate`` is in requests a second."""
    if kind == "constant":
        return (start + i / rate for i in count())
    return _poisson(rate, start, Random(seed))  # noqa: S311 - load, not secrets


def _poisson(rate: float, start: float, random: Random) -> Iterator[float]:
    at = start
    while True:
        at += random.expovariate(rate)
        yield at
