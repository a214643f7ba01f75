"""What a policy would have done to a trace.

    arrivals ──► queue ──► free place of a replica ──service_s──► answered
        └─ queue full ──► refused          ▲
    every ``every_s``: in-flight ──Autoscaler──► replicas; a new one answers after ``start_s``,
                                                 one that goes ends what it has

A replica has ``places`` requests at once, each for ``service_s``.  That is a model: it has no
batches, no network and no variance of the service, so it compares policies and does not promise
milliseconds.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from modelpack.deploy.autoscale.policy import Autoscaler, Policy
from modelpack.deploy.autoscale.trace import Trace
from modelpack.errors import UsageError

_WORDS = {
    "service_s": "the time of a request",
    "start_s": "the time of a start",
    "usd_per_hour": "the price of an hour",
    "places": "the requests that a replica runs at once",
    "queue": "the requests that wait for a replica",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is deployed.  Raises UsageError for what cannot be."""

    service_s: float = 0.05
    """How long a request runs."""
    places: int = 1
    """Requests that a replica runs at once."""
    queue: int = 100
    """Requests that may wait for each replica (for one, while there is none); more are refused."""
    start_s: float = 10.0
    """From the decision for a replica to its first answer."""
    usd_per_hour: float = 0.0
    """What a replica costs, from its decision to its end."""

    def __post_init__(self) -> None:
        least = {"service_s": 0, "start_s": 0, "usd_per_hour": 0, "places": 1, "queue": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if not math.isfinite(value):
                raise UsageError(f"{_WORDS[name]} must be a number, got {value}")
            if value < bound:
                raise UsageError(f"{_WORDS[name]} must be {bound} or more, got {value}")
        if self.service_s == 0:
            raise UsageError(f"{_WORDS['service_s']} must be above 0, got 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What came of it."""

    policy: Policy
    length_s: float
    replicas: Sequence[tuple[float, int]]
    """From which second on there were how many, those that start included."""
    in_flight: Sequence[tuple[float, int]]
    """Requests at once, at each decision."""
    answered: int
    refused: int
    p50_s: float
    """Of the time from arrival to answer; NaN without answers."""
    p99_s: float
    replica_hours: float
    cost_usd: float

    @property
    def most(self) -> int:
        """Most replicas at once."""
        return max(count for _, count in self.replicas)


def replay(trace: Trace, policy: Policy, service: Service) -> Replay:
    """Play a trace against a policy; the same arguments give the same result."""
    world = _World(policy, service)
    times = iter(trace.arrivals)
    arrival = next(times, None)
    tick = 0.0
    while tick <= trace.length_s or world.in_flight:
        while arrival is not None and arrival < tick:
            world.arrive(arrival)
            arrival = next(times, None)
        world.decide(tick)
        tick += policy.every_s
    while arrival is not None:  # those of the very last moment
        world.arrive(arrival)
        arrival = next(times, None)
    world.run_until(math.inf)
    return world.result(max(tick - policy.every_s, trace.length_s))


class _World:
    """Replicas, their places and what waits for one."""

    def __init__(self, policy: Policy, service: Service) -> None:
        self._policy, self._service = policy, service
        self._scaler = Autoscaler(policy)
        self._wanted = policy.min_replicas
        self._free = [0.0] * (self._wanted * service.places)
        """From when on each place is free: a heap."""
        self._leaving = 0
        """Places that go as soon as they are free."""
        self._running: list[float] = []
        """When each request that runs ends: a heap."""
        self._waiting: deque[float] = deque()
        self._seconds: list[float] = []
        self._refused = 0
        self._replicas = [(0.0, self._wanted)]
        self._looks: list[tuple[float, int]] = []

    @property
    def in_flight(self) -> int:
        """Requests that run and wait."""
        return len(self._running) + len(self._waiting)

    def arrive(self, now: float) -> None:
        """Take a request, or refuse it."""
        self.run_until(now)
        room = self._service.queue * self._wanted if self._wanted else max(self._service.queue, 1)
        if len(self._waiting) >= room and not self._is_free(now):
            self._refused += 1
            return
        self._waiting.append(now)
        self.run_until(now)
        if self._wanted == 0:
            self._scale(now, max(1, self._scaler.decide(now, self.in_flight, 0)))

    def decide(self, now: float) -> None:
        """Look at the requests and have as many replicas as the policy says."""
        self.run_until(now)
        self._looks.append((now, self.in_flight))
        self._scale(now, self._scaler.decide(now, self.in_flight, self._wanted))

    def run_until(self, now: float) -> None:
        """Let waiting requests begin, in their order, whenever a place is free until then."""
        while self._waiting and self._free and self._free[0] <= now:
            free = heapq.heappop(self._free)
            if self._leaving:
                self._leaving -= 1
                continue
            came = self._waiting.popleft()
            done = max(free, came) + self._service.service_s
            heapq.heappush(self._free, done)
            heapq.heappush(self._running, done)
            self._seconds.append(done - came)
        while self._running and self._running[0] <= now:
            heapq.heappop(self._running)

    def _is_free(self, now: float) -> bool:
        return not self._waiting and len(self._free) > self._leaving and self._free[0] <= now

    def _scale(self, now: float, wanted: int) -> None:
        places = (wanted - self._wanted) * self._service.places
        if places == 0:
            return
        back = min(self._leaving, max(places, 0))  # one that goes may as well stay
        self._leaving += max(-places, 0) - back
        for _ in range(max(places, 0) - back):
            heapq.heappush(self._free, now + self._service.start_s)
        self._wanted = wanted
        self._replicas.append((now, wanted))

    def result(self, length_s: float) -> Replay:
        """Return what came of it."""
        seconds = sorted(self._seconds)
        ends = [at for at, _ in self._replicas[1:]] + [length_s]
        spent = sum(
            (end - at) * count for (at, count), end in zip(self._replicas, ends, strict=True)
        )
        return Replay(
            policy=self._policy,
            length_s=length_s,
            replicas=tuple(self._replicas),
            in_flight=tuple(self._looks),
            answered=len(seconds),
            refused=self._refused,
            p50_s=_quantile(seconds, 0.5),
            p99_s=_quantile(seconds, 0.99),
            replica_hours=spent / 3600,
            cost_usd=spent / 3600 * self._service.usd_per_hour,
        )


def _quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` of them do not exceed."""
    return values[max(math.ceil(share * len(values)) - 1, 0)] if values else math.nan
