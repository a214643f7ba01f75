"""How many servers each group should have: the formula, applied to what is there.

    loads of the servers, four times a second ──averaged over every_s──► Autoscaler ──► Pool.want
    nobody there, and somebody asks ──knock──► Pool.want, at once
    a deploy that tries a group ──wake──► Pool.want, whatever the load

What always holds: with nothing awake no clock runs; a group that is on trial has what was ordered
until it gets the port; whoever keeps the servers is told the wanted number, and not how.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from modelpack.deploy.autoscale.policy import Autoscaler, Policy

SAMPLE_S = 0.25
"""How often the requests at once are looked at."""

COUNTS = ("decisions", "changes", "wakes", "sleeps", "held")
"""What is counted of a group since this program runs: how often it was decided how many there should
be, and how often that was another number; who woke it, and how many waited then."""

Say = Callable[[dict[str, Any]], None]


class Pool(Protocol):
    """What starts servers and ends them.  Nothing of it waits."""

    def want(self, group: str, count: int) -> None:
        """Have so many servers of a group, those that start included; safe to repeat.

        One that goes is told by SIGTERM: it gives its connections back to the keeper, answers what
        it has, and ends.  One that ends by itself is started again, or another one in its place.
        """

    def awake(self, group: str) -> int:
        """Return how many servers of the group there are, those that start included."""

    def places(self, group: str) -> int:
        """Return how many servers of the group there could be at this moment."""


class NoPool:
    """Starts nothing: every server is there by itself."""

    def want(self, group: str, count: int) -> None:
        """Do nothing."""

    def awake(self, group: str) -> int:  # noqa: ARG002
        """Return 0."""
        return 0

    def places(self, group: str) -> int:  # noqa: ARG002
        """Return 0."""
        return 0


@dataclass(slots=True)
class Scaled:
    """One group whose number of servers is decided here."""

    policy: Policy
    serial: float
    """Of two policies the one with the higher number is the newer one."""
    wanted: int
    scaler: Autoscaler
    asleep_since: float | None = None
    """Unix time since which none is wanted."""
    next_at: float | None = None
    """When it is decided next; None: while nothing is awake."""
    in_flight: float = 0.0
    """Requests at once, at the last look."""
    looks: list[float] = field(default_factory=list)
    """Those since the last decision."""
    was_asked: bool = False
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))


class Scaling:
    """The groups that are scaled."""

    def __init__(self, pool: Pool, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._say = say
        self._clock = clock
        self.groups: dict[str, Scaled] = {}

    def set_policy(self, group: str, policy: Policy, serial: float, wanted: int) -> None:
        """Scale a group so from now on; ``wanted`` is what a new one has at first.

        An older policy than the one that is known changes nothing.
        """
        known = self.groups.get(group)
        if known is None:
            made = self.groups[group] = Scaled(policy, serial, wanted, Autoscaler(policy))
            made.asleep_since = None if wanted else time.time()
            self._pool.want(group, wanted)
        elif serial > known.serial:
            if policy != known.policy:
                known.policy, known.scaler = policy, Autoscaler(policy)
                known.next_at = None
            known.serial = serial

    def forget(self, group: str) -> None:
        """Scale a group no more: none of it is there."""
        self.groups.pop(group, None)

    def wake(self, group: str, count: int) -> None:
        """Have so many servers, within the limits of the policy, and one at least."""
        one = self.groups.get(group)
        if one is not None:
            self._set(group, one, _within(one.policy, max(count, 1)))

    def admit(self, group: str, *, after: str | None = None) -> None:
        """Let the load decide from now on: the group has the port, ``after`` another one."""
        one, former = self.groups.get(group), self.groups.get(after or "")
        if one is not None and former is not None:
            one.scaler.follow(former.scaler)
        if one is not None:
            self._set(group, one, _within(one.policy, one.wanted))

    def at_least(self, group: str, count: int) -> None:
        """Take note that so many are there, as after a restart that remembers nothing."""
        one = self.groups.get(group)
        if one is not None and one.wanted < count:
            self._set(group, one, min(count, one.policy.max_replicas))

    def note(self, group: str) -> None:
        """Take note that somebody asked, and has his answer."""
        if group in self.groups:
            self.groups[group].was_asked = True

    def is_asleep(self, group: str) -> bool:
        """Say whether a group is scaled and has nobody."""
        one = self.groups.get(group)
        return one is not None and one.wanted == 0

    def knock(self, group: str, asking: int) -> None:
        """Wake a group that sleeps: somebody asks."""
        one = self.groups.get(group)
        if one is None or one.wanted:
            return
        wanted = one.scaler.decide(self._clock(), float(max(asking, 1)), 0)
        one.in_flight = float(asking)
        one.counts["wakes"] += 1
        one.counts["held"] += max(asking, 1)
        slept_s = time.time() - (one.asleep_since or time.time())
        self._set(group, one, wanted)
        self._say({"event": "waking", "group": group, "to": wanted, "slept_s": round(slept_s, 3)})

    def look(self, group: str, in_flight: int, *, was_asked: bool = False) -> None:
        """Take note of the requests at once; decide when it is time to."""
        one = self.groups.get(group)
        if one is None or one.wanted == 0:
            return
        now = self._clock()
        one.in_flight = float(in_flight)
        one.looks.append(one.in_flight)
        one.was_asked = one.was_asked or was_asked
        if one.next_at is None:
            one.next_at = now + one.policy.every_s
        if now < one.next_at:
            return
        one.next_at = max(one.next_at + one.policy.every_s, now)
        average = sum(one.looks) / len(one.looks)
        before = one.wanted
        wanted = one.scaler.decide(now, average, before, was_asked=one.was_asked)
        one.looks, one.was_asked = [], False
        one.counts["decisions"] += 1
        if wanted != before:
            one.counts["changes" if wanted else "sleeps"] += 1
            self._set(group, one, wanted)
            word = "scaled" if wanted else "asleep"
            said = {"from": before, "to": wanted, "in_flight": round(average, 2)}
            self._say({"event": word, "group": group, **said})

    def status(self) -> dict[str, Any]:
        """Return how the groups are, by name, as plain JSON values."""
        return {group: self._status(group, one) for group, one in sorted(self.groups.items())}

    def to_json(self) -> dict[str, Any]:
        """Return what has to be known after a restart."""
        return {
            group: {"policy": one.policy.to_json(), "serial": one.serial, "wanted": one.wanted}
            for group, one in self.groups.items()
        }

    def recall(self, value: Mapping[str, Any]) -> None:
        """Take back what ``to_json`` returned; raises ValueError, KeyError, TypeError."""
        for group, one in value.items():
            policy = Policy.from_json(one["policy"])
            self.set_policy(str(group), policy, float(one["serial"]), int(one["wanted"]))

    def _status(self, group: str, one: Scaled) -> dict[str, Any]:
        return {
            "min": one.policy.min_replicas,
            "max": one.policy.max_replicas,
            "wanted": one.wanted,
            "awake": self._pool.awake(group),
            "places": self._pool.places(group),
            "in_flight": one.in_flight,
            "asleep_since": one.asleep_since,
            "counts": dict(one.counts),
        }

    def _set(self, group: str, one: Scaled, wanted: int) -> None:
        if wanted == 0 and one.wanted:
            one.asleep_since = time.time()
            one.looks, one.next_at, one.in_flight = [], None, 0.0
        elif wanted:
            one.asleep_since = None
        one.wanted = wanted
        self._pool.want(group, wanted)


def _within(policy: Policy, count: int) -> int:
    return min(max(count, policy.min_replicas), policy.max_replicas)
