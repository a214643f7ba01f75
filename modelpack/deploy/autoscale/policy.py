"""The formula that says how many replicas there should be.

    in-flight requests, every ``every_s`` ──average over window_s──► / in_flight ──► raw wish
        ──tolerance──► ──at most factors──► ──within min and max──► recommendation
        ──lowest of up_s when it grows, highest of down_s when it shrinks──► replicas

In-flight requests are those that run and those that wait, of all replicas.  It is the autoscaler
that Cortex documented for its realtime APIs
(https://docs.cortexlabs.com/workloads/realtime/autoscaling), with its knobs and defaults, and one
addition: from nothing to something at once, and to nothing only when nobody has asked for
``idle_s``.

Standard library only: the keeper of a port carries this module along.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When to have how many replicas.  Raises ValueError for settings that cannot be."""

    min_replicas: int = 1
    """Fewest replicas; 0: none while nobody asks."""

    max_replicas: int = 100
    """Most replicas."""

    in_flight: float = 1.0
    """Requests at once, running or waiting, that a replica should have."""

    window_s: float = 60.0
    """Over how long the in-flight requests are averaged."""

    up_s: float = 60.0
    """Growing waits until every recommendation of this long wants it."""

    down_s: float = 300.0
    """Shrinking waits until every recommendation of this long wants it."""

    max_up_factor: float = 1.5
    """Largest growth in one step, of what there is; one more is always allowed."""

    max_down_factor: float = 0.75
    """Least that one step leaves, of what there is; one less is always allowed."""

    up_tolerance: float = 0.05
    """Share by which the wish must be above what there is before it counts."""

    down_tolerance: float = 0.05
    """Share by which the wish must be below what there is before it counts."""

    every_s: float = 10.0
    """How often it is decided."""

    idle_s: float = 300.0
    """With ``min_replicas`` 0: how long nobody has asked before the last replica goes."""

    def __post_init__(self) -> None:
        for name in ("in_flight", "every_s"):
            _must(name, getattr(self, name), getattr(self, name) > 0, "be above 0")
        for name in ("window_s", "up_s", "down_s", "idle_s", "up_tolerance", "down_tolerance"):
            _must(name, getattr(self, name), getattr(self, name) >= 0, "not be below 0")
        _must("min_replicas", self.min_replicas, self.min_replicas >= 0, "not be below 0")
        most = max(1, self.min_replicas)
        _must("max_replicas", self.max_replicas, self.max_replicas >= most, f"be {most} or more")
        _must("max_up_factor", self.max_up_factor, self.max_up_factor >= 1, "be 1 or more")
        fits = 0 <= self.max_down_factor <= 1
        _must("max_down_factor", self.max_down_factor, fits, "be between 0 and 1")

    def to_json(self) -> dict[str, float]:
        """Return plain JSON values, from which ``from_json`` makes an equal policy."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_json(cls, value: Any) -> Policy:
        """Read what ``to_json`` returned; raises ValueError.

        What is not known is passed over: a newer modelpack may have written it.
        """
        if not isinstance(value, dict):
            raise ValueError("a policy is an object of numbers")
        known: dict[str, Any] = {}
        for item in fields(cls):
            if item.name in value:
                number = value[item.name]
                is_number = isinstance(number, int | float) and not isinstance(number, bool)
                if not is_number or not math.isfinite(number):
                    raise ValueError(f"{item.name} must be a number")
                known[item.name] = int(number) if item.name in _WHOLE else float(number)
        return cls(**known)


_WHOLE = ("min_replicas", "max_replicas")


def _must(name: str, value: float, is_so: bool, what: str) -> None:
    if not (math.isfinite(value) and is_so):
        raise ValueError(f"{name} must {what}, got {value:g}")


class Autoscaler:
    """Decides, from one look at the requests to the next.  Time is whatever the caller counts."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._looks: deque[tuple[float, float]] = deque()
        self._wishes: deque[tuple[float, int]] = deque()
        self._last_busy: float | None = None
        self._began: float | None = None
        """Since when there is something to decide about."""

    def follow(self, former: Autoscaler) -> None:
        """Go on from what another one has seen of the same requests."""
        self._looks = deque(former._looks)
        self._wishes = deque(former._wishes)
        self._last_busy, self._began = former._last_busy, former._began

    def decide(
        self, now: float, in_flight: float, replicas: int, *, was_asked: bool = False
    ) -> int:
        """Return how many replicas there should be.

        now        seconds, growing from call to call; calls come every ``every_s``
        in_flight  requests that run and wait at this moment, of all replicas
        replicas   how many there are, those that start included
        was_asked  whether somebody asked since the last call, and may have his answer by now
        """
        policy = self._policy
        if in_flight > 0 or was_asked or self._last_busy is None:
            self._last_busy = now
        if replicas == 0 or self._began is None:
            self._began = now
        self._looks.append((now, in_flight))
        _forget(self._looks, now - policy.window_s)
        is_idle = replicas == 0 or now - self._last_busy >= policy.idle_s
        if is_idle and in_flight == 0 and not was_asked and policy.min_replicas == 0:
            self._wishes.clear()
            return 0
        if replicas == 0:  # at once, not when an average says so
            wish = math.ceil(in_flight / policy.in_flight)
        else:
            average = sum(one for _, one in self._looks) / len(self._looks)
            wish = self._steadied(now, self._wish(average / policy.in_flight, replicas), replicas)
        return min(max(wish, policy.min_replicas, 1), policy.max_replicas)

    def _wish(self, raw: float, replicas: int) -> int:
        """Return what this look alone wants, within tolerance and factors."""
        policy = self._policy
        if replicas * (1 - policy.down_tolerance) < raw < replicas * (1 + policy.up_tolerance):
            return replicas
        least = min(replicas - 1, math.ceil(replicas * policy.max_down_factor))
        most = max(replicas + 1, math.ceil(replicas * policy.max_up_factor))
        return min(max(math.ceil(raw), least), most)

    def _steadied(self, now: float, wish: int, replicas: int) -> int:
        """Return what all wishes of the stabilisation window agree to.

        What nobody has watched for so long does not shrink, as with Cortex: a program that has just
        started, or a service that has just been woken, knows too little.
        """
        policy = self._policy
        self._wishes.append((now, wish))
        _forget(self._wishes, now - max(policy.up_s, policy.down_s))
        if wish > replicas:
            return max(min(_since(self._wishes, now - policy.up_s)), replicas)
        if wish < replicas:
            if now - (self._began or 0.0) < policy.down_s:
                return replicas
            return min(max(_since(self._wishes, now - policy.down_s)), replicas)
        return wish


def _forget(timed: deque[tuple[float, float]] | deque[tuple[float, int]], before: float) -> None:
    while len(timed) > 1 and timed[0][0] <= before:
        timed.popleft()


def _since(wishes: Iterable[tuple[float, int]], moment: float) -> list[int]:
    """Return the wishes after a moment; the last one is always among them."""
    *earlier, last = wishes
    return [wish for at, wish in earlier if at > moment] + [last[1]]
